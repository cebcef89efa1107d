//! What is PulseStream's own comes from PulseStream alone, where producers of a tenant's own are
//! let in; and every reader decides the same.

use std::collections::BTreeMap;
use std::time::Duration;

use pulse::simulator::{MarketOptions, Simulator, SimulatorOptions, Source, Speed};
use runtime::kafka::Outgoing;
use schemas::control::{Channel, Exchange, Limits};
use schemas::dead_letter::DeadLetter;
use schemas::event::{Event, EventType};
use schemas::ids::{Stream, TenantId};
use schemas::meter::built_in;
use schemas::origin::HEADER;
use tests::{Installation, eventually, samples, tables, topic};

/// A record as somebody writes it.
struct Written {
    key: Vec<u8>,
    value: Vec<u8>,
    mac: Option<Vec<u8>>,
}

/// A record without a word of whose it is.
fn bare(event: &Event) -> Written {
    let (key, value) = samples::record(event);
    let mac = None;
    Written { key, value, mac }
}

fn with_mac(event: &Event, mac: Vec<u8>) -> Written {
    Written {
        mac: Some(mac),
        ..bare(event)
    }
}

/// A record as one of our own processes writes it.
fn sealed(installation: &Installation, tenant: &TenantId, event: &Event) -> Written {
    let key = installation.control().origin_key(tenant);
    let written = bare(event);
    let mac = key.seal(&written.key, &written.value).to_vec();
    Written {
        mac: Some(mac),
        ..written
    }
}

async fn write(installation: &Installation, tenant: &TenantId, written: &[Written]) {
    let topic = tenant.topic(Stream::Events).to_string();
    let header = |written: &Written| -> Vec<(&str, Vec<u8>)> {
        let mac = written.mac.clone();
        mac.map(|mac| (HEADER, mac)).into_iter().collect()
    };
    let headers: Vec<_> = written.iter().map(header).collect();
    let headers: Vec<Vec<(&str, &[u8])>> = headers
        .iter()
        .map(|all| {
            all.iter()
                .map(|(name, mac)| (*name, mac.as_slice()))
                .collect()
        })
        .collect();
    let records: Vec<_> = written
        .iter()
        .zip(&headers)
        .map(|(written, headers)| Outgoing {
            headers,
            ..Outgoing::keyed(&topic, &written.key, &written.value)
        })
        .collect();
    installation.publish_records(&records).await;
}

/// A trade of a market, made by hand.
fn trade(id: i64) -> Event {
    samples::trade(id)
}

/// An event of the tenant's own.
fn own(id: &str) -> Event {
    Event {
        event_id: id.into(),
        event_type: EventType::CustomEvent,
        name: Some("order_paid".into()),
        subject: "shop:berlin".into(),
        ..trade(1)
    }
}

/// The reasons of a tenant's dead letters, and how often each was given.
fn reasons(installation: &Installation, tenant: &TenantId) -> BTreeMap<String, usize> {
    let topic = tenant.topic(Stream::DeadLetters).to_string();
    let mut reasons = BTreeMap::new();
    for record in topic::read(&installation.kafka(), &topic) {
        let value = record.value.unwrap();
        let letter = DeadLetter::decode(&value).unwrap();
        *reasons
            .entry(letter.reason.as_str().to_owned())
            .or_default() += 1;
    }
    reasons
}

/// What all records came to: in, counted, duplicate, dead-lettered.
async fn until_fates(installation: &Installation, expect: [u64; 4]) {
    eventually("each record has its fate", async || {
        let mut found = [0; 4];
        for (at, fate) in ["in", "counted", "duplicate", "dead_lettered"]
            .iter()
            .enumerate()
        {
            let label = format!("fate=\"{fate}\"");
            let figure = installation.figure("pulse-metrics-0", "pulse_records", &label);
            found[at] = figure.await? as u64;
        }
        match found == expect {
            true => Ok(()),
            false => Err(format!("{found:?} instead of {expect:?}")),
        }
    })
    .await;
}

async fn start(meters: bool) -> (Installation, TenantId) {
    let installation = Installation::start().await;
    let meters = if meters { built_in() } else { vec![] };
    let tenant = installation
        .tenant("acme", Limits::default(), &meters)
        .await;
    (installation, tenant)
}

/// Records of what is reserved, of which PulseStream wrote none for the tenant; `real` is one that
/// it did.
fn forged(installation: &Installation, other: &TenantId, real: &Written) -> [Written; 8] {
    let mac = real.mac.clone().unwrap();
    let of_type = |event_type, subject: &str| Event {
        event_type,
        subject: subject.into(),
        ..own("forged")
    };
    [
        bare(&trade(2)),
        bare(&of_type(EventType::Gap, "shop:berlin")),
        bare(&of_type(EventType::Candle, "shop:berlin")),
        bare(&of_type(EventType::SystemEvent, "coinbase:feed")),
        bare(&of_type(EventType::SystemEvent, "pulse:limits")),
        with_mac(&trade(3), b"nonsense".to_vec()),
        // Somebody else's: of another record, and of another tenant.
        with_mac(&trade(4), mac),
        sealed(installation, other, &trade(5)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forged_is_a_dead_letter_and_no_row() {
    let (mut installation, tenant) = start(true).await;
    installation.let_producers_in(&tenant, true).await;
    let other = installation
        .tenant("beta", Limits::default(), &built_in())
        .await;
    installation.role("pulse-metrics", "0", &[]).await;
    installation.role("pulse-clickhouse", "0", &[]).await;

    let real = sealed(&installation, &tenant, &trade(1));
    let forged = forged(&installation, &other, &real);
    let broken = Event {
        payload: Some("{".into()),
        ..own("broken")
    };
    // A copy with its header is the same record, and so a duplicate.
    let copy = sealed_copy(&real);
    let good = [bare(&own("order-1")), real, copy];
    write(&installation, &tenant, &good).await;
    write(&installation, &tenant, &forged).await;
    write(&installation, &tenant, &[bare(&broken)]).await;

    until_fates(&installation, [12, 2, 1, 9]).await;
    let expect = BTreeMap::from([("invalid_field".into(), 1), ("reserved".into(), 8)]);
    assert_eq!(reasons(&installation, &tenant), expect);
    tables::until_count(&installation, &tenant, "dead_letters", 9).await;
    tables::until_count(&installation, &tenant, "events", 2).await;

    // A successor decides as the one before it did, from the state and from the log.
    installation.kill_and_restart("pulse-metrics-0").await;
    installation.until_ready("pulse-metrics-0").await;
    write(
        &installation,
        &tenant,
        &[bare(&trade(6)), bare(&own("order-2"))],
    )
    .await;
    until_fates(&installation, [14, 3, 1, 10]).await;
    tables::until_count(&installation, &tenant, "events", 3).await;
    reconciled(&installation, "acme");

    // Switched off, whoever can write is trusted again, from then on.
    installation.let_producers_in(&tenant, false).await;
    let trusted = trade(7);
    eventually("the change is in force", async || {
        write(&installation, &tenant, &[bare(&trusted)]).await;
        let sql = "SELECT count() AS n FROM events FINAL WHERE event_id = \
                   'coinbase:BTC-USD:trade:7'";
        let rows = tables::rows(&installation, sql).await;
        match rows[0]["n"].as_u64() {
            Some(1) => Ok(()),
            n => Err(format!("{n:?} rows")),
        }
    })
    .await;
}

fn sealed_copy(real: &Written) -> Written {
    Written {
        key: real.key.clone(),
        value: real.value.clone(),
        mac: real.mac.clone(),
    }
}

#[track_caller]
fn reconciled(installation: &Installation, tenant: &str) {
    let report = installation.pulse(&["reconcile", "--tenant", tenant, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let tables = report["tenants"][0]["tables"].as_array().unwrap();
    for table in tables {
        assert_eq!(table["missing_count"], 0, "{report:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_flows_beside_a_tenants_own_producers() {
    let (mut installation, tenant) = start(true).await;
    installation.let_producers_in(&tenant, true).await;
    let feed = Exchange::CoinbaseExchange;
    let channels = [Channel::Quotes, Channel::Trades];
    installation
        .feed(&tenant, feed, &["BTC-USD"], &channels)
        .await;
    let market = MarketOptions {
        seed: 11,
        products: vec!["BTC-USD".to_owned()],
        duration: Some(Duration::from_secs(20)),
        ..MarketOptions::default()
    };
    let options = SimulatorOptions::new(Source::Market(market), Speed::Times(1.0));
    let simulator = Simulator::start(options).await.unwrap();
    installation.role("pulse-metrics", "0", &[]).await;
    installation.role("pulse-clickhouse", "0", &[]).await;
    installation.coinbase(&[(feed, &simulator)]).await;
    simulator.finished().await;
    installation.until_counted(&[&tenant]).await;
    assert_eq!(reasons(&installation, &tenant), BTreeMap::new());
    let trades = simulator.truth().trades().len() as u64;
    assert!(trades > 10, "{trades} trades");
    eventually("each trade is a row", async || {
        let sql = "SELECT uniqExact(event_id) AS n FROM events WHERE event_type = 'trade'";
        let rows = tables::rows(&installation, sql).await;
        match rows[0]["n"].as_u64() {
            Some(n) if n == trades => Ok(()),
            n => Err(format!("{n:?} of {trades}")),
        }
    })
    .await;
}
