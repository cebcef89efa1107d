//! Settings that need each other, and a password that no log shows.

use super::*;

#[track_caller]
fn check(pairs: &[(&str, &str)], faults: &[&str]) {
    let mut env = Environment::of(pairs.iter().copied());
    let config = KafkaConfig::read(&mut env);
    match env.finish(config) {
        Ok(_) => assert!(faults.is_empty(), "expected faults {faults:?}"),
        Err(error) => {
            let found: Vec<_> = error.faults.iter().map(|fault| fault.name).collect();
            assert_eq!(found, faults, "{error}");
        }
    }
}

#[test]
fn settings_that_need_each_other() {
    check(&[], &[]);
    check(&[("PULSE_KAFKA_SECURITY_PROTOCOL", "ssl")], &[]);
    check(
        &[("PULSE_KAFKA_SECURITY_PROTOCOL", "TLS")],
        &[PROTOCOL.name],
    );
    check(
        &[
            ("PULSE_KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
            ("PULSE_KAFKA_SASL_MECHANISM", "GSSAPI"),
        ],
        &[MECHANISM.name, USERNAME.name, PASSWORD.name],
    );
    check(
        &[
            ("PULSE_KAFKA_SECURITY_PROTOCOL", "SSL"),
            ("PULSE_KAFKA_CA", "/nonexistent/ca.pem"),
        ],
        &[CA.name],
    );
    check(
        &[("PULSE_KAFKA_MIN_IN_SYNC_REPLICAS", "2")],
        &[MIN_IN_SYNC.name],
    );
    check(&[("PULSE_KAFKA_PARTITIONS", "0")], &[PARTITIONS.name]);
}

#[test]
fn settings_that_would_be_ignored() {
    let all = [
        "PULSE_KAFKA_CA",
        "PULSE_KAFKA_CERTIFICATE",
        "PULSE_KAFKA_KEY",
        "PULSE_KAFKA_KEY_PASSWORD",
        "PULSE_KAFKA_SASL_MECHANISM",
        "PULSE_KAFKA_USERNAME",
        "PULSE_KAFKA_PASSWORD",
    ];
    let plaintext = ("PULSE_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT");
    for name in all {
        check(&[(name, "given")], &[name]);
        check(&[(name, "given"), plaintext], &[name]);
        check(&[(name, "")], &[]);
    }
    check(&[("PULSE_KAFKA_PASSWORD_FILE", "given")], &[PASSWORD.name]);
    check(&all.map(|name| (name, "given")), &all);
    let ssl = ("PULSE_KAFKA_SECURITY_PROTOCOL", "SSL");
    for name in all.into_iter().skip(OF_TLS.len()) {
        check(&[(name, "given"), ssl], &[name]);
    }
    check(
        &[("PULSE_KAFKA_KEY_PASSWORD", "given"), ssl],
        &[KEY_PASSWORD.name],
    );
}

#[test]
fn a_fault_says_what_was_given_and_what_would_be_right() {
    let mut env = Environment::of([("PULSE_KAFKA_PASSWORD", "hunter2")]);
    let config = KafkaConfig::read(&mut env);
    assert_eq!(
        env.finish(config).unwrap_err().to_string(),
        "1 setting(s) cannot be used\n  PULSE_KAFKA_PASSWORD: would be ignored: \
         PULSE_KAFKA_SECURITY_PROTOCOL is PLAINTEXT; set it to SASL_SSL"
    );
}

#[test]
fn a_password_reaches_librdkafka_and_no_log() {
    let pairs = [
        ("PULSE_KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
        ("PULSE_KAFKA_USERNAME", "pulse"),
        ("PULSE_KAFKA_PASSWORD", "hunter2"),
    ];
    let mut env = Environment::of(pairs);
    let config = KafkaConfig::read(&mut env).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let client = config.client("test");
    assert_eq!(client.get("sasl.password"), Some("hunter2"));
    assert_eq!(client.get("sasl.mechanism"), Some("SCRAM-SHA-512"));
    assert_eq!(client.get("security.protocol"), Some("sasl_ssl"));
}
