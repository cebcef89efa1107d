//! What both protocols say of single frames: the malformed ones first.

use proptest::prelude::*;
use schemas::control::{Channel, Exchange};
use schemas::time::EventTime;

use super::protocol;
use crate::exchange::{Content, Side};
use crate::subscription::Wanted;

use Exchange::{CoinbaseAdvanced as Advanced, CoinbaseExchange as Flat};

/// What is wrong with the frame: its stable word and the detail.
#[track_caller]
fn check_unreadable(exchange: Exchange, frame: &str, reason: &str, detail: &str) {
    let error = protocol(exchange).read(frame).expect_err(frame).error;
    assert_eq!(
        (error.reason(), error.to_string().as_str()),
        (reason, detail)
    );
}

#[track_caller]
fn check_content(exchange: Exchange, frame: &str, expected: &Content<'_>) {
    let read = protocol(exchange).read(frame).expect(frame);
    assert_eq!(read.content, std::slice::from_ref(expected));
}

const MATCH: &str = r#"{"type":"match","trade_id":7,"side":"sell","size":"0.5","price":"100.25",
    "product_id":"BTC-USD","sequence":9,"time":"2021-04-17T16:43:37.089723Z"}"#;

fn matched(field: &str, with: &str) -> String {
    assert!(MATCH.contains(field), "{field}");
    MATCH.replacen(field, with, 1)
}

#[test]
fn matches_without_a_field_say_which() {
    for (field, with, name) in [
        (r#""price":"100.25","#, "", "price"),
        (r#""100.25""#, r#""""#, "price"),
        (r#""100.25""#, "null", "price"),
        (r#""trade_id":7,"#, "", "trade_id"),
        (r#""type":"match","#, "", "type"),
    ] {
        let detail = format!("{name} is missing");
        check_unreadable(Flat, &matched(field, with), "missing_field", &detail);
    }
}

#[test]
fn malformed_matches_say_what_would_be_right() {
    let price = "price is not a decimal number of at most 38 digits, 18 of them after the point";
    let id = "trade_id is not a whole number from 0 to 2^62";
    let time = "time is not a time of the form 2026-08-09T21:05:48.228568Z";
    let product = "product_id is not the name of a market";
    let huge = r#""trade_id":4611686018427387905"#;
    for (field, with, detail) in [
        (r#""100.25""#, r#""NaN""#, price),
        (r#""100.25""#, r#""1e40""#, price),
        (r#""100.25""#, r#""0.0000000000000000001""#, price),
        (r#""100.25""#, "[1]", price),
        (r#""100.25""#, "true", price),
        (
            r#""0.5""#,
            r#""-0.5""#,
            "size is not a quantity of 0 or more",
        ),
        (r#""trade_id":7"#, r#""trade_id":-7"#, id),
        (r#""trade_id":7"#, r#""trade_id":7.5"#, id),
        (r#""trade_id":7"#, huge, id),
        (r#""sell""#, r#""hold""#, "side is not buy or sell"),
        (r#""sell""#, "1", "side is not a text"),
        ("2021-04-17T16", "2021-04-31T16", time),
        ("2021-04-17T16:43:37.089723Z", "yesterday", time),
        ("BTC-USD", "", product),
        ("BTC-USD", "BTC USD", product),
        ("BTC-USD", "\\u0000", product),
        (r#""type":"match""#, r#""type":1"#, "type is not a text"),
    ] {
        check_unreadable(Flat, &matched(field, with), "invalid_field", detail);
    }
}

#[test]
fn what_is_no_object_is_not_read() {
    for exchange in [Flat, Advanced] {
        for text in [
            "", " ", "{", "null", "1", "\"a\"", "}", "{\"a\":}", "\u{0}", "{}{}", MATCH_CUT,
        ] {
            let error = protocol(exchange).read(text).expect_err(text).error;
            assert_eq!(error.reason(), "not_json", "{text:?}");
        }
        let deep = format!("{{\"type\":{}", "[".repeat(100_000));
        assert!(protocol(exchange).read(&deep).is_err());
    }
    check_unreadable(Flat, "{}", "missing_field", "type is missing");
    check_unreadable(Advanced, "{}", "missing_field", "channel is missing");
    let twice = r#"{"type":"match","type":"match"}"#;
    let error = protocol(Flat).read(twice).expect_err(twice).error;
    assert_eq!(error.reason(), "not_json");
}

const MATCH_CUT: &str = r#"{"type":"match","trade_id":7,"side":"se"#;

#[test]
fn malformed_depth_says_what_is_wrong() {
    for (frame, detail) in [
        (
            r#"{"type":"l2update","product_id":"A"}"#,
            "changes is missing",
        ),
        (
            r#"{"type":"l2update","product_id":"A","changes":[["buy","1"]]}"#,
            "changes is not a list of [side, price, quantity]",
        ),
        (
            r#"{"type":"l2update","product_id":"A","changes":[["up","1","1"]]}"#,
            "side is not buy or sell",
        ),
        (
            r#"{"type":"snapshot","product_id":"A","bids":[["1","2"]]}"#,
            "asks is missing",
        ),
        (
            r#"{"type":"snapshot","product_id":"A","bids":[["1","-2"]],"asks":[]}"#,
            "quantity is not a quantity of 0 or more",
        ),
    ] {
        let error = protocol(Flat).read(frame).expect_err(frame).error;
        assert_eq!(error.to_string(), detail);
    }
}

#[test]
fn malformed_envelopes_keep_their_number() {
    for (frame, number, detail) in [
        (
            r#"{"channel":"ticker","sequence_num":5}"#,
            Some(5),
            "timestamp is missing",
        ),
        (
            r#"{"channel":"market_trades","sequence_num":6}"#,
            Some(6),
            "events is missing",
        ),
        (
            r#"{"channel":"market_trades","sequence_num":7,"events":[{"type":"update"}]}"#,
            Some(7),
            "events is not a list of trades' events",
        ),
        (
            r#"{"channel":"market_trades","sequence_num":8,"events":[{"type":"x","trades":[]}]}"#,
            Some(8),
            "events.type is not snapshot or update",
        ),
        (
            r#"{"channel":"l2_data","sequence_num":9,"timestamp":"x","events":[]}"#,
            Some(9),
            "timestamp is not a time of the form 2026-08-09T21:05:48.228568Z",
        ),
        (
            r#"{"channel":"ticker","sequence_num":"a"}"#,
            None,
            "sequence_num is not a whole number from 0 to 2^62",
        ),
    ] {
        let unreadable = protocol(Advanced).read(frame).expect_err(frame);
        assert_eq!(
            (unreadable.number, unreadable.error.to_string().as_str()),
            (number, detail)
        );
    }
}

/// Both feeds give the maker's side; what comes out is the taker's.
#[test]
fn the_side_is_the_takers() {
    let advanced = r#"{"channel":"market_trades","sequence_num":0,"events":[{"type":"update","trades":[
        {"product_id":"BTC-USD","trade_id":"7","price":"100.25","size":"0.5","side":"SELL",
         "time":"2021-04-17T16:43:37.089723Z"}]}]}"#;
    for (exchange, frame) in [(Flat, MATCH), (Advanced, advanced)] {
        let read = protocol(exchange).read(frame).unwrap();
        let [
            Content::Trades {
                snapshot: false,
                trades,
            },
        ] = read.content.as_slice()
        else {
            panic!("{read:?}");
        };
        assert_eq!(trades[0].taker, Side::Buy);
        assert_eq!(trades[0].trade_id, 7);
        assert_eq!(trades[0].price, "100.25".parse().unwrap());
        assert_eq!(
            trades[0].occurred_at,
            EventTime::from_us(1_618_677_817_089_723)
        );
    }
}

#[test]
fn numbers_without_quotes_are_read_to_the_last_digit() {
    let frame = matched(r#""100.25""#, "100.000000000000000001");
    let read = protocol(Flat).read(&frame).unwrap();
    let [Content::Trades { trades, .. }] = read.content.as_slice() else {
        panic!("{read:?}");
    };
    assert_eq!(trades[0].price.to_string(), "100.000000000000000001");
}

#[test]
fn what_the_exchange_says_of_itself_is_no_data() {
    check_content(
        Flat,
        r#"{"type":"subscriptions","channels":[]}"#,
        &Content::Confirmed,
    );
    check_content(
        Advanced,
        r#"{"channel":"subscriptions","events":[]}"#,
        &Content::Confirmed,
    );
    check_content(
        Flat,
        r#"{"type":"status","products":[{"id":"A"}]}"#,
        &Content::Skipped,
    );
    check_content(
        Advanced,
        r#"{"channel":"candles","events":[{"x":1}]}"#,
        &Content::Skipped,
    );
    let refused = |message: &str| Content::Refused {
        message: message.to_owned(),
    };
    let frame = r#"{"type":"error","message":"Failed to subscribe","reason":"XYZ is not valid"}"#;
    check_content(
        Flat,
        frame,
        &refused("Failed to subscribe: XYZ is not valid"),
    );
    let frame = r#"{"type":"error","message":"rate limit exceeded"}"#;
    check_content(Advanced, frame, &refused("rate limit exceeded"));
    check_content(
        Flat,
        r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD","time":"2014-11-07T08:19:28.464459Z"}"#,
        &Content::Heartbeat {
            product: Some("BTC-USD".into()),
            last_trade_id: Some(20),
        },
    );
    check_content(
        Advanced,
        r#"{"channel":"heartbeats","events":[{"current_time":"2026-08-09 21:05:48.85 +0000 UTC m=+4.2"}]}"#,
        &Content::Heartbeat {
            product: None,
            last_trade_id: None,
        },
    );
}

#[test]
fn a_ratio_of_any_length_is_cut_and_nothing_else_is() {
    let ticker = |change: &str| {
        format!(
            r#"{{"channel":"ticker","timestamp":"2026-08-09T21:05:48.298032046Z","sequence_num":1,
            "events":[{{"type":"update","tickers":[{{"product_id":"A","price":"1",
            "price_percent_chg_24_h":"{change}"}}]}}]}}"#
        )
    };
    for (change, expected) in [
        ("0.09601107287722", "0.09601107287722"),
        ("-0.0000000000000000019", "-0.000000000000000001"),
        ("12.1234567890123456789", "12.123456789012345678"),
    ] {
        let frame = ticker(change);
        let read = protocol(Advanced).read(&frame).unwrap();
        let [Content::Quote(quote)] = read.content.as_slice() else {
            panic!("{read:?}");
        };
        let expected = ("price_change_24h_percent", expected.parse().unwrap());
        assert_eq!(quote.metrics.last(), Some(&expected));
        assert_eq!(
            quote.occurred_at,
            Some(EventTime::from_us(1_786_309_548_298_032))
        );
    }
    assert!(protocol(Advanced).read(&ticker("high")).is_err());
}

#[test]
fn requests_name_channels_as_the_exchange_does() {
    let mut wanted = Wanted::default();
    wanted.add(Channel::Trades, "BTC-USD");
    wanted.add(Channel::Quotes, "BTC-USD");
    wanted.add(Channel::Depth, "ETH-USD");
    assert_eq!(
        protocol(Flat).requests(&Wanted::default(), &wanted),
        [concat!(
            r#"{"channels":[{"name":"matches","product_ids":["BTC-USD"]},"#,
            r#"{"name":"ticker","product_ids":["BTC-USD"]},"#,
            r#"{"name":"level2_batch","product_ids":["ETH-USD"]},"#,
            r#"{"name":"heartbeat","product_ids":["BTC-USD","ETH-USD"]}],"type":"subscribe"}"#
        )]
    );
    assert_eq!(
        protocol(Advanced).requests(&Wanted::default(), &wanted),
        [
            r#"{"channel":"market_trades","product_ids":["BTC-USD"],"type":"subscribe"}"#,
            r#"{"channel":"ticker","product_ids":["BTC-USD"],"type":"subscribe"}"#,
            r#"{"channel":"level2","product_ids":["ETH-USD"],"type":"subscribe"}"#,
            r#"{"channel":"heartbeats","type":"subscribe"}"#,
        ]
    );
    for exchange in [Flat, Advanced] {
        assert!(protocol(exchange).requests(&wanted, &wanted).is_empty());
    }
}

/// Only the difference is asked for, and a market's heartbeats end with its last channel.
#[test]
fn changes_ask_for_the_difference() {
    let (mut before, mut after) = (Wanted::default(), Wanted::default());
    before.add(Channel::Trades, "BTC-USD");
    before.add(Channel::Depth, "BTC-USD");
    before.add(Channel::Trades, "OLD-USD");
    after.add(Channel::Trades, "BTC-USD");
    after.add(Channel::Trades, "ETH-USD");
    assert_eq!(
        protocol(Flat).requests(&before, &after),
        [
            concat!(
                r#"{"channels":[{"name":"matches","product_ids":["OLD-USD"]},"#,
                r#"{"name":"level2_batch","product_ids":["BTC-USD"]},"#,
                r#"{"name":"heartbeat","product_ids":["OLD-USD"]}],"type":"unsubscribe"}"#
            ),
            concat!(
                r#"{"channels":[{"name":"matches","product_ids":["ETH-USD"]},"#,
                r#"{"name":"heartbeat","product_ids":["ETH-USD"]}],"type":"subscribe"}"#
            ),
        ]
    );
    assert_eq!(
        protocol(Advanced).requests(&before, &after),
        [
            r#"{"channel":"market_trades","product_ids":["OLD-USD"],"type":"unsubscribe"}"#,
            r#"{"channel":"level2","product_ids":["BTC-USD"],"type":"unsubscribe"}"#,
            r#"{"channel":"market_trades","product_ids":["ETH-USD"],"type":"subscribe"}"#,
        ]
    );
}

/// Any JSON, with the names that the protocols look at strewn in.
fn json() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "type",
        "channel",
        "events",
        "trades",
        "tickers",
        "updates",
        "product_id",
        "trade_id",
        "price",
        "size",
        "side",
        "time",
        "timestamp",
        "sequence_num",
        "changes",
        "bids",
        "asks",
    ]);
    let word = prop::sample::select(vec![
        "match",
        "last_match",
        "ticker",
        "snapshot",
        "update",
        "l2update",
        "l2_data",
        "heartbeat",
        "market_trades",
        "error",
        "buy",
        "SELL",
        "BTC-USD",
        "1.5",
        "-1",
        "1e99",
        "",
        "2021-04-17T16:43:37.089723Z",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| if n.is_finite() {
            n.to_string()
        } else {
            "0".into()
        }),
        word.prop_map(|w| format!("\"{w}\"")),
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    leaf.prop_recursive(4, 48, 8, move |inside| {
        let member = (name.clone(), inside.clone()).prop_map(|(n, v)| format!("\"{n}\":{v}"));
        prop_oneof![
            prop::collection::vec(inside, 0..4).prop_map(|v| format!("[{}]", v.join(","))),
            prop::collection::vec(member, 0..8).prop_map(|v| format!("{{{}}}", v.join(","))),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_answered(text in json()) {
        for exchange in [Flat, Advanced] {
            let _ = protocol(exchange).read(&text);
        }
    }

    #[test]
    fn any_text_is_answered(text in any::<String>(), cut in 0..MATCH.len()) {
        for exchange in [Flat, Advanced] {
            let _ = protocol(exchange).read(&text);
            let _ = protocol(exchange).read(&MATCH[..cut]);
        }
    }
}
