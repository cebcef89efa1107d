//! A board that events were put on, for these tests and those of drawing it.

use std::collections::BTreeMap;

use schemas::event::{Event, EventType, EventView, Severity, Source};
use schemas::time::EventTime;

use super::*;

/// 2026-08-09 21:05:48.228 UTC, in ms.
pub(crate) const NOW_MS: i64 = 1_786_309_548_228;

pub(crate) fn event(
    event_type: EventType,
    subject: &str,
    at_ms: i64,
    metrics: &[(&str, &str)],
) -> Event {
    let number = |(name, value): &(&str, &str)| ((*name).to_owned(), value.parse().unwrap());
    Event {
        event_id: format!("{subject}:{at_ms}"),
        event_type,
        name: None,
        occurred_at: EventTime::from_ms(at_ms),
        received_at: EventTime::from_ms(at_ms),
        severity: Severity::Info,
        source: Source::default(),
        subject: subject.to_owned(),
        sequence: None,
        title: Some("what happened".to_owned()),
        trace_id: None,
        user_id: None,
        tags: BTreeMap::from([("side".to_owned(), "buy".to_owned())]),
        metrics: metrics.iter().map(number).collect(),
        payload: None,
    }
}

pub(crate) fn put(board: &mut Board, event: &Event) -> Option<Update> {
    let mut bytes = Vec::new();
    event.encode(&mut bytes);
    let view = EventView::decode(&bytes).unwrap();
    board.observe(&view, event.occurred_at.as_ms())
}

const BTC: &str = "coinbase:BTC-USD";

fn trade(at_ms: i64, price: &str) -> Event {
    event(
        EventType::Trade,
        BTC,
        at_ms,
        &[("price", price), ("size", "0.5")],
    )
}

fn market(board: &Board) -> Market {
    board.markets().next().unwrap().1.clone()
}

#[test]
fn the_latest_by_the_exchanges_time_counts_whatever_the_order() {
    let mut board = Board::new("demo", "live");
    for (at_ms, price) in [(10, "100"), (30, "120.5"), (20, "90")] {
        assert!(put(&mut board, &trade(at_ms, price)).is_some());
    }
    let market = market(&board);
    assert_eq!(market.price, Some("120.5".parse().unwrap()));
    assert_eq!(market.places, 1);
    assert_eq!(market.occurred_at(), Some(EventTime::from_ms(30)));
    let times: Vec<i64> = board
        .updates()
        .map(|update| update.occurred_at.as_ms())
        .collect();
    assert_eq!(times, [30, 20, 10]);
}

#[test]
fn an_update_that_comes_twice_is_shown_once() {
    let mut board = Board::new("demo", "live");
    assert!(put(&mut board, &trade(10, "100")).is_some());
    assert!(put(&mut board, &trade(10, "100")).is_none());
    assert!(put(&mut board, &trade(10, "101")).is_some());
    for at_ms in 0..100 {
        put(&mut board, &trade(1_000 + at_ms, "100"));
    }
    assert_eq!(board.updates().len(), UPDATES_MAX);
    assert_eq!(
        board.updates().next().unwrap().occurred_at,
        EventTime::from_ms(1_099)
    );
}

#[test]
fn the_day_comes_from_quotes_is_stretched_by_trades_and_else_from_candles() {
    let mut board = Board::new("demo", "live");
    let quote = [
        ("price", "100"),
        ("best_bid", "99.9"),
        ("best_ask", "100.15"),
        ("open_24h", "80"),
        ("low_24h", "70"),
        ("high_24h", "110"),
        ("volume_24h", "1234"),
    ];
    put(&mut board, &event(EventType::Quote, BTC, 10, &quote));
    put(&mut board, &trade(20, "120"));
    let seen = market(&board);
    assert_eq!(seen.change(), Some(50.0));
    assert_eq!(seen.spread(), Some("0.25".parse().unwrap()));
    assert_eq!(seen.day.high, Some("120".parse().unwrap()));
    assert_eq!(seen.position(), Some(1.0));
    assert_eq!(seen.direction, super::super::market::Direction::Up);
    assert!(!seen.lacks_day());

    let mut board = Board::new("demo", "live");
    put(&mut board, &trade(10, "100"));
    assert!(market(&board).lacks_day() && market(&board).change().is_none());
    let day = Day {
        open: Some("50".parse().unwrap()),
        low: Some("40".parse().unwrap()),
        high: Some("140".parse().unwrap()),
        ..Day::default()
    };
    board.recall(BTC, &day);
    board.recall("coinbase:other", &day);
    assert_eq!(market(&board).change(), Some(100.0));
    assert_eq!(market(&board).position(), Some(0.6));
    assert_eq!(board.markets().len(), 1);
}

#[test]
fn what_the_feed_says_of_itself_is_an_update_and_no_market() {
    let mut board = Board::new("demo", "live");
    let note = event(EventType::SystemEvent, "coinbase:feed", 5, &[]);
    let update = put(&mut board, &note).unwrap();
    assert_eq!(update.what, What::Note("what happened".into()));
    assert_eq!(board.markets().len(), 0);
    assert!(put(&mut board, &event(EventType::ApiCall, "GET /", 6, &[])).is_none());
}
