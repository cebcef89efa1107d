//! The API held to its own description by schemathesis: whatever it draws, no status that is not
//! described and no 5xx, and bodies as they are described.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::servers::Api;
use tests::{Installation, http, is_soak, python};

/// What is looked at in each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,\
                      unsupported_method";

/// A tenant's first key and its id.
async fn register(api: &Api) -> (String, String) {
    let tenant = json!({
        "name": "Contract",
        "slug": "contract",
        "owner_email": "ann@contract.example",
        "owner_password": "correct horse battery staple",
    });
    let path = "/api/v1/auth/register/tenant";
    let answer = http::post(&api.address, path, "", &tenant).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = answer.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("api_key"), text("api_key_id"))
}

/// Something of each kind, so that what is drawn meets things that are there.
async fn furnish(api: &Api, key: &str) {
    let description = http::get(&api.address, "/api/v1/openapi.json", key).await;
    let description = description.unwrap().json();
    for (path, schema, status) in [
        ("/api/v1/meters", "Meter", 201),
        ("/api/v1/feeds", "Feed", 201),
        ("/api/v1/auth/keys", "NewKey", 201),
        ("/api/v1/ingestion/events", "PostedEvent", 200),
        ("/api/v1/ingestion/events/batch", "PostedEvents", 200),
        ("/api/v1/ingestion/events/search", "SearchBody", 200),
    ] {
        let example: &Value = &description["components"]["schemas"][schema]["example"];
        assert!(example.is_object() || example.is_array(), "{schema}");
        let answer = http::post(&api.address, path, key, example).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_drawn_gets_an_answer_that_is_not_described() {
    let mut installation = Installation::start().await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    // Each tenant has topics: a handful of those that are drawn may be made.
    let settings = [("PULSE_REGISTRATIONS_PER_MINUTE", "5")];
    let api = installation.api(&settings).await;
    let (key, key_id) = register(&api).await;
    furnish(&api, &key).await;

    let requirements = include_str!("requirements.txt");
    let python = python::python("python-schemathesis", requirements).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let scratch = tempfile::tempdir().unwrap();
    // A long run looks where none has looked; a short one says whether a change broke something.
    let (seconds, seed) = match is_soak() {
        true => ("1200", fastrand::u32(..)),
        false => ("60", 1),
    };
    let seed = seed.to_string();
    println!("seed {seed}");
    let address = format!("http://{}", api.address);
    let mut command = Command::new(python);
    command
        // It leaves what it found where it runs.
        .current_dir(scratch.path())
        .env("PYTHONPATH", &folder)
        .args(["-m", "schemathesis.cli"])
        .args(["run", &format!("{address}/api/v1/openapi.json")])
        .args(["--url", &address, "--checks", CHECKS])
        .args(["--max-time", seconds, "--seed", &seed])
        .args(["--continue-on-failure", "--no-color"])
        // A slow machine is no fault of the API.
        .args(["--request-timeout", "120"])
        .args(["--suppress-health-check", "too_slow"])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PULSE_TEST_KEY", &key)
        .env("PULSE_TEST_KEY_ID", &key_id);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{complaint}");
    let is_tested = |line: &str| line.trim_start().starts_with("Tested:");
    assert!(said.lines().any(is_tested), "{said}");

    // It is as well as before.
    furnish_again(&api, &key).await;
    installation.stop_all().await;
}

async fn furnish_again(api: &Api, key: &str) {
    let event = json!({"event_type": "user_action", "source": {"service": "contract"}});
    let path = "/api/v1/ingestion/events";
    let answer = http::post(&api.address, path, key, &event).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let health = http::get(&api.address, "/health", "").await.unwrap();
    assert_eq!(health.status, 200, "{}", health.text());
}
