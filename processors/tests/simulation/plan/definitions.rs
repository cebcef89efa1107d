//! Meters and limits by seed, and how they change.

use fastrand::Rng;
use processors::metrics::{Definitions, NamedMeter};
use schemas::control::Limits;
use schemas::event::EventType;
use schemas::meter::{
    Aggregate, Condition, Field, Filter, Function, Meter, Operand, Test, Window, candles,
};

/// A tenant's first definitions.
pub(super) fn first(random: &mut Rng) -> Definitions {
    let mut meters = vec![];
    if random.bool() {
        meters.push(NamedMeter {
            id: "candles".into(),
            version: 1,
            meter: candles(),
        });
    }
    for at in 0..random.usize(1..=2) {
        meters.push(NamedMeter {
            id: format!("meter-{at}"),
            version: 1,
            meter: meter(random),
        });
    }
    Definitions {
        limits: limits(random),
        direct_producers: random.bool(),
        meters,
    }
}

/// Adds, changes or removes a meter, or sets other limits. `version` is one that no meter had: two
/// changes may come into force as one, and an id's version stands for one definition.
pub(super) fn change(random: &mut Rng, definitions: &mut Definitions, version: i64) {
    let meter = meter(random);
    match random.u8(0..6) {
        0 | 1 => {
            let id = format!("meter-{}", random.u8(2..5));
            definitions.meters.retain(|meter| meter.id != id);
            definitions.meters.push(NamedMeter { id, version, meter });
        }
        2 | 3 if !definitions.meters.is_empty() => {
            let at = random.usize(0..definitions.meters.len());
            let id = definitions.meters[at].id.clone();
            definitions.meters[at] = NamedMeter { id, version, meter };
        }
        4 if !definitions.meters.is_empty() => {
            let at = random.usize(0..definitions.meters.len());
            definitions.meters.remove(at);
        }
        5 => definitions.direct_producers = !definitions.direct_producers,
        _ => definitions.limits = limits(random),
    }
    definitions.meters.sort_by(|a, b| a.id.cmp(&b.id));
}

fn limits(random: &mut Rng) -> Limits {
    let one_of = |random: &mut Rng, choices: &[i64]| choices[random.usize(0..choices.len())];
    let limits = Limits {
        bound_ms: one_of(random, &[0, 500, 500, 3_000]),
        allowed_lateness_ms: one_of(random, &[0, 2_000, 120_000, 120_000, 600_000]),
        future_max_ms: one_of(random, &[1_000, 300_000]),
        past_max_ms: one_of(random, &[3_653 * 86_400_000, 30 * 86_400_000]),
        silence_max_ms: one_of(random, &[60_000, 3_600_000, 86_400_000, 86_400_000]),
        ..Limits::default()
    };
    let capped = |random: &mut Rng, most: u64, otherwise: u64| match random.u8(0..4) {
        0 => random.u64(1..=most),
        _ => otherwise,
    };
    Limits {
        dedup_ids_max: capped(random, 60, limits.dedup_ids_max),
        subjects_max: capped(random, 4, limits.subjects_max),
        groups_max: capped(random, 12, limits.groups_max),
        ..limits
    }
}

const WIDTHS_MS: [i64; 8] = [1, 250, 1_000, 5_000, 60_000, 300_000, 3_600_000, 86_400_000];

fn meter(random: &mut Rng) -> Meter {
    let tag = |name: &str| Field::Tag(name.into());
    let group_by = match random.u8(0..8) {
        // Their events lie in several partitions.
        5 => vec![tag("room")],
        6 => vec![Field::EventType, tag("side")],
        7 => vec![Field::UserId],
        0 | 1 => vec![Field::Subject],
        2 => vec![Field::Subject, tag("side")],
        3 => vec![tag("side"), Field::Subject, Field::UserId],
        _ => vec![Field::EventType, tag("room"), Field::Subject],
    };
    let mut widths_ms = WIDTHS_MS;
    random.shuffle(&mut widths_ms);
    let window = |random: &mut Rng, width_ms: i64| {
        if group_by.contains(&Field::Subject) && random.u8(0..4) == 0 {
            return Window::Session {
                gap_ms: width_ms,
                length_max_ms: width_ms * [1, 2, 7, 60][random.usize(0..4)],
            };
        }
        let hops = [1, 2, 4, 5, 12][random.usize(0..5)];
        match random.bool() && width_ms % hops == 0 && hops > 1 {
            true => Window::Hopping {
                width_ms,
                hop_ms: width_ms / hops,
            },
            false => Window::Tumbling { width_ms },
        }
    };
    let windows = widths_ms[..random.usize(1..=3)]
        .iter()
        .map(|ms| window(random, *ms))
        .collect();
    let mut aggregates = all_functions();
    aggregates.extend(sketched());
    random.shuffle(&mut aggregates);
    aggregates.truncate(random.usize(1..=aggregates.len()));
    if random.bool() {
        gate(random, &mut aggregates);
    }
    if random.bool() {
        let [dividend, divisor] = [(); 2].map(|()| random.usize(0..aggregates.len()));
        let of = [dividend, divisor].map(|at| aggregates[at].name.clone());
        let of = Operand::Aggregates(of);
        let at = random.usize(0..=aggregates.len());
        aggregates.insert(at, Aggregate::new("ratio", Function::Ratio, of));
    }
    let meter = Meter {
        filter: filter(random),
        value: Some(Field::Metric("price".into())),
        weight: Some(Field::Metric("size".into())),
        group_by,
        windows,
        aggregates,
    };
    assert_eq!(meter.faults(), Vec::<String>::new());
    meter
}

/// Every function, of the value and of the weight.
pub(crate) fn all_functions() -> Vec<Aggregate> {
    use Function::{Count, First, Last, Max, Mean, Min, Stddev, Sum, Vwap};
    let functions = [Count, Sum, Min, Max, First, Last, Mean, Vwap, Stddev];
    let of = |(at, function): (usize, Function)| {
        let named = |name: &str, of| Aggregate::new(format!("{name}{at}"), function, of);
        [
            named("value", Operand::Value),
            named("weight", Operand::Weight),
        ]
    };
    functions.into_iter().enumerate().flat_map(of).collect()
}

/// What is read from sketches, some of which several share.
fn sketched() -> Vec<Aggregate> {
    let quantile = |name: &str, q: &str| Aggregate::quantile(name, q.parse().unwrap());
    let of_weight = |aggregate| Aggregate {
        of: Operand::Weight,
        ..aggregate
    };
    let distinct =
        |name: &str, field| Aggregate::new(name, Function::Distinct, Operand::Field(field));
    vec![
        quantile("least", "0"),
        quantile("p50", "0.5"),
        quantile("p95", "0.95"),
        of_weight(quantile("weight_p99", "0.99")),
        distinct("rooms", Field::Tag("room".into())),
        distinct("users", Field::UserId),
    ]
}

/// Gives some aggregates conditions of their own, few enough that some share them.
fn gate(random: &mut Rng, aggregates: &mut [Aggregate]) {
    let mut choices = conditions();
    random.shuffle(&mut choices);
    let sets = [
        vec![choices[0].clone()],
        vec![choices[1].clone()],
        choices[2..4].to_vec(),
    ];
    for aggregate in aggregates {
        if random.u8(0..3) > 0 {
            aggregate.conditions = sets[random.usize(0..sets.len())].clone();
        }
    }
}

fn filter(random: &mut Rng) -> Filter {
    let mut all = vec![];
    if random.u8(0..4) == 0 {
        let conditions = conditions();
        all.push(conditions[random.usize(0..conditions.len())].clone());
    }
    let event_type = (random.u8(0..3) == 0).then_some(EventType::Trade);
    Filter { event_type, all }
}

fn conditions() -> Vec<Condition> {
    let tests = [
        (Field::Tag("side".into()), Test::Eq("buy".into())),
        (Field::Tag("side".into()), Test::Ne("buy".into())),
        (
            Field::Tag("room".into()),
            Test::In(vec!["r1".into(), "r2".into()]),
        ),
        (
            Field::Metric("size".into()),
            Test::Gt("1.5".parse().unwrap()),
        ),
        (
            Field::Metric("price".into()),
            Test::Le("100".parse().unwrap()),
        ),
        (Field::UserId, Test::Exists(true)),
        (Field::Metric("price".into()), Test::Exists(false)),
        (Field::Error, Test::Eq("true".into())),
    ];
    let condition = |(field, test)| Condition { field, test };
    tests.into_iter().map(condition).collect()
}
