//! Secrets of an installation: a weak one starts nothing, and a good one is told to nobody.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::process::Command;

use pulse::stack::binary;

/// Every program that needs the installation's secret.
const ROLES: [&str; 5] = [
    "pulse-api",
    "pulse-clickhouse",
    "pulse-coinbase",
    "pulse-gateway",
    "pulse-metrics",
];

/// `EX_CONFIG`.
const EXIT_CONFIG: i32 = 78;

/// How a role ends that is started with this secret, and what it says.
fn started(role: &str, variable: (&str, &str)) -> (Option<i32>, String) {
    let output = Command::new(binary(role).unwrap())
        .env_clear()
        .env("PULSE_KAFKA_BROKERS", "127.0.0.1:1")
        .env("PULSE_CLICKHOUSE_URL", "http://127.0.0.1:1")
        .env("PULSE_COINBASE_EXCHANGE_URL", "ws://127.0.0.1:1")
        .env("PULSE_COINBASE_ADVANCED_URL", "ws://127.0.0.1:1")
        .env(variable.0, variable.1)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn no_role_starts_with_a_secret_that_can_be_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    for role in ROLES {
        for secret in [
            "hunter2",
            "changeme",
            "aaaaaaaaaaaaaaaaaaaaaaaa",
            "zyxwvuts-zyxwvuts-zyxwvuts",
            "PulseStream-Secret-2026",
            "password-changeme-admin",
        ] {
            std::fs::write(&file, secret).unwrap();
            for variable in [
                ("PULSE_CONTROL_SECRET", secret),
                ("PULSE_CONTROL_SECRET_FILE", file.to_str().unwrap()),
            ] {
                let (code, said) = started(role, variable);
                assert_eq!(code, Some(EXIT_CONFIG), "{role}: {said}");
                assert!(said.contains("PULSE_CONTROL_SECRET: "), "{role}: {said}");
                assert!(said.contains("pulse init --env"), "{role}: {said}");
                assert!(!said.contains(secret), "{role} tells it: {said}");
            }
        }
        let (code, said) = started(role, ("PULSE_CONTROL_SECRET", ""));
        assert_eq!(code, Some(EXIT_CONFIG), "{role}: {said}");
        assert!(said.contains("must be set"), "{role}: {said}");
    }
}

/// The operator's tool needs it too.
#[test]
fn the_tool_does_nothing_with_a_secret_that_can_be_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(binary("pulse").unwrap())
        .arg("--data")
        .arg(folder.path())
        .args(["meter", "list"])
        .env("PULSE_KAFKA_BROKERS", "127.0.0.1:1")
        .env("PULSE_CONTROL_SECRET", "password-changeme-admin")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("pulse init --env") && !said.contains("changeme"),
        "{said}"
    );
}
