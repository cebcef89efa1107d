//! `pulse-coinbase` as a process on a real Kafka: what it delivers, where a successor goes on, and
//! what becomes of frames that nobody can read.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use connectors::exchange::FRAME_BYTES_MAX;
use pulse::simulator::{
    FaultOptions, MarketOptions, ReplayOptions, Simulator, SimulatorOptions, Source, Speed,
};
use runtime::kafka::admin::ENVELOPE_BYTES_MAX as RECORD_BYTES_MAX;
use schemas::control::{Channel, Exchange, Limits};
use schemas::dead_letter::DeadLetter;
use schemas::event::EventView;
use schemas::ids::{Stream, TenantId};
use schemas::meter::built_in;
use tests::market::{OnLog, truth};
use tests::topic::Tail;
use tests::{Installation, eventually, topic};

const PRODUCTS: [&str; 2] = ["BTC-USD", "ETH-USD"];
const FEEDS: [Exchange; 2] = [Exchange::CoinbaseExchange, Exchange::CoinbaseAdvanced];

fn market(seed: u64, seconds: u64) -> MarketOptions {
    MarketOptions {
        seed,
        products: PRODUCTS.map(str::to_owned).to_vec(),
        duration: Some(Duration::from_secs(seconds)),
        ..MarketOptions::default()
    }
}

/// One feed of one tenant, from a simulator of its own.
struct Line {
    feed: Exchange,
    simulator: Simulator,
    tenant: TenantId,
}

async fn line(
    installation: &Installation,
    feed: Exchange,
    options: SimulatorOptions,
    products: &[&str],
) -> Line {
    let simulator = Simulator::start(options).await.unwrap();
    let id = match feed {
        Exchange::CoinbaseExchange => "flat",
        Exchange::CoinbaseAdvanced => "advanced",
    };
    let tenant = installation
        .tenant(id, Limits::default(), &built_in())
        .await;
    let channels = [Channel::Quotes, Channel::Trades, Channel::Depth];
    installation.feed(&tenant, feed, products, &channels).await;
    Line {
        feed,
        simulator,
        tenant,
    }
}

async fn connect(installation: &mut Installation, lines: &[&Line]) {
    let feeds: Vec<_> = lines
        .iter()
        .map(|line| (line.feed, &line.simulator))
        .collect();
    installation.coinbase(&feeds).await;
}

impl Line {
    fn topic(&self, stream: Stream) -> String {
        self.tenant.topic(stream).to_string()
    }

    fn letters(&self, installation: &Installation) -> Vec<Vec<u8>> {
        let letters = topic::read(&installation.kafka(), &self.topic(Stream::DeadLetters));
        letters
            .into_iter()
            .map(|letter| letter.value.unwrap())
            .collect()
    }

    /// Waits until each trade that was made is on the log, once, or named by a gap.
    async fn until_accounted(&self, installation: &Installation) -> OnLog {
        self.simulator.finished().await;
        let truth = truth(self.simulator.truth());
        let mut tail = Tail::new(&installation.kafka(), &self.topic(Stream::Events));
        let mut log = OnLog::default();
        eventually("each trade is on the log or named", async || {
            tail.read_on(|value| log.take(value.unwrap()));
            log.lacks(&truth)
        })
        .await;
        log.check(&truth);
        log
    }
}

/// Killed twice while both feeds are read, and cut off once: nothing is doubled; what the Advanced
/// feed serves again is there, and what the Exchange feed does not is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_goes_on_where_the_killed_one_stopped() {
    let mut installation = Installation::start().await;
    let mut lines = vec![];
    for (feed, seed) in FEEDS.into_iter().zip([51, 52]) {
        let source = Source::Market(market(seed, 25));
        let mut options = SimulatorOptions::new(source, Speed::Times(1.0));
        options.faults.disconnect_after = vec![150];
        lines.push(line(&installation, feed, options, &PRODUCTS).await);
    }
    connect(&mut installation, &[&lines[0], &lines[1]]).await;
    for round in [1, 2] {
        for line in &lines {
            let before = topic::count(&installation.kafka(), &line.topic(Stream::Events));
            eventually("more has come", async || {
                match topic::count(&installation.kafka(), &line.topic(Stream::Events)) {
                    count if count > before + 50 => Ok(()),
                    _ if line.simulator.status().finished => Ok(()),
                    count => Err(format!("round {round}: {count} events")),
                }
            })
            .await;
        }
        installation.kill_and_restart("pulse-coinbase-0").await;
    }
    for line in &lines {
        let log = line.until_accounted(&installation).await;
        match line.feed {
            Exchange::CoinbaseExchange => {}
            // Half a minute of trades is in every snapshot, and nobody was away for that long.
            Exchange::CoinbaseAdvanced => assert_eq!(log.named, BTreeSet::new()),
        }
        assert_eq!(line.letters(&installation).len(), 0);
    }
    said_again(&mut installation, &lines).await;
    installation.stop_all().await;
}

/// Killed once more, when no market moves: its subscription to the Exchange feed begins with the
/// quotes that its predecessor had last, and says none of them again.
async fn said_again(installation: &mut Installation, lines: &[Line]) {
    let connector = "pulse-coinbase-0";
    installation.kill_and_restart(connector).await;
    eventually("the last quote of each market has come again", async || {
        let figure = "pulse_connector_unused_total";
        let label = r#"feed="coinbase_exchange",fate="unchanged""#;
        let count = installation.figure(connector, figure, label).await?;
        match count >= PRODUCTS.len() as f64 {
            true => Ok(()),
            false => Err(count.to_string()),
        }
    })
    .await;
    // In order: what it took is on the log then.
    installation.stop(connector).await;
    let line = &lines[0];
    assert_eq!(line.feed, Exchange::CoinbaseExchange);
    let mut log = OnLog::default();
    for record in topic::read(&installation.kafka(), &line.topic(Stream::Events)) {
        log.take(&record.value.unwrap());
    }
    let repeated: Vec<_> = log.quotes.iter().filter(|(_, count)| **count > 1).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
    assert!(!log.quotes.is_empty());
}

/// A connection on which nothing comes for longer than three seconds is given up and made anew, and
/// the feed's own events say so, in their order.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_feed_is_told_of_and_connected_again() {
    let mut installation = Installation::start().await;
    let source = Source::Market(market(54, 15));
    let mut options = SimulatorOptions::new(source, Speed::Times(1.0));
    options.faults = FaultOptions {
        stall: 0.01,
        stall_for: Duration::from_secs(20),
        ..FaultOptions::default()
    };
    let line = line(&installation, FEEDS[1], options, &PRODUCTS).await;
    connect(&mut installation, &[&line]).await;
    eventually("a silence, and a connection after it", async || {
        let said: Vec<String> = topic::read(&installation.kafka(), &line.topic(Stream::Events))
            .iter()
            .filter_map(|record| {
                let event = EventView::decode(record.value.as_deref().unwrap()).unwrap();
                let is_state =
                    event.subject == "coinbase:feed" && event.event_type == "system_event";
                is_state.then(|| event.tags.get("state").unwrap().as_str().to_owned())
            })
            .collect();
        let order = ["connected", "silent", "resubscribing", "connected"];
        match said.starts_with(&order.map(str::to_owned)) {
            true => Ok(()),
            false => Err(format!("{said:?}")),
        }
    })
    .await;
    installation.stop_all().await;
}

/// Frames of a recording that nobody can read, between those that everybody can.
fn spoilt() -> Vec<(&'static str, String)> {
    let trade = matched(3).replace(r#""price":"2""#, r#""price":"NaN""#);
    let padded = |count: usize| format!(r#"{{"type":"match","padding":"{}"}}"#, "x".repeat(count));
    vec![
        ("not_json", matched(3)[..40].to_owned()),
        ("not_json", "[1, 2]".to_owned()),
        ("invalid_field", trade),
        ("missing_field", r#"{"price":"2"}"#.to_owned()),
        ("missing_field", padded(3_000_000)),
        ("missing_field", padded(FRAME_BYTES_MAX - 2_000)),
    ]
}

fn matched(id: i64) -> String {
    format!(
        r#"{{"type":"match","trade_id":{id},"side":"sell","size":"1","price":"2","product_id":"BTC-USD","time":"2026-08-09T21:00:{id:02}Z"}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_cannot_be_read_are_kept_whole_or_say_that_they_are_cut() {
    let mut installation = Installation::start().await;
    let mut frames = vec![matched(1).replace("match", "last_match")];
    frames.extend(spoilt().into_iter().map(|(_, frame)| frame));
    frames.push(matched(2));
    let lines = frames.iter().map(|frame| {
        let line = serde_json::json!({"at": 1_786_309_548, "frame": frame});
        format!("{line}\n")
    });
    let file = installation.stack.folder().join("spoilt.jsonl.zst");
    let text: String = lines.collect();
    std::fs::write(&file, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    let source = Source::Replay(ReplayOptions { file, overlap: 0 });
    let options = SimulatorOptions::new(source, Speed::Max);
    let line = line(&installation, FEEDS[0], options, &["BTC-USD"]).await;
    connect(&mut installation, &[&line]).await;

    let expect = spoilt();
    let letters = eventually("every letter is there", async || {
        match line.letters(&installation) {
            letters if letters.len() == expect.len() => Ok(letters),
            letters => Err(format!("{} of {}", letters.len(), expect.len())),
        }
    })
    .await;
    for (letter, (reason, frame)) in letters.iter().zip(&expect) {
        let letter = DeadLetter::decode(letter).unwrap();
        assert_eq!(letter.source.as_str(), "coinbase:feed");
        assert_eq!(
            letter.reason.as_str(),
            *reason,
            "{}",
            letter.detail.as_str()
        );
        let (kept, detail) = (letter.value.unwrap(), letter.detail.as_str());
        let is_whole = kept == frame.as_bytes();
        assert!(frame.as_bytes().starts_with(kept), "{reason}: other bytes");
        if frame.len() < RECORD_BYTES_MAX - schemas::dead_letter::ENVELOPE_BYTES_MAX {
            assert!(
                is_whole,
                "{reason}: {} of {} bytes",
                kept.len(),
                frame.len()
            );
        } else {
            let says = format!("the first {} bytes are kept", kept.len());
            assert!(!is_whole && detail.contains(&says), "{detail}");
        }
    }
    eventually("the feed lives on", async || {
        let events = topic::read(&installation.kafka(), &line.topic(Stream::Events));
        let ids = events.iter().filter_map(|record| {
            let event = EventView::decode(record.value.as_deref().unwrap()).unwrap();
            event.sequence.filter(|_| event.event_type == "trade")
        });
        match ids.collect::<Vec<_>>() {
            ids if ids == [1, 2] => Ok(()),
            ids => Err(format!("{ids:?}")),
        }
    })
    .await;
    installation.stop_all().await;
}

/// A frame beyond what is taken ends the connection; a letter says how large it was, and the next
/// connection goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_too_large_to_take_is_told_of_and_survived() {
    let mut installation = Installation::start().await;
    let source = Source::Market(MarketOptions {
        changes_per_second: 2.0,
        trades_per_second: 1.0,
        ..market(53, 60)
    });
    let mut options = SimulatorOptions::new(source, Speed::Max);
    options.faults = FaultOptions {
        oversized: 0.01,
        ..FaultOptions::default()
    };
    let line = line(&installation, FEEDS[1], options, &PRODUCTS).await;
    connect(&mut installation, &[&line]).await;
    let log = line.until_accounted(&installation).await;
    assert!(log.trades.len() > 20, "{} trades", log.trades.len());
    let letters = line.letters(&installation);
    assert!(!letters.is_empty());
    for letter in &letters {
        let letter = DeadLetter::decode(letter).unwrap();
        assert_eq!(letter.reason.as_str(), "too_large");
        assert!(
            letter.detail.as_str().contains("frame of 17"),
            "{}",
            letter.detail.as_str()
        );
        assert_eq!(letter.value, None);
    }
    installation.stop_all().await;
}
