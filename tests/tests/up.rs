//! `pulse up` as a process, on real servers: what it prints and says, what it restarts, what it
//! leaves, and that it goes on from where it stopped.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemas::event::EventView;
use schemas::ids::Stream;
use serde_json::Value;
use tests::folder::Folder;
use tests::recording::Recording;
use tests::{eventually, topic};

const PROCESSES: [&str; 8] = [
    "kafka",
    "clickhouse",
    "simulator",
    "pulse-coinbase",
    "pulse-metrics",
    "pulse-clickhouse",
    "pulse-api",
    "pulse-gateway",
];

fn process<'a>(status: &'a Value, name: &str) -> &'a Value {
    let processes = status["processes"].as_array().unwrap();
    let found = processes.iter().find(|process| process["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {status}"))
}

fn pids(status: &Value) -> BTreeMap<String, u64> {
    let processes = status["processes"].as_array().unwrap();
    let pid = |process: &Value| {
        let name = process["name"].as_str().unwrap().to_owned();
        (name, process["pid"].as_u64().expect("it runs"))
    };
    processes.iter().map(pid).collect()
}

/// Waits until every process is well and events come in and are counted: what the metrics process
/// counts is told from its first commit on, which may be after its health.
async fn until_streaming(folder: &Folder) -> Value {
    eventually("all is well, events come in and are counted", async || {
        let status = folder.status();
        let pipeline = &status["pipeline"];
        let is_counting = pipeline["late"].is_u64();
        let rate = pipeline["events_per_second"].as_f64();
        match status["healthy"] == true && is_counting && rate > Some(0.0) {
            true => Ok(status),
            false => Err(status.to_string()),
        }
    })
    .await
}

/// The trades on the log, each once, and the ids that gaps name: together all ids from the first.
fn check_no_hole(folder: &Folder) -> usize {
    let name = folder.tenant().topic(Stream::Events).to_string();
    let mut trades: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut named: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for record in topic::read(&folder.kafka(), &name) {
        let value = record.value.unwrap();
        let event = EventView::decode(&value).unwrap();
        let subject = event.subject.as_str().to_owned();
        if event.event_type == "trade" {
            let id = event.sequence.unwrap();
            let is_new = trades.entry(subject).or_default().insert(id);
            assert!(is_new, "{id} is there twice");
        } else if event.event_type == "gap" && subject != "coinbase:feed" {
            let bound = |name| {
                let units = event.metrics.get(name).unwrap().units();
                (units / 1_000_000_000_000_000_000) as i64
            };
            named
                .entry(subject)
                .or_default()
                .extend(bound("first")..=bound("last"));
        }
    }
    assert_eq!(trades.len(), 2, "both markets");
    for (subject, ids) in &trades {
        let named = named.remove(subject).unwrap_or_default();
        let (first, last) = (*ids.first().unwrap(), *ids.last().unwrap());
        let all: BTreeSet<i64> = ids.union(&named).copied().collect();
        let holes = (first..=last).filter(|id| !all.contains(id)).count();
        assert_eq!(holes, 0, "{subject}: neither there nor named");
    }
    trades.values().map(BTreeSet::len).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_up_is_shown_kept_alive_taken_down_and_goes_on() {
    let folder = Folder::make();
    assert_eq!(folder.pulse(&["status"]).code, 3, "nothing runs yet");
    let nowhere = ("PULSE_COINBASE_EXCHANGE_URL", "ws://127.0.0.1:1/");
    let said = folder.must_with(&[nowhere], &["up", "--detach"]);
    assert!(said.contains("Coinbase cannot be reached"), "{said}");
    let up = ["up", "--feed", "sim", "--detach"];
    for name in PROCESSES {
        let row = said.lines().find(|line| line.starts_with(name));
        let row = row.unwrap_or_else(|| panic!("no row of {name} in:\n{said}"));
        assert!(row.contains("127.0.0.1:"), "{row}");
    }
    for command in ["pulse top", "pulse status", "pulse.candles"] {
        assert!(said.contains(command), "{command} in:\n{said}");
    }

    let status = until_streaming(&folder).await;
    assert_eq!(status["state"], "running");
    assert_eq!(status["feed"]["kind"], "sim");
    assert_eq!(status["drained"], false);
    let first = pids(&status);
    assert_eq!(
        first.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        PROCESSES.into()
    );
    for (name, pid) in &first {
        assert!(Path::new(&format!("/proc/{pid}")).exists(), "{name}");
        let address = process(&status, name)["address"].as_str().unwrap();
        let address = address.trim_start_matches("http://");
        tokio::net::TcpStream::connect(address).await.unwrap();
    }
    assert!(
        folder.processes().len() >= PROCESSES.len(),
        "they name the folder"
    );
    let taken = folder.pulse(&up);
    assert_eq!(taken.code, 3, "{taken:?}");
    assert_eq!(pids(&folder.status()), first, "the first one is left alone");

    restarted_after_kill(&folder, &first).await;

    let before = check_no_hole(&folder);
    assert!(before > 0);
    folder.must(&["reconcile"]);
    let tenant = folder.tenant();
    folder.must(&["down"]);
    assert_eq!(folder.processes(), BTreeSet::new(), "something still runs");
    assert_eq!(folder.pulse(&["status"]).code, 3);
    assert_eq!(folder.pulse(&["down"]).code, 0, "nothing to do is no fault");

    folder.must(&up);
    assert_eq!(folder.tenant(), tenant);
    eventually("more trades come", async || match check_no_hole(&folder) {
        count if count > before => Ok(()),
        count => Err(format!("{count} trades, {before} before")),
    })
    .await;
    let status = until_streaming(&folder).await;
    let twice = said_twice(&folder).await;
    for fate in ["late", "duplicate", "dead_lettered"] {
        assert_eq!(status["pipeline"][fate], 0, "{twice:?} {status}");
    }
    folder.must(&["reconcile"]);
    folder.must(&["down"]);
    assert_eq!(folder.processes(), BTreeSet::new(), "something still runs");
}

/// Events that are in the log more than once, where no merge has made them one.
async fn said_twice(folder: &Folder) -> Vec<Value> {
    let sql = "SELECT event_type, event_id, toString(occurred_at) AS at, groupArray(_offset) AS of \
               FROM events GROUP BY event_type, event_id, occurred_at HAVING count() > 1 \
               SETTINGS final = 0";
    folder.clickhouse().rows(sql).await.unwrap()
}

/// Each role is killed with -9, and is back as another process, while the others stay.
async fn restarted_after_kill(folder: &Folder, first: &BTreeMap<String, u64>) {
    let roles = ["pulse-coinbase", "pulse-metrics", "pulse-clickhouse"];
    for name in roles {
        let pid = first[name].to_string();
        let killed = std::process::Command::new("kill")
            .args(["-9", &pid])
            .status();
        assert!(killed.unwrap().success());
        eventually(&format!("{name} is back"), async || {
            let status = folder.status();
            let now = process(&status, name);
            let is_back = now["pid"].as_u64().is_some_and(|pid| pid != first[name]);
            match is_back && now["restart_count"] == 1 && now["health"] != "restarting" {
                true => Ok(()),
                false => Err(now.to_string()),
            }
        })
        .await;
    }
    let status = until_streaming(folder).await;
    for (name, pid) in pids(&status) {
        assert_eq!(roles.contains(&&*name), pid != first[&name], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_drained_once_all_of_it_is_in_clickhouse_and_not_before() {
    let recording = Recording::Advanced;
    let expect = recording.trades().len() as u64;
    let feed = format!("replay:{}", recording.path().display());
    let folder = Folder::make();
    folder.must(&["up", "--feed", &feed, "--speed", "2", "--detach"]);
    let tenant = folder.tenant();
    let server = folder.clickhouse();
    let sql = format!(
        "SELECT count() AS n FROM events WHERE tenant = '{tenant}' AND event_type = 'trade' \
         SETTINGS final = 1"
    );
    let rows = async || {
        let rows: Vec<Value> = server.rows(&sql).await.map_err(|error| error.to_string())?;
        Ok::<_, String>(rows[0]["n"].as_u64().unwrap_or_default())
    };
    let early = folder.status();
    assert_eq!(early["drained"], false, "it takes 7 s to serve: {early}");
    assert!(!early["not_drained_because"].as_array().unwrap().is_empty());
    eventually("it is drained", async || {
        let status = folder.status();
        match status["drained"] == true {
            true => Ok(()),
            false => Err(status["not_drained_because"].to_string()),
        }
    })
    .await;
    assert_eq!(rows().await.unwrap(), expect, "trades in ClickHouse");
    let status = folder.status();
    assert_eq!(
        (&status["lag"], &status["drained"]),
        (&0.into(), &true.into()),
        "{status}"
    );
    assert_eq!(process(&status, "simulator")["health"], "finished");
    folder.must(&["reconcile", "--tenant", tenant.as_str()]);
    folder.must(&["down"]);
    assert_eq!(folder.processes(), BTreeSet::new(), "something still runs");
}
