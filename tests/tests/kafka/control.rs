//! The control view holds what this installation signed, and nothing else.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use runtime::config::Secret;
use runtime::control::{ControlConfig, ControlView, ControlWriter, Written};
use runtime::kafka::admin::TopicSpec;
use runtime::kafka::{Admin, KafkaConfig, Outgoing};
use runtime::service::Service;
use schemas::control::{ControlKey, ControlRecord, Definition, Kind, Tenant};
use schemas::ids::CONTROL_TOPIC;
use schemas::time::EventTime;
use schemas::wire::Text;
use tokio::sync::{Mutex, MutexGuard};

use crate::broker;

/// There is one control topic, so these tests take turns.
static TURN: Mutex<()> = Mutex::const_new(());

async fn control_topic() -> (KafkaConfig, MutexGuard<'static, ()>) {
    let turn = TURN.lock().await;
    let kafka = broker::shared();
    let admin = Admin::new(&kafka).unwrap();
    admin.ensure(&[TopicSpec::control(&kafka)]).await.unwrap();
    (kafka, turn)
}

fn config(secret: &str) -> ControlConfig {
    ControlConfig::new(Secret::new(secret))
}

fn ours() -> ControlConfig {
    config("the secret of this installation")
}

fn tenant_key() -> ControlKey {
    let tenant = format!("t{:08x}", fastrand::u32(..)).parse().unwrap();
    ControlKey {
        tenant,
        kind: Kind::Tenant,
        id: "self".into(),
    }
}

fn tenant(name: &str) -> Definition {
    Definition::Tenant(serde_json::from_str::<Tenant>(&format!(r#"{{"name":"{name}"}}"#)).unwrap())
}

fn name_of(view: &ControlView, key: &ControlKey) -> Option<String> {
    let control = view.snapshot();
    Some(
        control
            .tenant(&key.tenant)?
            .tenant
            .as_ref()?
            .value
            .name
            .clone(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_complete_at_its_start_and_follows() {
    let (kafka, _turn) = control_topic().await;
    let (writer, key) = (ControlWriter::new(&kafka, &ours()).unwrap(), tenant_key());
    assert_eq!(
        writer.put(&key, &tenant("Acme")).await.unwrap(),
        Written::Version(1)
    );
    assert_eq!(
        writer.put(&key, &tenant("Acme")).await.unwrap(),
        Written::Unchanged
    );

    let service = Service::detached("pulse-test");
    let view = ControlView::open(&kafka, &ours(), &service)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        name_of(&view, &key).as_deref(),
        Some("Acme"),
        "complete at its start"
    );
    assert!(service.health.report().ready);

    let mut changes = view.changes();
    let before = view.offset();
    assert_eq!(
        writer.put(&key, &tenant("Acme Ltd")).await.unwrap(),
        Written::Version(2)
    );
    changes.wait_for(|offset| *offset > before).await.unwrap();
    assert_eq!(name_of(&view, &key).as_deref(), Some("Acme Ltd"));

    let before = view.offset();
    assert_eq!(writer.delete(&key).await.unwrap(), Written::Version(3));
    assert_eq!(writer.delete(&key).await.unwrap(), Written::Unchanged);
    changes.wait_for(|offset| *offset > before).await.unwrap();
    assert_eq!(name_of(&view, &key), None);
    // A slug that comes back continues its versions, for whoever reads from the beginning too.
    assert_eq!(
        writer.put(&key, &tenant("Acme again")).await.unwrap(),
        Written::Version(4)
    );
    service.shutdown.request();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_unsigned_stale_or_tombstones_change_nothing() {
    let (kafka, _turn) = control_topic().await;
    let (writer, key) = (ControlWriter::new(&kafka, &ours()).unwrap(), tenant_key());
    writer.put(&key, &tenant("first")).await.unwrap();
    let first = last_value(&kafka, &key);
    writer.put(&key, &tenant("second")).await.unwrap();
    let service = Service::detached("pulse-test");
    let view = ControlView::open(&kafka, &ours(), &service)
        .await
        .unwrap()
        .unwrap();

    let text = key.to_string();
    let mut forged = Vec::new();
    let body = tenant("forged").body();
    let record = ControlRecord {
        version: 9,
        changed_at: EventTime::from_us(0),
        body: Some(Text::new(&body)),
        mac: &[],
    };
    let mac = config("the secret of another place").sign(&text, &record);
    ControlRecord {
        mac: &mac,
        ..record
    }
    .encode(&mut forged);
    let foreign = tenant_key().to_string();
    let records = [
        Outgoing::keyed(CONTROL_TOPIC, text.as_bytes(), &forged),
        Outgoing::keyed(CONTROL_TOPIC, text.as_bytes(), b"nonsense"),
        Outgoing::keyed(CONTROL_TOPIC, text.as_bytes(), &first),
        Outgoing::keyed(CONTROL_TOPIC, foreign.as_bytes(), &first),
        Outgoing::keyed(CONTROL_TOPIC, b"no key", &first),
        Outgoing::tombstone(CONTROL_TOPIC, text.as_bytes()),
    ];
    let before = view.offset();
    assert!(broker::publisher(&kafka).publish(&records).await.is_empty());
    view.changes()
        .wait_for(|offset| *offset >= before + 6)
        .await
        .unwrap();
    assert_eq!(name_of(&view, &key).as_deref(), Some("second"));
    assert!(
        view.snapshot()
            .tenant(&foreign.parse::<ControlKey>().unwrap().tenant)
            .is_none()
    );
    let metrics = service.metrics.encode();
    let rejected = metrics
        .lines()
        .find_map(|l| l.strip_prefix("pulse_control_rejected_total "));
    assert!(rejected.unwrap().parse::<u64>().unwrap() >= 6, "{metrics}");
    service.shutdown.request();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_sees_every_change_by_its_offset() {
    let (kafka, _turn) = control_topic().await;
    let (writer, key) = (ControlWriter::new(&kafka, &ours()).unwrap(), tenant_key());
    let service = Service::detached("pulse-test");
    let view = ControlView::open(&kafka, &ours(), &service)
        .await
        .unwrap()
        .unwrap();
    let seen = std::sync::Arc::new(AtomicI64::new(0));
    let (watched, told) = (view.clone(), std::sync::Arc::clone(&seen));
    let started = view.offset();
    let thread = std::thread::spawn(move || {
        broker::until(|| {
            told.store(watched.offset(), Ordering::SeqCst);
            watched.offset() > started
        });
    });
    writer.put(&key, &tenant("Acme")).await.unwrap();
    tokio::task::block_in_place(|| thread.join().unwrap());
    assert!(seen.load(Ordering::SeqCst) > started);
    assert_eq!(name_of(&view, &key).as_deref(), Some("Acme"));
    service.shutdown.request();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_waits_for_its_topic() {
    let broker = crate::shared::Broker::own().await;
    let kafka = broker.config();
    let service = Service::detached("pulse-test");
    let (late, config) = (service.clone(), ours());
    let follow = {
        let kafka = kafka.clone();
        tokio::spawn(async move { ControlView::open(&kafka, &config, &late).await })
    };
    // It tries at once and fails, which its check tells.
    tokio::task::block_in_place(|| {
        broker::until(|| {
            let json = serde_json::to_string(&service.health.report()).unwrap();
            json.contains(CONTROL_TOPIC)
        });
    });
    assert!(!follow.is_finished());
    let admin = Admin::new(&kafka).unwrap();
    admin.ensure(&[TopicSpec::control(&kafka)]).await.unwrap();
    let view = tokio::time::timeout(Duration::from_secs(60), follow)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(view.unwrap().unwrap().offset(), 0);
    service.shutdown.request();
}

fn last_value(kafka: &KafkaConfig, key: &ControlKey) -> Vec<u8> {
    let text = key.to_string().into_bytes();
    let found = broker::read_all(kafka, CONTROL_TOPIC, 1);
    let last = found
        .into_iter()
        .rev()
        .find(|record| record.key.as_ref() == Some(&text));
    last.unwrap().value.unwrap()
}
