//! An exchange that numbers its trades anew is followed, and old trades do not look like it.

use super::*;

#[test]
fn numbers_that_are_taken_begin_anew() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&traded("last_match", "A", 100, 1.0));
    feed.frame(&matched("A", 101, 2.0));
    assert_eq!(feed.frame(&matched("A", 101, 2.0)), "");
    assert_eq!(feed.frame(&matched("A", 100, 30.0)), "A100 renumbered");
    assert_eq!(feed.frame(&matched("A", 101, 31.0)), "A101");
    assert_eq!(feed.finish(), "");
}

#[test]
fn numbers_far_below_the_known_ones_begin_anew() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&traded("last_match", "A", 1_000_000, 1.0));
    assert_eq!(feed.frame(&matched("A", 1, 30.0)), "A1 renumbered");
    assert_eq!(feed.frame(&matched("A", 1, 30.0)), "");
    assert_eq!(feed.frame(&matched("A", 3, 31.0)), "A3");
    assert_eq!(feed.frame(&matched("A", 4, 40.0)), "A4 A[2-2]@30");
    assert_eq!(feed.finish(), "");
}

/// Near enough that the ids between could be those of trades that were not seen.
#[test]
fn numbers_somewhat_below_the_known_ones_begin_anew_without_a_gap() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&traded("last_match", "A", 50_000, 1.0));
    assert_eq!(feed.frame(&matched("A", 1, 30.0)), "A1 renumbered");
    assert_eq!(feed.frame(&matched("A", 2, 40.0)), "A2");
    assert_eq!(feed.frame(&matched("A", 3, 50.0)), "A3");
    assert_eq!(feed.finish(), "");
}

#[test]
fn a_snapshot_of_the_new_numbers_begins_anew_once() {
    let mut feed = Feed::new(Exchange::CoinbaseAdvanced);
    feed.frame(&trades(0, "snapshot", &[40_001, 40_000], 0.0));
    feed.disconnected();
    feed.connected();
    assert_eq!(
        feed.frame(&trades(0, "snapshot", &[9, 8, 7], 90.0)),
        "A7 A8 A9 renumbered"
    );
    assert_eq!(feed.frame(&trades(1, "update", &[9, 10], 90.0)), "A10");
    assert_eq!(feed.finish(), "");
}

/// Snapshots and the last match before a subscription bring trades from before those that came.
#[test]
fn older_trades_below_the_known_ones_are_of_the_same_numbering() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&matched("A", 1_000_000, 60.0));
    let older = matched("A", 999_000, 50.0);
    assert_eq!(feed.frame(&older), "A999000");
    assert_eq!(feed.frame(&older), "");
    assert_eq!(feed.frame(&matched("A", 999_001, 50.1)), "A999001");
    let far_older = matched("A", 5, 1.0);
    assert_eq!(feed.frame(&far_older), "A5");
    assert_eq!(feed.frame(&far_older), "A5", "nothing remembers it");
    assert_eq!(
        feed.frame(&traded("last_match", "A", 998_999, 49.0)),
        "A[999002-999999]@60 A998999"
    );
    assert_eq!(feed.finish(), "");
}

#[test]
fn a_trade_that_was_overtaken_is_of_the_same_numbering() {
    let mut feed = Feed::new(Exchange::CoinbaseExchange);
    feed.frame(&matched("A", 1_000, 1.0));
    assert_eq!(feed.frame(&matched("A", 999, 1.001)), "A999");
    assert_eq!(feed.frame(&matched("A", 1_001, 1.002)), "A1001");
    assert_eq!(feed.finish(), "");
}
