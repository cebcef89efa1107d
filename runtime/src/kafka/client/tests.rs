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
