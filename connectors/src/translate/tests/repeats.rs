//! What an earlier connection or process brought is not said again.

use super::*;
use crate::market::PublishedTrades;

#[test]
fn an_earlier_process_is_continued() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    let trades = PublishedTrades {
        series: Series::starting(10),
        last_at: EventTime::from_us(START * SECOND),
    };
    let published = Published {
        trades: Some(trades),
        ..Published::default()
    };
    feed.translator.resume("A", published);
    assert_eq!(
        feed.frame(&traded("last_match", "A", 14, 5.0)),
        "A[11-13]@0 A14"
    );
}

/// A subscription begins with the latest quote, which an earlier one may have brought.
#[test]
fn a_quote_that_says_nothing_new_is_not_said_again() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&matched("A", 1, 1.0));
    assert_eq!(feed.frame(&ticker("A", 1.0)), "A~");
    feed.disconnected();
    feed.connected();
    assert_eq!(feed.frame(&ticker("A", 1.0)), "");
    assert_eq!(feed.frame(&traded("last_match", "A", 1, 1.0)), "");
    assert_eq!(feed.frame(&ticker("A", 2.0)), "A~");
    assert_eq!(feed.translator.counts().unchanged, 1);
}

/// The same over a process's end: all that the log holds is in the successor's hands.
#[test]
fn the_quote_of_an_earlier_process_is_not_said_again() {
    let mut first = Feed::new(Exchange::CoinbaseExchange);
    first.frame(&matched("A", 1, 1.0));
    let mut out = vec![];
    let quote = ticker("A", 1.0);
    let at = first.received_at;
    first.translator.translate(&quote, at, &mut out).unwrap();
    let [Output::Event(_, event)] = &out[..] else {
        panic!("{out:?}");
    };
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    let published = Published {
        last_quote_id: Some(event.event_id.clone()),
        ..Published::default()
    };
    feed.translator.resume("A", published);
    assert_eq!(feed.frame(&quote), "");
    assert_eq!(feed.frame(&matched("A", 2, 1.5)), "A2");
    assert_eq!(feed.frame(&ticker("A", 2.0)), "A~");
}

/// Who wants quotes now did not get the one that was said before.
#[test]
fn a_quote_is_said_again_where_somebody_new_wants_it() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&matched("A", 1, 1.0));
    feed.frame(&matched("B", 1, 1.0));
    assert_eq!(feed.frame(&ticker("A", 1.0)), "A~");
    assert_eq!(feed.frame(&ticker("B", 1.0)), "B~");
    feed.translator.forget_quote("A");
    assert_eq!(feed.frame(&ticker("A", 1.0)), "A~");
    assert_eq!(feed.frame(&ticker("B", 1.0)), "");
}
