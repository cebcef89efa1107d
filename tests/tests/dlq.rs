//! `pulse dlq` as a process on a real topic: what it lists and shows, and what it puts back, how
//! fast, and how often.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use pulse::dlq::mark::Mark;
use runtime::kafka::Outgoing;
use schemas::control::Limits;
use schemas::ids::{Stream, TenantId};
use schemas::meter::built_in;
use serde_json::Value;
use tests::trades::{self, Trade};
use tests::{Installation, eventually, tables, topic};

/// How many records of each kind are put on the topic.
const TRUNCATED: usize = 8;
const FUTURE: usize = 2;

const MARKED: &str = "stays: it was put back already: --again does it once more";

struct Desk {
    installation: Installation,
    tenant: TenantId,
}

impl Desk {
    async fn start() -> Self {
        let mut installation = Installation::start().await;
        let tenant = installation
            .tenant("acme", Limits::default(), &built_in())
            .await;
        installation.role("pulse-metrics", "0", &[]).await;
        Self {
            installation,
            tenant,
        }
    }

    fn topic(&self, stream: Stream) -> String {
        self.tenant.topic(stream).to_string()
    }

    fn dlq(&self, arguments: &[&str]) -> String {
        let all = [&["dlq"], arguments, &["--tenant", self.tenant.as_str()]].concat();
        self.installation.pulse(&all)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        serde_json::from_str(&self.dlq(&arguments)).unwrap()
    }

    async fn until_letters(&self, count: usize) {
        eventually(&format!("{count} letters"), async || {
            match self.json(&["list"])["count"].as_u64() {
                Some(found) if found == count as u64 => Ok(()),
                found => Err(format!("{found:?}")),
            }
        })
        .await;
    }

    fn event_count(&self) -> i64 {
        topic::count(&self.installation.kafka(), &self.topic(Stream::Events))
    }

    /// Puts records that nobody can use on the topic of events.
    async fn spoil(&self) {
        self.spoil_behind(0).await;
    }

    /// The same where so many letters lie already.
    async fn spoil_behind(&self, letter_count: usize) {
        let good = trade(1, 1_790_000_000_000_000);
        let (key, bytes) = trades::record(&good);
        let truncated = bytes[..bytes.len() / 2].to_vec();
        let mut records = vec![(key.clone(), truncated); TRUNCATED];
        let year_9999 = trades::record(&trade(2, 253_402_300_799_000_000)).1;
        records.extend(vec![(key, year_9999); FUTURE]);
        let events = self.topic(Stream::Events);
        self.installation.publish(&events, &records).await;
        self.until_letters(letter_count + TRUNCATED + FUTURE).await;
    }
}

fn trade(id: i64, at_us: i64) -> Trade {
    let unit = 1_000_000_000_000_000_000;
    Trade {
        subject: "test:A".into(),
        at_us,
        id,
        price: 7 * unit,
        size: unit,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_by_filter_shown_with_bytes_and_garbage_among_them_is_seen() {
    let mut desk = Desk::start().await;
    assert_eq!(desk.dlq(&["list"]), "no dead letters\n");
    let letters = desk.topic(Stream::DeadLetters);
    let garbage = [Outgoing::keyed(&letters, b"nobody's", b"put here by hand")];
    desk.installation.publish_records(&garbage).await;
    let alone = desk.dlq(&["list"]);
    assert!(
        alone.contains("1 records of the topic are no dead letters"),
        "{alone}"
    );

    desk.spoil().await;
    let all = desk.json(&["list", "--limit", "3"]);
    assert_eq!(all["letters"].as_array().unwrap().len(), 3);
    assert_eq!(all["by_reason"]["truncated"], TRUNCATED);
    assert_eq!(all["by_reason"]["future"], FUTURE);
    assert_eq!(all["unreadable_count"], 1);
    let future = desk.json(&["list", "--reason", "future"]);
    assert_eq!(
        (
            &future["count"],
            future["letters"].as_array().unwrap().len()
        ),
        (&FUTURE.into(), FUTURE)
    );
    assert_eq!(desk.json(&["list", "--source", "coinbase"])["count"], 0);
    assert_eq!(desk.json(&["list", "--until", "1h"])["count"], 0);
    let text = desk.dlq(&["list"]);
    assert!(
        text.contains("pulse.acme.events[") && text.contains("truncated 8"),
        "{text}"
    );

    let letter = &future["letters"][0];
    let shown = desk.dlq(&["show", &letter["number"].to_string()]);
    let place = format!(
        "pulse.acme.events[{}]@{}",
        letter["partition"], letter["offset"]
    );
    assert!(
        shown.contains(&place) && shown.contains("future"),
        "{shown}"
    );
    assert!(shown.contains("00000000  00 "), "its first bytes: {shown}");
    desk.installation.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_does_nothing_and_a_real_one_keeps_filter_and_rate() {
    let mut desk = Desk::start().await;
    desk.spoil().await;
    let before = desk.event_count();
    let back = format!("back to {}", desk.topic(Stream::Events));
    let dry = desk.json(&["replay"]);
    assert_eq!(dry["verdicts"][&back], TRUNCATED + FUTURE);
    assert_eq!(dry["put_back_count"], 0);
    assert!(desk.dlq(&["replay"]).contains("nothing was done"));
    assert_eq!(desk.event_count(), before);

    let done = desk.json(&[
        "replay",
        "--reason",
        "truncated",
        "--execute",
        "--rate",
        "4",
    ]);
    assert_eq!(
        (&done["put_back_count"], &done["refused_count"]),
        (&TRUNCATED.into(), &0.into())
    );
    let events = topic::read(&desk.installation.kafka(), &desk.topic(Stream::Events));
    assert_eq!(events.len() as i64, before + TRUNCATED as i64);
    let mut at_ms: Vec<_> = events.iter().map(|record| record.appended_at_ms).collect();
    at_ms.sort_unstable();
    let again = &at_ms[TRUNCATED + FUTURE..];
    // Four a second leave a quarter of a second between two.
    let least_ms = (TRUNCATED as i64 - 1) * 250;
    let took_ms = again[TRUNCATED - 1] - again[0];
    assert!(
        took_ms >= least_ms - 50,
        "{took_ms} ms for {TRUNCATED} records"
    );
    desk.until_letters(2 * TRUNCATED + FUTURE).await;
    desk.installation.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_leaves_alone_what_was_put_back() {
    let mut desk = Desk::start().await;
    desk.spoil().await;
    let before = desk.event_count();
    let replay = ["replay", "--execute", "--rate", "1000"];
    assert_eq!(desk.json(&replay)["put_back_count"], TRUNCATED + FUTURE);
    // All of them are refused again, so there is one new letter for each.
    desk.until_letters(2 * (TRUNCATED + FUTURE)).await;
    let listed = desk.json(&["list"]);
    let is_put_back = listed["letters"].as_array().unwrap().iter();
    let is_put_back = is_put_back.map(|letter| letter["is_put_back"].as_bool().unwrap());
    let count = TRUNCATED + FUTURE;
    let expect: Vec<_> = (0..2 * count).map(|at| at < count).collect();
    assert_eq!(is_put_back.collect::<Vec<_>>(), expect, "{listed}");
    let first = [&replay[..], &["--limit", "2", "--reason", "future"]].concat();
    let second = desk.json(&first);
    assert_eq!(second["put_back_count"], FUTURE, "the new ones alone");
    assert_eq!(second["verdicts"][MARKED], FUTURE);
    desk.until_letters(2 * TRUNCATED + 3 * FUTURE).await;
    assert_eq!(desk.event_count(), before + (TRUNCATED + 2 * FUTURE) as i64);
    let again = desk.json(&["replay", "--again", "--reason", "truncated"]);
    let back = format!("back to {}", desk.topic(Stream::Events));
    assert_eq!(again["verdicts"][&back], 2 * TRUNCATED);
    // Each letter is a row, and its mark another.
    desk.installation.role("pulse-clickhouse", "0", &[]).await;
    let limits = Limits::default();
    tables::assert_equal(&desk.installation, &[(&desk.tenant, limits)]).await;
    desk.installation.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_do_not_fit_are_listed_and_keep_nothing_back() {
    let mut desk = Desk::start().await;
    let letters = desk.topic(Stream::DeadLetters);
    // One for each letter that is still to come, by its number.
    let count = TRUNCATED + FUTURE;
    let forged = (count..2 * count).map(|number| Mark {
        letters: letters.clone(),
        number: number as i64,
        written_at_ms: 0,
        topic: desk.topic(Stream::Events),
        rounds: 1,
    });
    let forged: Vec<_> = forged.map(|mark| mark.record()).collect();
    let records = forged.iter();
    let records: Vec<_> = records
        .map(|(key, value)| Outgoing::keyed(&letters, key.as_bytes(), value))
        .collect();
    desk.installation.publish_records(&records).await;
    desk.spoil_behind(count).await;
    let by_reason = &desk.json(&["list"])["by_reason"];
    assert_eq!(by_reason["put_back"], count, "{by_reason}");
    let done = desk.json(&["replay", "--execute", "--rate", "1000"]);
    assert_eq!(done["put_back_count"], count, "{done}");
    desk.installation.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_again_and_again_does_not_go_round_for_ever() {
    let mut desk = Desk::start().await;
    desk.spoil().await;
    let back = format!("back to {}", desk.topic(Stream::Events));
    let often = "stays: it was put back too often: mend what refuses it, or use --force";
    let replay = [
        "replay",
        "--reason",
        "future",
        "--execute",
        "--rate",
        "1000",
    ];
    for round in 1..=3 {
        assert_eq!(desk.json(&replay)["put_back_count"], FUTURE);
        desk.until_letters(TRUNCATED + (1 + round) * FUTURE).await;
    }
    let dry = desk.json(&replay[..3]);
    assert_eq!(dry["verdicts"][often], FUTURE, "{dry}");
    assert_eq!(dry["verdicts"][MARKED], 3 * FUTURE, "{dry}");
    let forced = desk.json(&["replay", "--reason", "future", "--force"]);
    assert_eq!(forced["verdicts"][&back], FUTURE, "{forced}");
    // Those before it that made their rounds do not take a newer one's room.
    desk.spoil_behind(TRUNCATED + 4 * FUTURE).await;
    let one = desk.json(&["replay", "--reason", "future", "--limit", "1"]);
    assert_eq!(one["verdicts"][&back], 1, "{one}");
    desk.installation.stop_all().await;
}
