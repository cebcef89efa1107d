//! The gateway and the broker are killed under load: what a client was told to be safe is in
//! ClickHouse, once, and nothing is late.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use runtime::clock;
use schemas::access::Scope;
use schemas::control::Limits;
use schemas::ids::TenantId;
use schemas::meter::built_in;
use serde_json::{Value, json};
use tests::{Installation, eventually, http, is_soak, tables};
use tokio::task::JoinHandle;

const BATCH: &str = "/api/v1/ingestion/events/batch";
const CLIENTS: u64 = 4;
const EVENTS: u64 = 20;

/// A client that sends batch after batch, each until it hears that all of it is safe.
struct Client {
    address: String,
    key: String,
    number: u64,
    stop: Arc<AtomicBool>,
    /// Batches that all clients have been told to be safe.
    safe: Arc<AtomicU64>,
}

/// What a client was told.
#[derive(Default)]
struct Told {
    safe: BTreeSet<String>,
    statuses: BTreeSet<u16>,
}

impl Client {
    async fn run(self) -> Told {
        let mut told = Told::default();
        let mut batch = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            let events: Vec<Value> = (0..EVENTS).map(|at| self.event(batch, at)).collect();
            self.send(&Value::from(events), &mut told).await;
            self.safe.fetch_add(1, Ordering::Relaxed);
            batch += 1;
        }
        told
    }

    fn event(&self, batch: u64, at: u64) -> Value {
        json!({
            "event_id": format!("{}-{batch}-{at}", self.number),
            "event_type": "custom_event",
            "name": "kill",
            "timestamp": clock::now_ms(),
            "subject": format!("client-{}-{}", self.number, at % 3),
            "source": {"service": "kills"},
            "metrics": {"n": batch},
        })
    }

    /// Sends it again for as long as it takes, as an honest client does.
    async fn send(&self, events: &Value, told: &mut Told) {
        let mut left = events.as_array().unwrap().clone();
        while !left.is_empty() {
            let body = Value::from(left.clone());
            let answer = http::post(&self.address, BATCH, &self.key, &body);
            let Ok(answer) = answer.await else {
                tokio::task::yield_now().await;
                continue;
            };
            told.statuses.insert(answer.status);
            let body = answer.json();
            let Some(outcomes) = body["events"].as_array() else {
                assert!(answer.status == 503 || answer.status == 429, "{body}");
                continue;
            };
            let mut unsafe_yet = vec![];
            for (event, outcome) in left.into_iter().zip(outcomes) {
                match outcome["status"].as_str().unwrap() {
                    "accepted" | "stored" => {
                        let id = event["event_id"].as_str().unwrap();
                        told.safe.insert(id.to_owned());
                    }
                    "unavailable" => unsafe_yet.push(event),
                    other => panic!("{other}: {outcome}"),
                }
            }
            left = unsafe_yet;
        }
    }
}

/// The load, and who bears it.
struct Load {
    clients: Vec<JoinHandle<Told>>,
    stop: Arc<AtomicBool>,
    safe: Arc<AtomicU64>,
}

impl Load {
    fn start(address: &str, key: &str) -> Self {
        let (stop, safe) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let client = |number| Client {
            address: address.into(),
            key: key.into(),
            number,
            stop: Arc::clone(&stop),
            safe: Arc::clone(&safe),
        };
        let clients = (0..CLIENTS).map(|number| tokio::spawn(client(number).run()));
        Self {
            clients: clients.collect(),
            stop,
            safe,
        }
    }

    /// Waits until so many more batches are safe.
    async fn until_more(&self, batches: u64) {
        let before = self.safe.load(Ordering::Relaxed);
        eventually("the load goes on", async || {
            let safe = self.safe.load(Ordering::Relaxed);
            match safe >= before + batches {
                true => Ok(()),
                false => Err(format!("{safe} batches, {before} before")),
            }
        })
        .await;
    }

    async fn end(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for client in self.clients {
            let told = client.await.unwrap();
            all.safe.extend(told.safe);
            all.statuses.extend(told.statuses);
        }
        all
    }
}

/// Figures for whoever looks.
fn report(told: &Told, kills: &str, slowest: Duration) {
    println!(
        "{kills}: {} events told to be safe, answers {:?}, back to work after {} ms at most",
        told.safe.len(),
        told.statuses,
        slowest.as_millis()
    );
}

/// What was told to be safe is there once, and nothing is late.
async fn check(installation: &Installation, tenant: &TenantId, told: &Told) {
    let sent = told.safe.len() as u64;
    // A limit that the load met is told by an event of the platform's.
    let own = format!("tenant = '{tenant}' AND event_type != 'system_event'");
    eventually(
        "every event that was told to be safe is a row",
        async || {
            let rows = tables::rows(
                installation,
                &format!("SELECT count() AS n FROM events WHERE {own}"),
            )
            .await;
            let rows = rows[0]["n"].as_u64().unwrap();
            match rows == sent {
                true => Ok(()),
                false => Err(format!("{rows} rows of {sent} events")),
            }
        },
    )
    .await;
    let ids = tables::rows(
        installation,
        &format!("SELECT event_id FROM events WHERE {own}"),
    )
    .await;
    let ids: BTreeSet<String> = ids
        .iter()
        .map(|row| row["event_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, told.safe);
    installation.until_counted(&[tenant]).await;
    let late = tables::rows(
        installation,
        &format!("SELECT count() AS n FROM late WHERE tenant = '{tenant}'"),
    )
    .await;
    assert_eq!(late[0]["n"], 0, "nothing becomes late");
}

async fn start(disk_log: bool) -> (Installation, TenantId, Load) {
    let mut installation = Installation::start().await;
    let tenant = installation
        .tenant("kills", Limits::default(), &built_in())
        .await;
    let key = installation.key(&tenant, "sender", &[Scope::Ingest]).await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    installation.role("pulse-metrics", "0", &[]).await;
    let folder = installation.stack.folder().join("disk-log");
    let folder = folder.to_string_lossy().into_owned();
    let mut environment = vec![("PULSE_INGEST_TIMEOUT_MS", "2000")];
    if disk_log {
        environment.push(("PULSE_DISK_LOG", &folder));
    }
    let address = installation.gateway("0", &environment).await;
    let load = Load::start(&address, &key);
    load.until_more(20).await;
    (installation, tenant, load)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_loses_nothing_that_it_said_to_be_safe() {
    let (mut installation, tenant, load) = start(false).await;
    let (mut slowest, kills) = (Duration::ZERO, if is_soak() { 20 } else { 5 });
    for _ in 0..kills {
        let began = clock::monotonic();
        installation.kill_and_restart("pulse-gateway-0").await;
        load.until_more(20).await;
        slowest = slowest.max(began.elapsed());
    }
    let told = load.end().await;
    report(&told, &format!("{kills} kills of the gateway"), slowest);
    assert!(told.statuses.contains(&200), "{:?}", told.statuses);
    check(&installation, &tenant, &told).await;
    installation.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_away_events_lie_on_disk_and_go_on_in_order_afterwards() {
    let (mut installation, tenant, load) = start(true).await;
    let (mut slowest, kills) = (Duration::ZERO, if is_soak() { 5 } else { 2 });
    for kill in 0..kills {
        installation.stack.kafka.kill9().await;
        load.until_more(20).await;
        if kill % 2 == 1 {
            // What is stored outlives the gateway too.
            installation.kill_and_restart("pulse-gateway-0").await;
        }
        let began = clock::monotonic();
        installation.stack.kafka.restart().await.unwrap();
        eventually("the disk log is empty", async || {
            let waiting = installation
                .figure("pulse-gateway-0", "pulse_disk_log_entries", "")
                .await?;
            match waiting == 0.0 {
                true => Ok(()),
                false => Err(format!("{waiting} events wait")),
            }
        })
        .await;
        slowest = slowest.max(began.elapsed());
        load.until_more(20).await;
    }
    let told = load.end().await;
    report(&told, &format!("{kills} kills of the broker"), slowest);
    let expect = [200, 202];
    assert!(
        expect.iter().all(|s| told.statuses.contains(s)),
        "{:?}",
        told.statuses
    );
    check(&installation, &tenant, &told).await;
    installation.stop_all().await;
}
