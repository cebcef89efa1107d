//! `pulse backup` and `pulse restore` beside a real pulse-api.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use runtime::clock;
use serde_json::{Value, json};
use tests::http::{self, Answer};
use tests::servers::Api;
use tests::{Installation, eventually};

use crate::desk::{meter, registration};

const KEYS: &str = "/api/v1/auth/keys";
const METERS: &str = "/api/v1/meters";

async fn send(api: &Api, method: &str, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [("x-api-key", key), ("content-type", "application/json")];
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let answer = http::request(&api.address, method, path, &headers, body.as_bytes());
    answer.await.unwrap()
}

async fn make(api: &Api, path: &str, key: &str, body: &Value) -> Value {
    let answer = send(api, "POST", path, key, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

/// What `pulse` says of a command that ends well.
fn pulse(installation: &Installation, environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let ended = installation.pulse_with(environment, arguments);
    assert!(ended.status.success(), "{arguments:?}: {ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

/// What it says of one that does not.
fn refused(
    installation: &Installation,
    environment: &[(&str, &str)],
    arguments: &[&str],
) -> String {
    let ended = installation.pulse_with(environment, arguments);
    assert!(!ended.status.success(), "{arguments:?}: {ended:?}");
    String::from_utf8(ended.stderr).unwrap()
}

/// A tenant whose store is backed up, and what happened to it since.
struct Place {
    installation: Installation,
    gateway: String,
    file: String,
    /// A key with every scope.
    owner: String,
    /// One that was revoked after the backup.
    early: String,
    /// One that was made after it.
    late: String,
}

impl Place {
    async fn open() -> Self {
        let mut installation = Installation::start().await;
        installation.role("pulse-clickhouse", "0", &[]).await;
        let api = installation.api(&[]).await;
        let gateway = installation.gateway("0", &[]).await;
        let register = "/api/v1/auth/register/tenant";
        let owner = make(&api, register, "", &registration("acme")).await;
        let owner = owner["api_key"].as_str().unwrap().to_owned();
        let both = json!({"name": "of a test", "scopes": ["ingest", "read"]});
        let early = make(&api, KEYS, &owner, &both).await;
        make(&api, METERS, &owner, &meter("kept", 1_000)).await;
        let file = back_up(&installation, &api);

        let late = make(&api, KEYS, &owner, &both).await;
        make(&api, METERS, &owner, &meter("late", 1_000)).await;
        let path = format!("{KEYS}/{}", early["id"].as_str().unwrap());
        let revoked = send(&api, "DELETE", &path, &owner, &Value::Null).await;
        assert_eq!(revoked.status, 204);
        let text = |made: &Value| made["key"].as_str().unwrap().to_owned();
        let place = Self {
            installation,
            gateway,
            file,
            owner,
            early: text(&early),
            late: text(&late),
        };
        place.until(401, 200).await;
        place
    }

    /// Waits until the gateway answers the early and the late key so.
    async fn until(&self, early: u16, late: u16) {
        until(&self.gateway, &self.early, early).await;
        until(&self.gateway, &self.late, late).await;
    }

    /// Fails unless what is defined is what was backed up.
    async fn is_as_backed_up(&self, api: &Api) {
        let meters = send(api, "GET", METERS, &self.owner, &Value::Null).await;
        let meters = meters.json();
        let ids = meters["meters"].as_array().unwrap().iter();
        let ids: Vec<_> = ids.map(|meter| &meter["id"]).collect();
        assert!(ids.contains(&&json!("kept")), "{ids:?}");
        assert!(!ids.contains(&&json!("late")), "{ids:?}");
        eventually("the topic says so too", async || {
            let shown = self.installation.pulse(&["meter", "list", "--json"]);
            match shown.contains("\"late\"") {
                false => Ok(()),
                true => Err(shown),
            }
        })
        .await;
    }
}

/// Backs up from the pulse-api at work.
fn back_up(installation: &Installation, api: &Api) -> String {
    let url = format!("http://{}", api.operator);
    let at_api = [("PULSE_API_INSTALLATION_URL", url.as_str())];
    let path = installation.stack.folder().join("a.backup");
    let file = path.to_str().unwrap().to_owned();
    let said = pulse(installation, &at_api, &["backup", &file]);
    assert!(said.starts_with(&format!("{file}: ")), "{said}");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = refused(installation, &at_api, &["backup", &file]);
    assert!(again.contains("exists"), "{again}");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_processes_restored_holds_everywhere_within_a_minute() {
    let mut place = Place::open().await;
    let folder = place.installation.api_folder();
    let at_folder = [("PULSE_API_DATA", folder.to_str().unwrap())];
    let in_use = refused(&place.installation, &at_folder, &["restore", &place.file]);
    assert!(in_use.contains("in use by another process"), "{in_use}");
    place.installation.stop("pulse-api-0").await;
    let none = refused(&place.installation, &at_folder, &["restore", "/dev/null"]);
    assert!(none.contains("is no backup of a control store"), "{none}");
    let said = pulse(&place.installation, &at_folder, &["restore", &place.file]);
    assert!(said.contains("what was defined is kept in"), "{said}");
    assert!(said.contains("restored into"), "{said}");

    let began = clock::monotonic();
    let api = place.installation.api(&[]).await;
    place.until(200, 401).await;
    let took = began.elapsed();
    println!(
        "the backup held at the gateway after {} ms",
        took.as_millis()
    );
    assert!(took < Duration::from_secs(60), "{took:?}");
    place.is_as_backed_up(&api).await;

    // A backup is made without a pulse-api too, and what the restore put aside is one.
    place.installation.stop("pulse-api-0").await;
    let other = place.installation.stack.folder().join("b.backup");
    let said = pulse(
        &place.installation,
        &at_folder,
        &["backup", other.to_str().unwrap()],
    );
    assert!(said.contains(" bytes"), "{said}");
    let aside = std::fs::read_dir(&folder).unwrap().filter_map(Result::ok);
    let is_aside = |name: &str| name.starts_with("before-restore-");
    let mut aside = aside.filter(|entry| is_aside(&entry.file_name().to_string_lossy()));
    let aside = aside.next().unwrap().path();
    pulse(
        &place.installation,
        &at_folder,
        &["restore", aside.to_str().unwrap()],
    );
    place.installation.api(&[]).await;
    place.until(401, 200).await;
    place.installation.stop_all().await;
}

/// Waits until the gateway answers a key so.
async fn until(gateway: &str, key: &str, status: u16) {
    let event = json!({"event_type": "custom_event", "source": {"service": "restore"}});
    eventually(&format!("the gateway answers {status}"), async || {
        let answer = http::post(gateway, "/api/v1/ingestion/events", key, &event).await?;
        match answer.status == status {
            true => Ok(()),
            false => Err(format!("{} {}", answer.status, answer.text())),
        }
    })
    .await;
}
