//! The simulator against itself and against the connector that reads it.

use std::collections::{BTreeMap, BTreeSet};

use connectors::coinbase;
use connectors::mapping::FeedName;
use connectors::subscription::Wanted;
use connectors::translate::{Output, Translator};
use schemas::control::Channel;
use schemas::decimal::Decimal;
use schemas::event::{Event, EventType};

use super::driver::ToClient;
use super::faults::{Action, Faults};
use super::market::Made;
use super::truth::TrueTrade;
use super::words::{Asked, Chan, Words};
use super::world::{Happening, World};
use super::*;

mod sockets;

const FEEDS: [Exchange; 2] = [Exchange::CoinbaseExchange, Exchange::CoinbaseAdvanced];

/// 2026-08-09T21:00:00Z.
const START_US: i64 = 1_786_309_200_000_000;

fn market(seed: u64, seconds: u64) -> MarketOptions {
    MarketOptions {
        seed,
        start_at: Some(EventTime::from_us(START_US)),
        duration: Some(Duration::from_secs(seconds)),
        trades_per_second: 5.0,
        changes_per_second: 20.0,
        ..MarketOptions::default()
    }
}

fn wanted(products: &[String]) -> Wanted {
    let mut wanted = Wanted::default();
    for product in products {
        for channel in [Channel::Trades, Channel::Quotes, Channel::Depth] {
            wanted.add(channel, product);
        }
    }
    wanted
}

/// A connection without a socket: a whole market as one client is served it, and what was traded.
fn serve(
    options: &MarketOptions,
    feed: Exchange,
    faults: FaultOptions,
) -> (Vec<String>, Vec<(usize, Made)>) {
    let (mut world, mut truth) = World::new(&options.plan(Speed::Max));
    let names = options
        .products
        .iter()
        .map(|name| name.as_str().into())
        .collect();
    let mut words = Words::new(feed, names);
    let mut faults = Faults::new(faults, options.seed);
    let mut frames = vec![];
    let protocol = coinbase::protocol(feed);
    for request in protocol.requests(&Wanted::default(), &wanted(&options.products)) {
        let asked = words.asked(&request).expect("the connector's own request");
        assert!(asked.unknown.is_empty());
        let snapshots = world.snapshots(0..options.products.len());
        frames.extend(words.answer(&asked, &snapshots, world.now_us()));
    }
    let (mut is_sound, mut beats_left) = (false, 2);
    let mut texts: Vec<_> = frames.into_iter().map(|frame| frame.text).collect();
    while beats_left > 0 {
        let mut out = vec![];
        match world.next() {
            Happening::Step(step) => {
                is_sound |= step.is_last;
                truth.extend(step.made.iter().map(|made| (step.market, made.clone())));
                words.step(&step, &mut out);
            }
            Happening::Beat(beat) => {
                beats_left -= i32::from(is_sound);
                words.beat(&beat, &mut out);
            }
            Happening::End => {}
        }
        for mut frame in out {
            frame.is_sound |= is_sound;
            let actions = faults.pass(frame).actions;
            texts.extend(actions.into_iter().filter_map(|action| match action {
                Action::Send(text) | Action::Trickle(text) => Some(text),
                _ => None,
            }));
        }
    }
    assert!(
        faults.release().is_empty(),
        "the last trades overtake nothing"
    );
    (texts, truth)
}

/// What the connector makes of frames that arrive as they were dated; counts the unreadable ones.
fn translate(options: &MarketOptions, feed: Exchange, frames: &[String]) -> (Vec<Output>, usize) {
    let name = FeedName {
        exchange: "coinbase",
        feed: "test",
    };
    let received_at = EventTime::from_us(START_US).plus_ms(3_600_000);
    let mut translator = Translator::new(coinbase::protocol(feed), name);
    let mut out = vec![];
    translator.want(wanted(&options.products), received_at, &mut out);
    translator.connected(received_at);
    let mut unreadable_count = 0;
    for frame in frames {
        let read = translator.translate(frame, received_at, &mut out);
        unreadable_count += usize::from(read.is_err());
    }
    assert_eq!(translator.counts().unwanted, 0);
    // Nobody answers the requests for what was lost, so it waits for the end to be named.
    translator.finish(received_at, &mut out);
    (out, unreadable_count)
}

fn events(out: &[Output], event_type: EventType) -> impl Iterator<Item = &Event> {
    out.iter().filter_map(move |output| match output {
        Output::Event(_, event) if event.event_type == event_type => Some(event),
        _ => None,
    })
}

type Traded = (String, i64, i64, String, String, String);

fn received(out: &[Output]) -> BTreeSet<Traded> {
    let mut trades = BTreeSet::new();
    for event in events(out, EventType::Trade) {
        let trade = (
            event.tags["product_id"].clone(),
            event.sequence.unwrap(),
            event.occurred_at.as_us(),
            event.metrics["price"].to_string(),
            event.metrics["size"].to_string(),
            event.tags["side"].clone(),
        );
        assert!(trades.insert(trade), "each trade comes out once");
    }
    trades
}

/// The trades that gaps name, by product and id.
fn named(out: &[Output]) -> BTreeSet<(String, i64)> {
    let mut named = BTreeSet::new();
    for gap in events(out, EventType::Gap) {
        if gap.tags["series"] == "trade_id" {
            let bound = |name: &str| gap.metrics[name].to_string().parse::<i64>().unwrap();
            let product = &gap.tags["product_id"];
            named.extend((bound("first")..=bound("last")).map(|id| (product.clone(), id)));
        }
    }
    named
}

fn truth(options: &MarketOptions, made: &[(usize, Made)]) -> BTreeSet<Traded> {
    let record = Truth::default();
    record.name(
        options
            .products
            .iter()
            .map(|name| name.as_str().into())
            .collect(),
    );
    for (market, made) in made {
        record.made(*market, std::slice::from_ref(made));
    }
    true_trades(&record.trades())
}

fn true_trades(trades: &[TrueTrade]) -> BTreeSet<Traded> {
    let trades = trades.iter().map(|trade| {
        (
            trade.product.to_string(),
            trade.trade_id,
            trade.occurred_at.as_us(),
            trade.price.to_string(),
            trade.size.to_string(),
            trade.taker.as_str().to_owned(),
        )
    });
    trades.collect()
}

#[test]
fn the_connector_reads_every_frame_and_gets_every_trade() {
    for feed in FEEDS {
        let options = market(7, 120);
        let (frames, made) = serve(&options, feed, FaultOptions::default());
        let (out, unreadable_count) = translate(&options, feed, &frames);
        assert_eq!(unreadable_count, 0);
        assert!(made.len() > 1_000, "{} trades", made.len());
        assert_eq!(received(&out), truth(&options, &made), "{feed:?}");
        assert_eq!(events(&out, EventType::Gap).count(), 0);
        assert_eq!(events(&out, EventType::SystemEvent).count(), 0);
    }
}

#[test]
fn a_seed_gives_the_same_bytes_and_another_others() {
    for feed in FEEDS {
        let faults = FaultOptions {
            drop: 0.01,
            reorder: 0.01,
            malformed: 0.01,
            ..FaultOptions::default()
        };
        let frames = |seed| serve(&market(seed, 20), feed, faults.clone()).0;
        assert_eq!(frames(3), frames(3));
        assert_ne!(frames(3), frames(4));
    }
}

/// Whatever is lost is named, whatever is named is lost, and all the rest comes once.
#[test]
fn what_did_not_come_is_exactly_what_gaps_name() {
    for seed in 0..60 {
        let faults = FaultOptions {
            drop: 0.02,
            duplicate: 0.02,
            reorder: 0.02,
            malformed: 0.02,
            ..FaultOptions::default()
        };
        for feed in FEEDS {
            let options = market(seed, 30);
            let (frames, made) = serve(&options, feed, faults.clone());
            let (out, unreadable_count) = translate(&options, feed, &frames);
            assert!(unreadable_count > 0, "seed {seed} {feed:?}");
            let (received, truth) = (received(&out), truth(&options, &made));
            assert!(received.is_subset(&truth), "seed {seed} {feed:?}");
            let lost: BTreeSet<_> = truth
                .difference(&received)
                .map(|trade| (trade.0.clone(), trade.1))
                .collect();
            assert_eq!(named(&out), lost, "seed {seed} {feed:?}");
        }
    }
}

/// A spoilt frame is one that nobody can read, however it was spoilt.
#[test]
fn spoilt_frames_cannot_be_read() {
    for feed in FEEDS {
        let options = market(5, 30);
        let (sound, _) = serve(&options, feed, FaultOptions::default());
        let all = FaultOptions {
            malformed: 1.0,
            ..FaultOptions::default()
        };
        let (spoilt, _) = serve(&options, feed, all);
        assert_eq!(sound.len(), spoilt.len());
        for (sound, spoilt) in sound.iter().zip(&spoilt) {
            let read = coinbase::protocol(feed).read(spoilt);
            assert_eq!(read.is_ok(), sound == spoilt, "{spoilt}");
        }
    }
}

/// A book kept from depth alone, against the ticker.
#[derive(Default)]
struct Kept {
    bids: BTreeMap<Decimal, Decimal>,
    asks: BTreeMap<Decimal, Decimal>,
}

impl Kept {
    fn apply(&mut self, book: &schemas::book::Book) {
        if book.snapshot {
            *self = Self::default();
        }
        for level in &book.levels {
            let side = if level.bid {
                &mut self.bids
            } else {
                &mut self.asks
            };
            match level.quantity {
                Decimal::ZERO => side.remove(&level.price),
                quantity => side.insert(level.price, quantity),
            };
        }
    }

    fn check(&self, quote: &Event) {
        let bid = self.bids.last_key_value().expect("bids");
        let ask = self.asks.first_key_value().expect("asks");
        assert!(bid.0 < ask.0);
        let metric = |name: &str| quote.metrics[name];
        assert_eq!(
            (bid.0, bid.1),
            (&metric("best_bid"), &metric("best_bid_size"))
        );
        assert_eq!(
            (ask.0, ask.1),
            (&metric("best_ask"), &metric("best_ask_size"))
        );
    }
}

#[test]
fn the_ticker_shows_the_book_that_depth_gives() {
    for feed in FEEDS {
        let options = market(11, 60);
        let (frames, _) = serve(&options, feed, FaultOptions::default());
        let (out, _) = translate(&options, feed, &frames);
        let mut books: BTreeMap<&str, Kept> = BTreeMap::new();
        let mut checked_count = 0;
        for output in &out {
            match output {
                Output::Book(_, book) => books.entry(&book.subject).or_default().apply(book),
                Output::Event(_, event) if event.event_type == EventType::Quote => {
                    // The first ones waited for trades, and meanwhile depth has gone on.
                    if let Some(book) = books.get(event.subject.as_str())
                        && event.occurred_at.as_us() > START_US
                    {
                        book.check(event);
                        checked_count += 1;
                    }
                }
                Output::Event(..) => {}
            }
        }
        assert!(checked_count > 100, "{feed:?}: {checked_count}");
    }
}

/// Trades happen at the best opposite price and take from its level; the day's figures follow.
#[test]
fn trades_take_from_the_book_and_make_the_day() {
    let options = market(13, 300);
    let (mut world, _) = World::new(&options.plan(Speed::Max));
    let opening = world.snapshots([0]).remove(0);
    let mut bids: BTreeMap<i64, i64> = opening.bids.iter().copied().collect();
    let mut asks: BTreeMap<i64, i64> = opening.asks.iter().copied().collect();
    let mut before = opening.tick;
    let mut taken_count = 0;
    while let happening = world.next()
        && happening != Happening::End
    {
        let Happening::Step(step) = happening else {
            continue;
        };
        if step.market != 0 {
            continue;
        }
        for (made, change) in step.made.iter().zip(&step.changes) {
            let (price, standing) = match made.taker {
                connectors::exchange::Side::Buy => asks.first_key_value(),
                connectors::exchange::Side::Sell => bids.last_key_value(),
            }
            .map(|(p, q)| (*p, *q))
            .expect("no side is ever empty");
            assert_eq!(made.price, price, "at the best opposite price");
            assert!(made.size <= standing);
            assert_eq!(
                (change.price, change.quantity),
                (price, standing - made.size)
            );
            let side = if change.bid { &mut bids } else { &mut asks };
            set(side, change.price, change.quantity);
            taken_count += 1;
        }
        for change in step.changes.iter().skip(step.made.len()) {
            let side = if change.bid { &mut bids } else { &mut asks };
            set(side, change.price, change.quantity);
        }
        let traded: i64 = step.made.iter().map(|made| made.size).sum();
        let tick = step.tick;
        // Nothing older than a day leaves the figures within one slice of them.
        if step.at_us.div_euclid(300_000_000) == before.last.at_us.div_euclid(300_000_000) {
            assert_eq!(tick.volume_24h, before.volume_24h + traded);
        }
        assert!(tick.low_24h <= tick.last.price && tick.last.price <= tick.high_24h);
        assert_eq!(
            tick.bid,
            bids.last_key_value().map(|(p, q)| (*p, *q)).unwrap()
        );
        assert_eq!(
            tick.ask,
            asks.first_key_value().map(|(p, q)| (*p, *q)).unwrap()
        );
        if let Some(last) = step.made.last() {
            assert_eq!(tick.last, *last);
        }
        before = tick;
    }
    assert!(taken_count > 1_000, "{taken_count}");
}

fn set(side: &mut BTreeMap<i64, i64>, price: i64, quantity: i64) {
    match quantity {
        0 => side.remove(&price),
        _ => side.insert(price, quantity),
    };
}

#[test]
fn requests_for_what_is_not_there_are_refused() {
    let names: Names = ["A".into()].into();
    for (feed, request, answer) in [
        (
            Exchange::CoinbaseExchange,
            r#"{"type":"subscribe","product_ids":["X"],"channels":["ticker"]}"#,
            r#"{"type":"error","message":"Failed to subscribe","reason":"X is not valid"}"#,
        ),
        (
            Exchange::CoinbaseAdvanced,
            r#"{"type":"subscribe","product_ids":["A"],"channel":"rfq"}"#,
            r#"{"type":"error","message":"rfq is not valid"}"#,
        ),
    ] {
        let mut words = Words::new(feed, Arc::clone(&names));
        let asked = words.asked(request).unwrap();
        let frames = words.answer(&asked, &[], 0);
        assert_eq!(frames[0].text, answer);
        assert_eq!(words.asked("nonsense"), None);
        assert_eq!(
            words.asked(r#"{"type":"dance","channels":[],"channel":"ticker"}"#),
            None
        );
    }
}

#[test]
fn speeds_are_factors_or_max() {
    assert_eq!("max".parse(), Ok(Speed::Max));
    assert_eq!("10".parse(), Ok(Speed::Times(10.0)));
    for bad in ["", "0", "-1", "fast", "NaN", "inf", "1e9"] {
        assert!(bad.parse::<Speed>().is_err(), "{bad}");
    }
}

#[test]
fn flags_make_the_options_that_they_say() {
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SimulateArgs,
    }

    let options = |line: &[&str]| Line::try_parse_from(line).map(|line| line.args.options());
    let plain = options(&["simulate"]).unwrap();
    assert_eq!(plain.source, Source::Market(MarketOptions::default()));
    assert_eq!(plain.faults, FaultOptions::default());
    let many = options(&[
        "x",
        "coinbase",
        "--product-count",
        "2",
        "--speed",
        "max",
        "--drop",
        "0.1",
    ]);
    let many = many.unwrap();
    let Source::Market(market) = &many.source else {
        panic!("{many:?}");
    };
    assert_eq!(market.products, ["SIM0001-USD", "SIM0002-USD"]);
    assert_eq!((many.speed, many.faults.drop), (Speed::Max, 0.1));
    let replay = options(&["x", "--replay", "f.zst", "--disconnect-after", "10,20"]).unwrap();
    assert!(matches!(replay.source, Source::Replay(_)));
    assert_eq!(replay.faults.disconnect_after, [10, 20]);
    for bad in [
        ["x", "--drop", "2"],
        ["x", "--speed", "no"],
        ["x", "--overlap", "5"],
    ] {
        assert!(options(&bad).is_err(), "{bad:?}");
    }
}
