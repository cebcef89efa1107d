//! The recorded frames of both feeds, translated, against a naive reading of the same files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use connectors::coinbase;
use connectors::mapping::FeedName;
use connectors::subscription::Wanted;
use connectors::translate::{FrameCounts, Output, Translator};
use runtime::config::{Environment, Key};
use schemas::control::{Channel, Exchange};
use schemas::decimal::Decimal;
use schemas::event::{Event, EventType};
use schemas::time::EventTime;
use serde_json::Value;

const EXCHANGE: &str = "coinbase-exchange-2021-04-17.jsonl.zst";
const ADVANCED: &str = "coinbase-advanced-2026-08-09.jsonl.zst";

struct Recorded {
    at: EventTime,
    frame: String,
}

/// The lines of a recorded file.
///
/// # Panics
/// When it is not there: these tests cannot run without.
fn recorded(name: &str) -> Vec<Recorded> {
    let path = data_folder().join(name);
    assert!(
        path.is_file(),
        "no recording at {}: this test reads recorded frames that are not part of the project; \
         set {} to the folder whose `data` holds them",
        path.display(),
        SHARED.name
    );
    let file = std::fs::File::open(&path).unwrap();
    let text = BufReader::new(zstd::Decoder::new(file).unwrap());
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let seconds: Decimal = line["at"].to_string().parse().unwrap();
        Recorded {
            at: EventTime::from_us((seconds.units() / 1_000_000_000_000) as i64),
            frame: line["frame"].as_str().unwrap().to_owned(),
        }
    });
    lines.collect()
}

const SHARED: Key = Key {
    name: "PULSE_SHARED",
    default: None,
    doc: "The folder whose `data` holds the recorded frames; beside the repository unless set.",
};

fn data_folder() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let set: Option<PathBuf> = Environment::of_process().optional(&SHARED).flatten();
    set.unwrap_or(beside).join("data")
}

/// A translator that wants every channel of every product named in the frames.
fn translator(exchange: Exchange, frames: &[Recorded]) -> Translator {
    let mut products = BTreeSet::new();
    for recorded in frames {
        let frame: Value = serde_json::from_str(&recorded.frame).unwrap();
        collect_products(&frame, &mut products);
    }
    let mut wanted = Wanted::default();
    for product in &products {
        for channel in [Channel::Quotes, Channel::Trades, Channel::Depth] {
            wanted.add(channel, product);
        }
    }
    let feed = FeedName {
        exchange: "coinbase",
        feed: "test",
    };
    let mut translator = Translator::new(coinbase::protocol(exchange), feed);
    translator.want(wanted, frames[0].at, &mut vec![]);
    translator.connected(frames[0].at);
    translator
}

fn collect_products(value: &Value, products: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str().filter(|_| name == "product_id") {
                    Some(product) => drop(products.insert(product.to_owned())),
                    None => collect_products(value, products),
                }
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_products(item, products)),
        _ => {}
    }
}

/// Translates all frames; every one must be readable.
fn translate(exchange: Exchange, frames: &[Recorded]) -> (Vec<Output>, FrameCounts) {
    let mut translator = translator(exchange, frames);
    let mut out = vec![];
    for recorded in frames {
        let result = translator.translate(&recorded.frame, recorded.at, &mut out);
        assert!(result.is_ok(), "{result:?}: {}", recorded.frame);
    }
    translator.finish(frames[frames.len() - 1].at, &mut out);
    (out, translator.counts())
}

fn events(out: &[Output], event_type: EventType) -> Vec<&Event> {
    let events = out.iter().filter_map(|output| match output {
        Output::Event(_, event) if event.event_type == event_type => Some(event),
        _ => None,
    });
    events.collect()
}

/// What identifies and values a trade, in texts of the file's own.
type NaiveTrade = (String, i64, i64, Decimal, Decimal, &'static str);

fn naive(trade: &Value) -> NaiveTrade {
    let text = |name: &str| trade[name].as_str().unwrap().to_owned();
    let id = match &trade["trade_id"] {
        Value::String(id) => id.parse().unwrap(),
        id => id.to_string().parse().unwrap(),
    };
    let at: jiff::Timestamp = text("time").parse().unwrap();
    let taker = match text("side").to_lowercase().as_str() {
        "sell" => "buy",
        _ => "sell",
    };
    let (price, size) = (text("price"), text("size"));
    (
        text("product_id"),
        id,
        at.as_microsecond(),
        price.parse().unwrap(),
        size.parse().unwrap(),
        taker,
    )
}

fn of_event(event: &Event) -> NaiveTrade {
    let product = event.tags["product_id"].clone();
    let id = event.sequence.unwrap();
    assert_eq!(event.event_id, format!("coinbase:{product}:trade:{id}"));
    assert_eq!(event.subject, format!("coinbase:{product}"));
    assert_eq!(event.tags["exchange"], "coinbase");
    assert_eq!(event.source.service, "coinbase");
    let taker = if event.tags["side"] == "buy" {
        "buy"
    } else {
        "sell"
    };
    (
        product,
        id,
        event.occurred_at.as_us(),
        event.metrics["price"],
        event.metrics["size"],
        taker,
    )
}

/// All trades of the file, each once, by product and id.
fn naive_trades(frames: &[Recorded]) -> BTreeMap<(String, i64), NaiveTrade> {
    let mut trades = BTreeMap::new();
    for recorded in frames {
        let frame: Value = serde_json::from_str(&recorded.frame).unwrap();
        let kind = frame["type"].as_str().unwrap_or_default();
        if kind == "match" || kind == "last_match" {
            let trade = naive(&frame);
            trades.insert((trade.0.clone(), trade.1), trade);
        }
        for event in frame["events"].as_array().into_iter().flatten() {
            for trade in event["trades"].as_array().into_iter().flatten() {
                let trade = naive(trade);
                trades.insert((trade.0.clone(), trade.1), trade);
            }
        }
    }
    trades
}

#[track_caller]
fn check_trades(frames: &[Recorded], out: &[Output], count: usize) {
    let trades: Vec<_> = events(out, EventType::Trade)
        .into_iter()
        .map(of_event)
        .collect();
    assert_eq!(trades.len(), count);
    let by_id: BTreeMap<_, _> = trades
        .iter()
        .map(|t| ((t.0.clone(), t.1), t.clone()))
        .collect();
    assert_eq!(by_id.len(), count, "each id once");
    assert_eq!(by_id, naive_trades(frames));
    for product in by_id.keys().map(|(product, _)| product) {
        let of_product: Vec<_> = trades.iter().filter(|t| t.0 == *product).collect();
        let in_order = of_product.is_sorted_by_key(|t| (t.2, t.1));
        assert!(in_order, "{product} is not published oldest first");
    }
}

/// Each market's first trade stands before its first quote, and both are there.
fn check_trades_first(out: &[Output]) {
    let mut traded = BTreeSet::new();
    for output in out {
        if let Output::Event(_, event) = output {
            match event.event_type {
                EventType::Trade => drop(traded.insert(&event.subject)),
                EventType::Quote => assert!(traded.contains(&event.subject), "{event:?}"),
                _ => panic!("nothing else is in the recording: {event:?}"),
            }
        }
    }
}

#[test]
fn every_frame_of_the_exchange_feed_is_read() {
    let frames = recorded(EXCHANGE);
    let (out, counts) = translate(Exchange::CoinbaseExchange, &frames);
    check_trades(&frames, &out, 107);
    check_trades_first(&out);
    let quotes = events(&out, EventType::Quote);
    assert_eq!(quotes.len(), 107);
    let ids: BTreeSet<_> = quotes.iter().map(|quote| &quote.event_id).collect();
    assert_eq!(ids.len(), 107);
    assert_eq!(counts.frames, frames.len() as u64);
    assert_eq!(
        (counts.unreadable, counts.skipped, counts.unwanted),
        (0, 0, 0)
    );
    let books = out.iter().filter(|o| matches!(o, Output::Book(..))).count();
    assert_eq!(books, 9_719 + 10);
}

#[test]
fn every_frame_of_the_advanced_feed_is_read() {
    let frames = recorded(ADVANCED);
    let (out, counts) = translate(Exchange::CoinbaseAdvanced, &frames);
    check_trades(&frames, &out, 257);
    check_trades_first(&out);
    let quotes = events(&out, EventType::Quote);
    assert_eq!(quotes.len(), 100);
    assert_eq!(counts.frames, 613);
    assert_eq!(
        (counts.unreadable, counts.unwanted, counts.heartbeats),
        (0, 0, 14)
    );
    assert_eq!(counts.skipped, 4, "the candles");
    check_books(&out, &frames);
}

/// Depth comes out level for level, in records of bounded size.
fn check_books(out: &[Output], frames: &[Recorded]) {
    let mut naive_count = 0;
    for recorded in frames {
        let frame: Value = serde_json::from_str(&recorded.frame).unwrap();
        for event in frame["events"].as_array().into_iter().flatten() {
            naive_count += event["updates"].as_array().map_or(0, Vec::len);
        }
    }
    let mut level_count = 0;
    let mut snapshot_count = 0;
    for output in out {
        if let Output::Book(_, book) = output {
            assert!(book.levels.len() <= schemas::book::LEVELS_MAX);
            level_count += book.levels.len();
            snapshot_count += usize::from(book.snapshot);
        }
    }
    assert_eq!(level_count, naive_count);
    assert_eq!(snapshot_count, 2);
}

/// A quote's id and time depend on what it says alone, so a frame that comes again is the same
/// event; trades that come again do not come out again, and neither does a market's latest quote.
#[test]
fn frames_that_come_again_are_the_same_events() {
    for (name, exchange) in [
        (EXCHANGE, Exchange::CoinbaseExchange),
        (ADVANCED, Exchange::CoinbaseAdvanced),
    ] {
        let frames = recorded(name);
        let mut translator = translator(exchange, &frames);
        let (mut first, mut again) = (vec![], vec![]);
        for recorded in &frames {
            let result = translator.translate(&recorded.frame, recorded.at, &mut first);
            result.unwrap();
        }
        let later = frames[frames.len() - 1].at.plus_ms(1_000);
        translator.disconnected(later, &mut first);
        translator.connected(later);
        for recorded in &frames {
            translator
                .translate(&recorded.frame, later, &mut again)
                .unwrap();
        }
        translator.finish(later, &mut again);
        assert_eq!(events(&again, EventType::Trade), Vec::<&Event>::new());
        assert_eq!(events(&again, EventType::Gap), Vec::<&Event>::new());
        let identity = |out: &[Output]| -> Vec<_> {
            let quotes = events(out, EventType::Quote);
            quotes
                .iter()
                .map(|q| (q.event_id.clone(), q.occurred_at))
                .collect()
        };
        let market = |id: &str| id.split(":quote:").next().unwrap().to_owned();
        let first = identity(&first);
        let mut latest: BTreeMap<String, String> = BTreeMap::new();
        for (id, _) in &first {
            latest.insert(market(id), id.clone());
        }
        let mut expect = first.clone();
        expect.retain(|(id, _)| latest.insert(market(id), id.clone()).as_ref() != Some(id));
        assert!(expect.len() + 10 > first.len(), "nearly all come again");
        assert_eq!(expect, identity(&again));
        assert_eq!(
            translator.counts().trades.repeated,
            translator.counts().trades.new
        );
    }
}

/// Frames taken out: the gaps name exactly the trades that were in them, and the frames' numbers.
/// (Each market still trades after the last of them: this feed does not say what its last trade
/// is.)
#[test]
fn lost_frames_are_named() {
    let frames = recorded(ADVANCED);
    let lost = |at: usize| at % 7 == 3 && at > 30 && at < 480;
    let kept = |keep: bool| {
        let part = frames.iter().enumerate();
        part.filter(move |(at, _)| lost(*at) != keep)
            .map(|(_, f)| Recorded {
                at: f.at,
                frame: f.frame.clone(),
            })
            .collect::<Vec<_>>()
    };
    let (rest, gone) = (kept(true), kept(false));
    let (out, _) = translate(Exchange::CoinbaseAdvanced, &rest);
    let came = naive_trades(&rest);
    let missing: BTreeSet<_> = naive_trades(&gone)
        .into_keys()
        .filter(|key| !came.contains_key(key))
        .collect();
    let (mut trade_ids, mut numbers) = (BTreeSet::new(), 0);
    for gap in events(&out, EventType::Gap) {
        let bound = |name: &str| gap.metrics[name].to_string().parse::<i64>().unwrap();
        let range = bound("first")..=bound("last");
        match gap.tags["series"].as_str() {
            "trade_id" => {
                let product = &gap.tags["product_id"];
                trade_ids.extend(range.map(|id| (product.clone(), id)));
            }
            _ => numbers += range.count(),
        }
    }
    assert!(missing.len() > 3, "the test loses trades: {missing:?}");
    assert_eq!(trade_ids, missing);
    assert_eq!(numbers, gone.len());
}
