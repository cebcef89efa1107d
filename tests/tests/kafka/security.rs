//! SSL and SASL_SSL on real listeners: the right credentials get in, and no others.

use std::path::Path;
use std::time::Duration;

use runtime::config::{Environment, Settings};
use runtime::fate::Fate;
use runtime::health::{Condition, Health};
use runtime::kafka::probe::Probe;
use runtime::kafka::{Failure, KafkaConfig, Outgoing};
use runtime::service::Shutdown;
use runtime::testing::eventually;

use crate::broker;
use crate::shared::shared_broker;

/// Long enough for a handshake on a busy machine, short enough to wait for one that fails.
const WAIT: Duration = Duration::from_secs(15);

fn config(pairs: &[(&str, String)]) -> KafkaConfig {
    let mut env = Environment::of(pairs.iter().map(|(name, value)| (*name, value.as_str())));
    let config = KafkaConfig::read(&mut env);
    env.finish(config).unwrap()
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn ssl() -> Vec<(&'static str, String)> {
    let secured = shared_broker().kafka.secured().unwrap();
    vec![
        ("PULSE_KAFKA_BROKERS", secured.ssl),
        ("PULSE_KAFKA_SECURITY_PROTOCOL", "SSL".into()),
        ("PULSE_KAFKA_CA", path(&secured.certificates.authority)),
        (
            "PULSE_KAFKA_CERTIFICATE",
            path(&secured.certificates.client.certificate),
        ),
        ("PULSE_KAFKA_KEY", path(&secured.certificates.client.key)),
    ]
}

fn sasl(mechanism: &str) -> Vec<(&'static str, String)> {
    let secured = shared_broker().kafka.secured().unwrap();
    vec![
        ("PULSE_KAFKA_BROKERS", secured.sasl_ssl),
        ("PULSE_KAFKA_SECURITY_PROTOCOL", "SASL_SSL".into()),
        ("PULSE_KAFKA_SASL_MECHANISM", mechanism.into()),
        ("PULSE_KAFKA_CA", path(&secured.certificates.authority)),
        ("PULSE_KAFKA_USERNAME", secured.certificates.user.into()),
        (
            "PULSE_KAFKA_PASSWORD",
            secured.certificates.password.clone(),
        ),
    ]
}

fn with(
    mut pairs: Vec<(&'static str, String)>,
    name: &'static str,
    value: Option<String>,
) -> Vec<(&'static str, String)> {
    pairs.retain(|(found, _)| *found != name);
    pairs.extend(value.map(|value| (name, value)));
    pairs
}

/// Everything that a process does: administration, publishing, reading, a group, a transaction.
async fn check_works(pairs: &[(&str, String)]) {
    let kafka = config(pairs);
    assert_eq!(Probe::new(&kafka).unwrap().broker_count(WAIT).unwrap(), 1);
    let topic = broker::topic(&kafka, "secured", 1).await;
    let record = Outgoing::keyed(&topic, b"k", b"published");
    assert!(
        broker::publisher(&kafka)
            .publish(&[record])
            .await
            .is_empty()
    );
    let mut member = broker::Member::join(&kafka, &broker::name("secured"), "a", [&topic]);
    member.until_owned(1);
    let mut producer = broker::transactional(&kafka, &broker::name("secured"));
    producer.begin().unwrap();
    producer
        .send(&Outgoing::keyed(&topic, b"k", b"transacted"))
        .unwrap();
    broker::assert_committed(producer.commit(&[], &member.group.metadata().unwrap()));
    assert_eq!(
        broker::values(&kafka, &topic, 1),
        ["published", "transacted"]
    );
}

/// As health does, it asks again where a busy machine has not come to the refusal within the wait.
async fn check_refused_for(pairs: &[(&str, String)], words: &str) -> Failure {
    let probe = match Probe::new(&config(pairs)) {
        Ok(probe) => probe,
        Err(failure) => panic!("librdkafka refuses the settings: {failure}"),
    };
    eventually(words, async || {
        let refused = probe.broker_count(Duration::from_secs(3)).unwrap_err();
        match refused.text.contains(words) {
            true => Ok(refused),
            false => Err(refused.to_string()),
        }
    })
    .await
}

fn check_refused(pairs: &[(&str, String)]) -> Failure {
    let probe = match Probe::new(&config(pairs)) {
        Ok(probe) => probe,
        Err(failure) => return failure,
    };
    probe.broker_count(Duration::from_secs(3)).unwrap_err()
}

#[tokio::test]
async fn ssl_with_a_client_certificate() {
    check_works(&ssl()).await;
}

#[tokio::test]
async fn sasl_ssl_with_plain() {
    check_works(&sasl("PLAIN")).await;
}

#[tokio::test]
async fn sasl_ssl_with_scram() {
    check_works(&sasl("SCRAM-SHA-256")).await;
    check_works(&sasl("SCRAM-SHA-512")).await;
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.pem");
    // The client's certificate is no authority, and did not sign the broker's.
    std::fs::copy(ssl()[3].1.as_str(), &other).unwrap();
    for trusting in [ssl(), sasl("SCRAM-SHA-512")] {
        let mistaken = with(trusting, "PULSE_KAFKA_CA", Some(path(&other)));
        check_refused_for(&mistaken, "certificate verify failed").await;
    }
    // The system's authorities did not sign it either.
    check_refused(&with(ssl(), "PULSE_KAFKA_CA", None));
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let without = with(ssl(), "PULSE_KAFKA_CERTIFICATE", None);
    check_refused(&with(without, "PULSE_KAFKA_KEY", None));
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let wrong = with(
            sasl(mechanism),
            "PULSE_KAFKA_PASSWORD",
            Some("wrong".into()),
        );
        let refused = check_refused_for(&wrong, "Authentication failed").await;
        assert_eq!(refused.fate(), Fate::Halt, "{mechanism}: {refused}");
        assert!(!refused.text.contains("wrong"), "{mechanism}: {refused}");
    }
}

#[tokio::test]
async fn health_tells_a_broker_that_refuses_from_one_that_is_away() {
    let wrong = with(
        sasl("SCRAM-SHA-512"),
        "PULSE_KAFKA_PASSWORD",
        Some("wrong".into()),
    );
    let (health, shutdown) = (Health::default(), Shutdown::default());
    health.watch_kafka(&config(&wrong), &shutdown).unwrap();
    // Until a first answer has come, nobody answers.
    eventually("health says why", async || {
        let condition = health.report().checks["kafka"].condition.clone();
        let is_said = |reason: &String| {
            reason.starts_with("no broker lets us in: ") && reason.contains("Authentication failed")
        };
        match &condition {
            Condition::NotReady(reason) if is_said(reason) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    shutdown.request();
}

#[tokio::test]
async fn plaintext_does_not_reach_a_secured_listener() {
    let secured = shared_broker().kafka.secured().unwrap();
    for address in [secured.ssl, secured.sasl_ssl] {
        check_refused(&[("PULSE_KAFKA_BROKERS", address)]);
    }
}
