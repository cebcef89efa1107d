//! `kill -9` at any moment: what was committed gets to the topic, once, in order.

use std::collections::BTreeSet;

use pulse::stack::{Launch, Process, binary};
use schemas::ids::TenantId;
use tests::{eventually, is_soak};

use crate::desk::{Desk, Place, place};

fn victim(place: &Place, tenant: &TenantId) -> Process {
    let log = place.settings.folder.with_extension("log");
    let launch = Launch::new(binary("hold-store").unwrap(), log)
        .arg(tenant.as_str())
        .env("PULSE_KAFKA_BROKERS", &place.kafka.brokers)
        .env("PULSE_CONTROL_SECRET", place.secret())
        .env("PULSE_API_DATA", &place.settings.folder);
    launch.spawn().unwrap()
}

/// The ids that it said something of; a last line that broke off is none.
fn said(process: &Process, what: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(process.log()).unwrap();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().filter_map(|line| line.strip_prefix(what));
    lines.map(|id| id.trim().to_owned()).collect()
}

async fn meters(desk: &Desk, tenant: &TenantId) -> BTreeSet<String> {
    let control = desk.control().await;
    let held = &control.tenant(tenant).unwrap().meters;
    assert!(held.values().all(|meter| meter.version == 1), "each once");
    held.keys().cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_when_it_was_killed_is_published_at_the_next_start() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let place = place();
    let desk = place.desk().await;
    let (slug, _) = desk.register("acme").await;
    let tenant: TenantId = slug.parse().unwrap();
    desk.kill().await;
    let rounds = if is_soak() { 50 } else { 8 };
    let mut count = 0;
    for round in 0..rounds {
        let process = victim(&place, &tenant);
        let more = count + random.usize(1..20);
        eventually("it has committed some", async || {
            assert!(process.is_running(), "{}", process.log_tail(20));
            match said(&process, "committed ").len() {
                now if now >= more => Ok(()),
                now => Err(format!("{now} of {more}")),
            }
        })
        .await;
        process.kill9().await;
        let (committed, published) = (said(&process, "committed "), said(&process, "published "));
        count = committed.len();
        let writer = place.writer();
        let control = writer.read().await.unwrap();
        let there = &control.tenant(&tenant).unwrap().meters;
        let lost: Vec<_> = published
            .iter()
            .filter(|id| !there.contains_key(*id))
            .collect();
        assert!(
            lost.is_empty(),
            "seed {seed} round {round}: said and not there: {lost:?}"
        );
    }
    let desk = place.desk().await;
    let text = std::fs::read_to_string(place.settings.folder.with_extension("log")).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("committed "));
    let committed: BTreeSet<_> = lines.map(str::to_owned).collect();
    assert!(committed.len() >= count);
    eventually("all that was committed is there", async || {
        let there = meters(&desk, &tenant).await;
        let lost: Vec<_> = committed.difference(&there).take(5).cloned().collect();
        match lost.is_empty() {
            true => Ok(()),
            false => Err(format!("{lost:?}")),
        }
    })
    .await;
    desk.stop().await;
}
