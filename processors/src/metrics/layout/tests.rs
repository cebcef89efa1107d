//! Any order gives the same, panes merge into windows, and nothing wraps.

use super::*;
use proptest::prelude::*;
use schemas::meter::{Aggregate, Field, Filter, Function, Operand, Test, Window};
use schemas::sketch::Sketch;
use schemas::sketch::text_hash;

fn meter(functions: &[(Function, Operand)]) -> Meter {
    let aggregate = |(at, (function, of)): (usize, &(Function, Operand))| {
        Aggregate::new(format!("a{at}"), *function, of.clone())
    };
    Meter {
        filter: Filter::default(),
        value: Some(Field::Metric("price".into())),
        weight: Some(Field::Metric("size".into())),
        group_by: vec![Field::Subject],
        windows: vec![Window::Tumbling { width_ms: 1_000 }],
        aggregates: functions.iter().enumerate().map(aggregate).collect(),
    }
}

fn everything() -> Meter {
    use Function::{Count, First, Last, Max, Mean, Min, Stddev, Sum, Vwap};
    let of = |f| [(f, Operand::Value), (f, Operand::Weight)];
    let functions = [Count, First, Last, Max, Mean, Min, Stddev, Sum, Vwap];
    meter(&functions.into_iter().flat_map(of).collect::<Vec<_>>())
}

/// Everything, quantiles and a count of distinct texts among it.
fn sketched() -> Meter {
    let mut meter = everything();
    let quantile = |name: &str, q: &str| Aggregate::quantile(name, q.parse().unwrap());
    let texts = Operand::Field(Field::Tag("size".into()));
    meter.aggregates.extend([
        quantile("p50", "0.5"),
        Aggregate::new("sizes", Function::Distinct, texts),
        quantile("p99", "0.99"),
    ]);
    meter
}

/// Passes the first gate of [`gated`].
fn is_bought(trade: &Trade) -> bool {
    trade.1 > 0
}

/// Everything once of all events, and once of those that are bought.
fn gated() -> Meter {
    let mut meter = sketched();
    let bought = Condition {
        field: Field::Tag("side".into()),
        test: Test::Eq("buy".into()),
    };
    for aggregate in meter.aggregates.clone() {
        let name = format!("bought_{}", aggregate.name);
        let only = Aggregate { name, ..aggregate };
        meter.aggregates.push(only.only([bought.clone()]));
    }
    meter
}

/// time, sequence, value, weight
type Trade = (i64, i64, Option<i128>, Option<i128>);

fn sample(trade: &Trade) -> Sample {
    let decimal = |units: Option<i128>| units.map(|units| Decimal::from_units(units).unwrap());
    let (value, weight) = (decimal(trade.2), decimal(trade.3));
    Sample {
        time_us: trade.0,
        sequence: trade.1,
        value,
        weight,
        product: value.zip(weight).map(|(v, w)| Units::product(v, w)),
        value_squared: value.map(|v| Units::product(v, v)),
        weight_squared: weight.map(|w| Units::product(w, w)),
        passes: u32::from(is_bought(trade)),
    }
}

struct Window2 {
    words: Vec<u64>,
    carries: Vec<Carry>,
    sketches: Vec<Sketch>,
}

/// A window without events.
fn empty(layout: &Layout) -> Window2 {
    let mut window = Window2 {
        words: vec![0; layout.word_count()],
        carries: vec![],
        sketches: layout.empty_sketches().into(),
    };
    layout.clear(&mut window.words);
    window
}

fn fold(layout: &Layout, start_us: i64, trades: &[Trade]) -> Window2 {
    let mut window = empty(layout);
    for trade in trades {
        let sample = sample(trade);
        let Window2 { words, carries, .. } = &mut window;
        layout.fold(words, start_us, &sample, carries);
        // The text is the number's own.
        let hash = trade.3.map(|weight| text_hash(&weight.to_le_bytes()));
        layout.fold_sketches(&mut window.sketches, &sample, &[hash]);
    }
    window
}

fn results(layout: &Layout, window: &Window2) -> (Vec<Option<Decimal>>, bool) {
    let carry = |word| {
        window
            .carries
            .iter()
            .filter(|(w, _)| *w == word)
            .map(|(_, c)| c)
            .sum()
    };
    let mut results = vec![];
    let overflow = layout.results((&window.words, &window.sketches), carry, &mut results);
    (results, overflow)
}

#[test]
fn a_candles_window_takes_sixteen_words() {
    let candles = schemas::meter::candles();
    assert_eq!(Layout::new(&candles, 60_000).word_count(), 16);
    assert_eq!(Layout::new(&candles, 86_400_000).word_count(), 17);
}

#[test]
fn a_window_without_numbers_has_no_numbers() {
    let layout = Layout::new(&everything(), 1_000);
    let (results, overflow) = results(&layout, &fold(&layout, 0, &[(5, 1, None, None)]));
    let null = |at: usize| results[at].is_none();
    assert!(!overflow);
    assert_eq!(results[0], Some(Decimal::ONE));
    assert!((2..14).all(null), "{results:?}");
    assert_eq!(results[14], Some(Decimal::ZERO), "the sum of nothing is 0");
}

#[test]
fn a_result_out_of_range_is_null_and_says_so() {
    let max = 99_999_999_999_999_999_999_999_999_999_999_999_999;
    let layout = Layout::new(&meter(&[(Function::Sum, Operand::Value)]), 1_000);
    let trades: Vec<Trade> = (0..8).map(|n| (n, n, Some(max), None)).collect();
    assert_eq!(
        results(&layout, &fold(&layout, 0, &trades[..1])).0[0]
            .unwrap()
            .units(),
        max
    );
    assert_eq!(
        results(&layout, &fold(&layout, 0, &trades)),
        (vec![None], true)
    );
    let back: Vec<Trade> = (0..7).map(|n| (n, n, Some(-max), None)).collect();
    let both: Vec<Trade> = trades.into_iter().chain(back).collect();
    let (results, overflow) = results(&layout, &fold(&layout, 0, &both));
    assert_eq!((results[0].unwrap().units(), overflow), (max, false));
}

#[test]
fn a_weighted_mean_is_of_events_that_have_both_numbers() {
    let (one, max) = (Decimal::ONE.units(), 10_i128.pow(38) - 1);
    let functions = [
        (Function::Vwap, Operand::Value),
        (Function::Sum, Operand::Weight),
    ];
    let layout = Layout::new(&meter(&functions), 1_000);
    let paired = [
        (1, 1, Some(4 * one), Some(one)),
        (2, 2, Some(2 * one), Some(3 * one)),
    ];
    let lone = |weight| [(3, 3, None, Some(weight)), (4, 4, Some(9 * one), None)];
    for weight in [5 * one, -5 * one, -1, max] {
        let trades: Vec<Trade> = paired.into_iter().chain(lone(weight)).collect();
        let (got, _) = results(&layout, &fold(&layout, 0, &trades));
        assert_eq!(got[0], "2.5".parse().ok(), "{weight}");
        assert_eq!(got[1], Decimal::from_units(4 * one + weight), "{weight}");
    }
    let (got, overflow) = results(&layout, &fold(&layout, 0, &lone(one)));
    assert_eq!((got[0], overflow), (None, false));
}

#[test]
fn a_ratio_is_of_two_results() {
    let mut meter = meter(&[
        (Function::Sum, Operand::Value),
        (Function::Count, Operand::Value),
        (Function::Max, Operand::Weight),
    ]);
    for (name, of) in [("mean", ["a0", "a1"]), ("null", ["a0", "a2"])] {
        let of = Operand::Aggregates(of.map(Into::into));
        let ratio = Aggregate::new(name, Function::Ratio, of);
        meter.aggregates.insert(0, ratio);
    }
    assert_eq!(meter.faults(), Vec::<String>::new());
    let layout = Layout::new(&meter, 1_000);
    let (one, max) = (Decimal::ONE.units(), 10_i128.pow(38) - 1);
    let mean = |trades: &[Trade]| {
        let (results, overflow) = results(&layout, &fold(&layout, 0, trades));
        (
            results[1].map(|mean| mean.to_string()),
            results[0],
            overflow,
        )
    };
    let trades = [2, -3, 2].map(|value| (1, 1, Some(value * one), None));
    let third = Some("0.333333333333333333".to_owned());
    assert_eq!(mean(&trades), (third, None, false));
    // By 0, and of a sum that is out of range itself: that is said once, of the sum.
    let by_zero = [(1, 1, Some(one), Some(0))];
    assert_eq!(mean(&by_zero), (Some("1".to_owned()), None, false));
    let large = [(1, 1, Some(max), None), (2, 2, Some(max), None)];
    assert_eq!(mean(&large), (None, None, true));
    let beyond = [(1, 1, Some(max), Some(1))];
    assert!(mean(&beyond).2);
}

fn trades() -> impl Strategy<Value = Vec<Trade>> {
    let units = prop_oneof![
        Just(None),
        (1_i128..1_000_000_000_000_000_000_000_000).prop_map(Some),
        (-99_999_999_999_999_999_999_999_999_999_999_999_999_i128
            ..=99_999_999_999_999_999_999_999_999_999_999_999_999)
            .prop_map(Some),
    ];
    let trade = (0_i64..4_000_000, -2_i64..3, units.clone(), units);
    prop::collection::vec(trade, 1..40)
}

proptest! {
    #[test]
    fn any_order_gives_the_same(trades in trades(), seed in any::<u64>()) {
        let layout = Layout::new(&gated(), 4_000);
        let in_order = results(&layout, &fold(&layout, 0, &trades));
        let mut shuffled = trades.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        prop_assert_eq!(results(&layout, &fold(&layout, 0, &shuffled)), in_order);
    }

    #[test]
    fn panes_merge_into_exactly_the_window(trades in trades(), width_ms in prop_oneof![
        Just(4_000_i64), Just(86_400_000_i64)
    ]) {
        let layout = Layout::new(&gated(), width_ms);
        let pieces = Layout::new(&gated(), 1_000);
        let whole = results(&layout, &fold(&layout, 0, &trades));
        let mut merged = empty(&layout);
        for second in 0..4 {
            let start_us = second * 1_000_000;
            let inside = |t: &&Trade| (start_us..start_us + 1_000_000).contains(&t.0);
            let own: Vec<Trade> = trades.iter().filter(inside).copied().collect();
            // Of its own length, as a pane has it, or shorter, as one that is taken over.
            let layout_of_piece = if second % 2 == 0 { &layout } else { &pieces };
            let pane = fold(layout_of_piece, start_us, &own);
            let piece = Piece {
                layout: layout_of_piece,
                words: &pane.words,
                carries: &pane.carries,
                start_us,
            };
            layout.merge(&mut merged.words, 0, &piece, &mut merged.carries);
            for (own, of) in merged.sketches.iter_mut().zip(&pane.sketches) {
                own.merge(of);
            }
        }
        prop_assert_eq!(results(&layout, &merged), whole);
    }

    #[test]
    fn the_cells_give_what_a_naive_sum_gives(trades in trades()) {
        let layout = Layout::new(&meter(&[
            (Function::Sum, Operand::Value),
            (Function::Min, Operand::Value),
            (Function::First, Operand::Value),
            (Function::Last, Operand::Weight),
        ]), 4_000);
        let (got, _) = results(&layout, &fold(&layout, 0, &trades));
        let values = || trades.iter().filter_map(|t| t.2.map(|v| (t.0, t.1, v)));
        let sum: I256 = values().map(|(_, _, v)| I256::from(v)).fold(I256::ZERO, |a, b| a + b);
        prop_assert_eq!(got[0], i128::try_from(sum).ok().and_then(Decimal::from_units));
        prop_assert_eq!(got[1].map(Decimal::units), values().map(|(_, _, v)| v).min());
        prop_assert_eq!(got[2].map(Decimal::units), values().min().map(|(_, _, v)| v));
        let last = trades.iter().filter_map(|t| t.3.map(|w| (t.0, t.1, w))).max();
        prop_assert_eq!(got[3].map(Decimal::units), last.map(|(_, _, w)| w));
    }

    #[test]
    fn cells_behind_a_gate_are_those_of_the_events_that_pass(trades in trades()) {
        let all = Layout::new(&sketched(), 4_000);
        let bought: Vec<Trade> = trades.iter().filter(|t| is_bought(t)).copied().collect();
        let (whole, beyond) = results(&all, &fold(&all, 0, &trades));
        let (part, part_beyond) = results(&all, &fold(&all, 0, &bought));
        let layout = Layout::new(&gated(), 4_000);
        let (got, overflow) = results(&layout, &fold(&layout, 0, &trades));
        prop_assert_eq!((got, overflow), ([whole, part].concat(), beyond || part_beyond));
    }
}
