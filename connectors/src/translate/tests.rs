//! Frames in, outputs out: order, holes, repeats, connections that come and go.

use std::fmt::Write;

use schemas::control::Exchange;
use schemas::event::EventType;

use super::*;
use crate::coinbase;

mod renumbered;
mod repeats;

const SECOND: i64 = 1_000_000;

/// A feed whose frames arrive at the time that they carry, in seconds since [`START`].
struct Feed {
    translator: Translator,
    received_at: EventTime,
}

/// 2021-04-17T16:43:00Z.
const START: i64 = 1_618_677_780;

impl Feed {
    fn new(exchange: Exchange) -> Self {
        let feed = FeedName {
            exchange: "coinbase",
            feed: "test",
        };
        let mut translator = Translator::new(coinbase::protocol(exchange), feed);
        let received_at = EventTime::from_us(START * SECOND);
        translator.want(wanted(&["A", "B"]), received_at, &mut vec![]);
        translator.connected(received_at);
        Self {
            translator,
            received_at,
        }
    }

    /// What a frame gives, in short.
    fn frame(&mut self, text: &str) -> String {
        let mut out = vec![];
        self.received_at = self.received_at.plus_ms(1);
        let result = self.translator.translate(text, self.received_at, &mut out);
        let mut said = short(&out);
        if let Err(error) = result {
            write!(said, "!{}", error.reason()).unwrap();
        }
        said
    }

    /// The channels of the frames that it would send now, `-` for one that it leaves.
    fn again(&mut self) -> String {
        let requests = self.translator.requests_again(self.received_at);
        let channels = requests.iter().map(|request| {
            let request: serde_json::Value = serde_json::from_str(request).unwrap();
            let sign = if request["type"] == "subscribe" {
                "+"
            } else {
                "-"
            };
            match &request["channels"][0] {
                serde_json::Value::Null => format!("{sign}{}", request["channel"]),
                channel => format!("{sign}{}", channel["name"]),
            }
        });
        channels.collect::<Vec<_>>().join(" ").replace('"', "")
    }

    fn connected(&mut self) {
        self.translator.connected(self.received_at);
    }

    fn disconnected(&mut self) -> String {
        let mut out = vec![];
        self.translator.disconnected(self.received_at, &mut out);
        short(&out)
    }

    fn finish(&mut self) -> String {
        let mut out = vec![];
        self.translator.finish(self.received_at, &mut out);
        short(&out)
    }

    fn pass_ms(&mut self, ms: i64) {
        self.received_at = self.received_at.plus_ms(ms);
    }
}

fn wanted(products: &[&str]) -> Wanted {
    let mut wanted = Wanted::default();
    for product in products {
        for channel in [Channel::Trades, Channel::Quotes, Channel::Depth] {
            wanted.add(channel, product);
        }
    }
    wanted
}

/// `A7` a trade, `A~` a quote, `A[3-5]@2` a gap dated two seconds after the start, `A#` depth,
/// `state` a word of the connection.
fn short(out: &[Output]) -> String {
    let each = out.iter().map(|output| match output {
        Output::Book(_, book) => format!("{}#", book.subject.trim_start_matches("coinbase:")),
        Output::Event(_, event) => {
            let who = event.subject.trim_start_matches("coinbase:");
            let number = |name: &str| event.metrics[name].to_string();
            match event.event_type {
                EventType::Trade => format!("{who}{}", event.sequence.unwrap()),
                EventType::Quote => format!("{who}~"),
                EventType::Gap => {
                    let at = event.occurred_at.as_us() - START * SECOND;
                    let (first, last) = (number("first"), number("last"));
                    format!("{who}[{first}-{last}]@{}", at / SECOND)
                }
                _ => event.tags["state"].clone(),
            }
        }
    });
    each.collect::<Vec<_>>().join(" ")
}

fn time(at: f64) -> String {
    EventTime::from_us(START * SECOND + (at * 1e6) as i64).to_string()
}

fn traded(kind: &str, product: &str, id: i64, at: f64) -> String {
    let time = time(at);
    format!(
        r#"{{"type":"{kind}","trade_id":{id},"side":"sell","size":"1","price":"2",
        "product_id":"{product}","time":"{time}"}}"#
    )
}

fn matched(product: &str, id: i64, at: f64) -> String {
    traded("match", product, id, at)
}

fn ticker(product: &str, at: f64) -> String {
    let time = time(at);
    format!(
        r#"{{"type":"ticker","sequence":1,"product_id":"{product}","price":"2","best_bid":"1",
        "best_ask":"3","time":"{time}","trade_id":1,"last_size":"1"}}"#
    )
}

fn heartbeat(product: &str, last_trade_id: i64, at: f64) -> String {
    let time = time(at);
    format!(
        r#"{{"type":"heartbeat","sequence":1,"last_trade_id":{last_trade_id},
        "product_id":"{product}","time":"{time}"}}"#
    )
}

/// An Advanced frame of trades, in the order given.
fn trades(number: i64, kind: &str, ids: &[i64], at: f64) -> String {
    let trade = |id: &i64| {
        let time = time(at + *id as f64 / 1_000.0);
        format!(
            r#"{{"product_id":"A","trade_id":"{id}","price":"2","size":"1","side":"BUY","time":"{time}"}}"#
        )
    };
    let list = ids.iter().map(trade).collect::<Vec<_>>().join(",");
    let timestamp = time(at + 0.9);
    format!(
        r#"{{"channel":"market_trades","timestamp":"{timestamp}","sequence_num":{number},
        "events":[{{"type":"{kind}","trades":[{list}]}}]}}"#
    )
}

fn beat(number: i64, at: f64) -> String {
    let timestamp = time(at);
    format!(
        r#"{{"channel":"heartbeats","timestamp":"{timestamp}","sequence_num":{number},"events":[]}}"#
    )
}

#[test]
fn quotes_wait_for_the_first_trades() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    assert_eq!(feed.frame(&ticker("A", 1.0)), "");
    assert_eq!(feed.frame(&ticker("A", 1.5)), "");
    assert_eq!(feed.frame(&traded("last_match", "A", 7, 1.0)), "A7 A~ A~");
    assert_eq!(feed.frame(&ticker("A", 2.0)), "A~");
    assert_eq!(feed.frame(&ticker("B", 2.0)), "");
    assert_eq!(feed.disconnected(), "B~");
}

#[test]
fn quotes_wait_five_seconds_on_either_clock() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&matched("B", 1, 10.0));
    assert_eq!(feed.frame(&ticker("A", 1.0)), "");
    assert_eq!(feed.frame(&matched("B", 2, 14.9)), "B2");
    assert_eq!(feed.frame(&matched("B", 3, 15.0)), "B3 A~");

    feed.disconnected();
    feed.connected();
    assert_eq!(feed.frame(&ticker("A", 20.0)), "");
    feed.pass_ms(4_990);
    assert_eq!(feed.frame(r#"{"type":"subscriptions"}"#), "");
    feed.pass_ms(10);
    assert_eq!(feed.frame(r#"{"type":"subscriptions"}"#), "A~");
}

#[test]
fn trades_of_one_frame_come_out_oldest_first() {
    let mut feed = Feed::new(Exchange::CoinbaseAdvanced);
    assert_eq!(
        feed.frame(&trades(0, "snapshot", &[12, 11, 10], 0.0)),
        "A10 A11 A12"
    );
    assert_eq!(feed.frame(&trades(1, "update", &[14, 13], 1.0)), "A13 A14");
    assert_eq!(feed.frame(&trades(2, "update", &[14, 15, 13], 1.0)), "A15");
    assert_eq!(feed.finish(), "");
}

#[test]
fn a_hole_is_named_after_a_second_and_dated_before_it() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&traded("last_match", "A", 10, 1.0));
    feed.frame(&matched("A", 11, 2.0));
    assert_eq!(feed.frame(&matched("A", 15, 3.0)), "A15");
    assert_eq!(feed.frame(&matched("B", 1, 3.9)), "B1");
    assert_eq!(feed.frame(&matched("B", 2, 4.0)), "B2 A[12-14]@2");
    assert_eq!(
        feed.frame(&matched("A", 13, 2.5)),
        "A13",
        "late, and published all the same"
    );
    assert_eq!(feed.frame(&matched("A", 13, 2.5)), "");
    assert_eq!(feed.finish(), "");
    let counts = feed.translator.counts().trades;
    assert_eq!((counts.new, counts.late, counts.repeated), (6, 1, 1));
}

#[test]
fn frames_out_of_order_are_no_hole() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&traded("last_match", "A", 10, 1.0));
    assert_eq!(feed.frame(&matched("A", 12, 1.2)), "A12");
    assert_eq!(feed.frame(&matched("A", 11, 1.1)), "A11");
    assert_eq!(feed.frame(&matched("A", 13, 9.0)), "A13");
    assert_eq!(feed.finish(), "");
}

#[test]
fn a_heartbeat_tells_of_a_trade_that_never_came() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    assert_eq!(
        feed.frame(&heartbeat("A", 9, 1.0)),
        "",
        "before the first trade it says nothing"
    );
    feed.frame(&traded("last_match", "A", 10, 1.0));
    assert_eq!(feed.frame(&heartbeat("A", 12, 2.0)), "");
    assert_eq!(feed.frame(&matched("A", 12, 1.9)), "A12");
    assert_eq!(feed.frame(&heartbeat("A", 12, 3.0)), "A[11-11]@1");
    assert_eq!(feed.finish(), "");
}

#[test]
fn a_reconnect_names_what_its_snapshot_does_not_bring() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&traded("last_match", "A", 10, 1.0));
    feed.frame(&matched("A", 12, 2.0));
    feed.frame(&heartbeat("A", 12, 2.9));
    assert_eq!(feed.disconnected(), "");
    feed.connected();
    assert_eq!(feed.frame(&ticker("A", 60.0)), "");
    assert_eq!(
        feed.frame(&traded("last_match", "A", 20, 60.0)),
        "A[11-11]@1 A[13-19]@2 A20 A~"
    );

    let mut feed = Feed::new(Exchange::CoinbaseAdvanced);
    feed.frame(&trades(0, "snapshot", &[10, 9], 0.0));
    feed.frame(&trades(1, "update", &[12], 1.0));
    feed.disconnected();
    feed.connected();
    let snapshot = trades(0, "snapshot", &[14, 13, 12, 11, 10], 1.0);
    assert_eq!(
        feed.frame(&snapshot),
        "A11 A13 A14",
        "what it brings is no hole"
    );
    feed.disconnected();
    feed.connected();
    assert_eq!(
        feed.frame(&trades(0, "snapshot", &[19, 18], 50.0)),
        "A[15-17]@1 A18 A19"
    );
}

#[test]
fn a_hole_is_asked_for_and_named_only_when_the_snapshot_does_not_bring_it() {
    let mut feed = Feed::new(Exchange::CoinbaseAdvanced);
    feed.frame(&trades(0, "snapshot", &[10], 0.0));
    feed.frame(&trades(1, "update", &[15], 1.0));
    assert_eq!(feed.again(), "", "it may only be out of order");
    assert_eq!(feed.frame(&trades(2, "update", &[16], 2.0)), "A16");
    assert_eq!(feed.again(), "-market_trades +market_trades");
    assert_eq!(feed.frame(&trades(3, "update", &[17], 8.0)), "A17");
    assert_eq!(feed.again(), "", "the answer is awaited");
    let snapshot = trades(4, "snapshot", &[17, 16, 15, 14, 13], 8.0);
    assert_eq!(feed.frame(&snapshot), "A[11-12]@0 A13 A14");
    assert_eq!(feed.finish(), "");
    assert_eq!(feed.translator.counts().trades.late, 0);
}

#[test]
fn a_snapshot_that_never_comes_is_awaited_for_ten_seconds() {
    let mut feed = Feed::new(Exchange::CoinbaseAdvanced);
    feed.frame(&trades(0, "snapshot", &[10], 0.0));
    feed.frame(&trades(1, "update", &[12], 1.0));
    feed.frame(&trades(2, "update", &[13], 2.0));
    assert_ne!(feed.again(), "");
    feed.pass_ms(9_990);
    assert_eq!(feed.frame(&trades(3, "update", &[14], 90.0)), "A14");
    feed.pass_ms(10);
    assert_eq!(
        feed.frame(&trades(4, "update", &[15], 91.0)),
        "A15 A[11-11]@0"
    );
}

#[test]
fn a_hole_of_before_a_reconnect_waits_for_the_snapshot() {
    let mut feed = Feed::new(Exchange::CoinbaseAdvanced);
    feed.frame(&trades(0, "snapshot", &[10], 0.0));
    feed.frame(&trades(1, "update", &[12], 1.0));
    feed.disconnected();
    feed.connected();
    assert_eq!(feed.frame(&beat(0, 30.0)), "");
    assert_eq!(feed.frame(&trades(1, "update", &[13], 31.0)), "A13");
    assert_eq!(feed.frame(&trades(2, "snapshot", &[12, 11], 1.0)), "A11");
    assert_eq!(feed.finish(), "");
}

#[test]
fn depth_is_asked_for_again_after_lost_frames() {
    let mut feed = Feed::new(Exchange::CoinbaseAdvanced);
    feed.frame(&beat(0, 1.0));
    feed.frame(&beat(2, 1.5));
    assert_eq!(feed.again(), "");
    assert_eq!(feed.frame(&beat(3, 3.0)), "feed[1-1]@0");
    assert_eq!(feed.again(), "-level2 +level2");
    feed.frame("garbage");
    assert_eq!(feed.again(), "", "at most once a minute");
    feed.pass_ms(60_000);
    assert_eq!(feed.again(), "-level2 +level2");

    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&traded("last_match", "A", 10, 1.0));
    feed.frame(&matched("A", 12, 2.0));
    assert_eq!(feed.frame(&matched("A", 13, 9.0)), "A13 A[11-11]@1");
    assert_eq!(feed.again(), "-level2_batch +level2_batch");
    assert_eq!(feed.finish(), "");
}

#[test]
fn frames_that_never_came_are_named_by_number() {
    let mut feed = Feed::new(Exchange::CoinbaseAdvanced);
    feed.frame(&beat(0, 1.0));
    feed.frame(&beat(3, 2.0));
    feed.frame(&beat(2, 2.1));
    assert_eq!(feed.frame(&beat(4, 3.0)), "feed[1-1]@0");
    feed.frame(&beat(9, 3.5));
    assert_eq!(feed.disconnected(), "feed[5-8]@0");
    feed.connected();
    assert_eq!(feed.frame(&beat(0, 9.0)), "");
    assert_eq!(feed.finish(), "", "each connection counts from 0");
}

#[test]
fn a_frame_that_cannot_be_read_changes_nothing_else() {
    let mut feed = Feed::new(Exchange::CoinbaseAdvanced);
    feed.frame(&trades(0, "snapshot", &[1], 0.0));
    let broken = trades(1, "update", &[2, 3], 1.0).replace("\"BUY\"", "\"?\"");
    assert_eq!(feed.frame(&broken), "!invalid_field");
    assert_eq!(feed.frame("garbage"), "!not_json");
    assert_eq!(feed.frame(&trades(2, "update", &[4], 1.0)), "A4");
    assert_eq!(
        feed.finish(),
        "A[2-3]@0",
        "its number was read, its trades were not"
    );
    let counts = feed.translator.counts();
    assert_eq!((counts.frames, counts.unreadable), (4, 2));
}

#[test]
fn a_date_far_in_the_future_moves_no_clock() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&traded("last_match", "A", 10, 1.0));
    let year_9999 = matched("A", 11, 0.0).replace("2021-", "9999-");
    assert_eq!(
        feed.frame(&year_9999),
        "A11",
        "the processors refuse it, with its date"
    );
    feed.frame(&matched("A", 14, 2.0));
    assert_eq!(feed.frame(&matched("A", 15, 3.0)), "A15 A[12-13]@1");
}

#[test]
fn what_is_not_wanted_is_counted_and_gone() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    assert_eq!(feed.frame(&matched("C", 1, 1.0)), "");
    assert_eq!(feed.frame(&ticker("C", 1.0)), "");
    assert_eq!(feed.translator.counts().unwanted, 2);

    feed.frame(&traded("last_match", "A", 1, 1.0));
    feed.frame(&matched("A", 3, 1.0));
    let mut out = vec![];
    let at = feed.received_at;
    feed.translator.want(wanted(&["B", "C"]), at, &mut out);
    assert_eq!(short(&out), "A[2-2]@1");
    assert_eq!(feed.frame(&matched("A", 4, 1.0)), "");
    assert_eq!(
        feed.frame(&ticker("C", 1.0)),
        "",
        "a new market awaits its trades"
    );
    assert_eq!(feed.frame(&matched("C", 1, 1.0)), "C1 C~");
    assert_eq!(feed.translator.counts().trades.new, 3);
}

#[test]
fn depth_is_split_and_begins_with_its_snapshot() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    let level = r#"["1","2"],"#.repeat(schemas::book::LEVELS_MAX);
    let frame = format!(
        r#"{{"type":"snapshot","product_id":"A","bids":[{level}["1","2"]],"asks":[["3","4"]]}}"#
    );
    let mut out = vec![];
    let received_at = feed.received_at;
    feed.translator
        .translate(&frame, received_at, &mut out)
        .unwrap();
    let books: Vec<_> = out
        .iter()
        .map(|output| match output {
            Output::Book(_, book) => (book.snapshot, book.levels.len(), book.occurred_at),
            Output::Event(..) => panic!("depth is no event"),
        })
        .collect();
    let most = schemas::book::LEVELS_MAX;
    assert_eq!(books, [(true, most, received_at), (false, 2, received_at)]);
}

#[test]
fn a_refusal_is_told() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    let refusal = r#"{"type":"error","message":"Failed to subscribe"}"#;
    assert_eq!(feed.frame(refusal), "refused");
}
