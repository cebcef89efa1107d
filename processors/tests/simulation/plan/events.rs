//! Producers by seed: streams in order and out of it, late, repeated, misdated and broken.

use fastrand::Rng;
use runtime::step::Place;
use schemas::decimal::Decimal;
use schemas::event::{Event, EventType, Severity, Source};
use schemas::ids::TenantId;
use schemas::murmur2::partition_of;
use schemas::time::EventTime;

use super::{Arrival, Plan, Rigour};

/// How the broker's clock may waver within a strict plan, below the workers' margin.
pub(crate) const WAVER_MS: i64 = 20;

/// An event of a subject, with nothing but what it must have.
pub(crate) fn event(subject: &str, id: &str, occurred_us: i64) -> Event {
    Event {
        event_id: id.to_owned(),
        event_type: EventType::Trade,
        name: None,
        occurred_at: EventTime::from_us(occurred_us),
        received_at: EventTime::from_us(occurred_us),
        severity: Severity::Info,
        source: Source {
            service: "test".into(),
            ..Source::default()
        },
        subject: subject.to_owned(),
        sequence: None,
        title: None,
        trace_id: None,
        user_id: None,
        tags: Default::default(),
        metrics: Default::default(),
        payload: None,
    }
}

/// All that produce, over all phases.
pub(super) struct Producers {
    subjects: Vec<Subject>,
    temper: Temper,
    rigour: Rigour,
    next_id: u64,
    /// Arrivals so far, to be repeated.
    past: Vec<(usize, Event)>,
}

/// What is usual in this plan.
struct Temper {
    /// Usual time between two arrivals.
    pace_ms: i64,
    /// Of 1,000 arrivals, so many come after a pause.
    pauses: u64,
    /// How long the longest pause is.
    pause_max_ms: i64,
    wavers: bool,
    has_gaps: bool,
    arrival_count: usize,
    large_numbers: bool,
}

/// Who something is about.
struct Subject {
    tenant: TenantId,
    partition_count: i32,
    name: String,
    /// How far event time is behind the true time, and how fast it goes in comparison.
    behind_ms: i64,
    speed: f64,
    since_ms: i64,
    sequence: i64,
    disorder_ms: i64,
}

impl Producers {
    pub(super) fn new(random: &mut Rng, plan: &Plan) -> Self {
        let many = if random.u8(0..5) == 0 { 14 } else { 5 };
        let mut subjects = vec![];
        for (tenant, partition_count) in &plan.tenants {
            for at in 0..random.usize(1..=many) {
                let replays = random.u8(0..6) == 0;
                subjects.push(Subject {
                    tenant: tenant.clone(),
                    partition_count: *partition_count,
                    name: format!("exchange:M{at}-USD"),
                    behind_ms: match replays {
                        true => random.i64(3_600_000..86_400_000 * 200),
                        false => random.i64(0..300),
                    },
                    speed: if replays {
                        [0.2, 1.0, 20.0][random.usize(0..3)]
                    } else {
                        1.0
                    },
                    since_ms: super::BEGIN_MS,
                    sequence: 0,
                    disorder_ms: [0, 400, 2_500, 60_000][random.usize(0..4)],
                });
            }
        }
        let temper = Temper {
            pace_ms: [3, 40, 400, 4_000][random.usize(0..4)],
            pauses: random.u64(0..40),
            pause_max_ms: [30_000, 600_000, 4 * 3_600_000, 40 * 3_600_000][random.usize(0..4)],
            wavers: random.bool(),
            has_gaps: random.bool(),
            arrival_count: random.usize(30..160),
            large_numbers: random.u8(0..4) == 0,
        };
        Self {
            subjects,
            temper,
            rigour: plan.rigour,
            next_id: 0,
            past: vec![],
        }
    }

    /// What arrives in one phase, from `now_ms` on.
    pub(super) fn arrivals(
        &mut self,
        random: &mut Rng,
        now_ms: &mut i64,
        phase: usize,
    ) -> Vec<Arrival> {
        let mut arrivals = vec![];
        // What producers hold back while the broker is away, to be sent at once when it is back.
        let mut outage_end_ms = i64::MIN;
        for _ in 0..self.temper.arrival_count {
            *now_ms += random.i64(0..=self.temper.pace_ms * 2);
            if random.u64(0..1_000) < self.temper.pauses {
                let pause_ms = random.i64(0..=self.temper.pause_max_ms);
                match random.bool() {
                    true => *now_ms += pause_ms,
                    false => outage_end_ms = outage_end_ms.max(*now_ms + pause_ms),
                }
            }
            let (place, key, value) = self.record(random, *now_ms, phase);
            let at_ms = (*now_ms).max(outage_end_ms);
            arrivals.push(self.arrival(random, at_ms, (place, key, value)));
        }
        *now_ms = (*now_ms).max(outage_end_ms) + WAVER_MS;
        arrivals
    }

    fn arrival(
        &self,
        random: &mut Rng,
        at_ms: i64,
        (place, key, value): (Place, Option<Vec<u8>>, Option<Vec<u8>>),
    ) -> Arrival {
        let waver_ms = match self.rigour {
            _ if !self.temper.wavers => 0,
            Rigour::Strict => random.i64(0..=WAVER_MS),
            Rigour::Loose => random.i64(0..=3_000),
        };
        // A producer's own transaction: its records are seen when it ends.
        let is_held = self.rigour == Rigour::Loose && random.u8(0..20) == 0;
        let held_ms = if is_held { random.i64(0..5_000) } else { 0 };
        let has_gap = self.temper.has_gaps && random.u8(0..10) == 0;
        Arrival {
            at_ms,
            appended_ms: at_ms - waver_ms,
            visible_ms: at_ms + held_ms,
            gap: if has_gap { random.i64(1..4) } else { 0 },
            place,
            key,
            value,
        }
    }

    fn record(
        &mut self,
        random: &mut Rng,
        now_ms: i64,
        phase: usize,
    ) -> (Place, Option<Vec<u8>>, Option<Vec<u8>>) {
        // Some subjects are there from the second phase on.
        let known = if phase == 0 {
            self.subjects.len().div_ceil(2)
        } else {
            self.subjects.len()
        };
        let at = random.usize(0..known);
        let fate = random.u8(0..100);
        let (at, event) = match fate {
            0..10 if !self.past.is_empty() => {
                // A repeat: of one of the last, or of any.
                let recent = self.past.len().saturating_sub(6);
                let from = if random.bool() { recent } else { 0 };
                self.past[random.usize(from..self.past.len())].clone()
            }
            _ => {
                let event = self.event(random, at, now_ms, fate);
                self.past.push((at, event.clone()));
                (at, event)
            }
        };
        let subject = &self.subjects[at];
        let mut partition = partition_of(event.subject.as_bytes(), subject.partition_count);
        let mut value = vec![];
        event.encode(&mut value);
        let key = Some(event.subject.clone().into_bytes());
        let value = match fate {
            90..92 => {
                partition = random.i32(0..subject.partition_count);
                Some(value)
            }
            92..95 => broken(random, value),
            _ => Some(value),
        };
        (
            Place {
                tenant: subject.tenant.clone(),
                partition,
            },
            key,
            value,
        )
    }

    fn event(&mut self, random: &mut Rng, at: usize, now_ms: i64, fate: u8) -> Event {
        let subject = &mut self.subjects[at];
        let passed_ms = ((now_ms - subject.since_ms) as f64 * subject.speed) as i64;
        let begin_ms = subject.since_ms - subject.behind_ms;
        // A replay ends where it meets the present.
        let usual_ms = (begin_ms + passed_ms).min(now_ms);
        let disorder_ms = random.i64(0..=subject.disorder_ms);
        let occurred_ms = match fate {
            10..20 => usual_ms - disorder_ms,
            20..23 => usual_ms - random.i64(0..1_000_000),
            23..25 => now_ms + random.i64(0..250_000),
            25..27 => now_ms + random.i64(250_000..2_000_000),
            27 => now_ms - random.i64(0..8_000) * 86_400_000,
            // Of one instant with others.
            28..40 => usual_ms.div_euclid(1_000) * 1_000,
            _ => usual_ms,
        };
        let fraction_us = if random.bool() {
            random.i64(0..1_000)
        } else {
            0
        };
        subject.sequence += 1;
        self.next_id += 1;
        let mut event = event(
            &subject.name,
            &format!("e{}", if fate == 40 { 7 } else { self.next_id }),
            occurred_ms * 1_000 + fraction_us,
        );
        event.sequence = match random.u8(0..4) {
            0 => None,
            1 => Some(random.i64(-3..3)),
            _ => Some(subject.sequence),
        };
        if random.u8(0..5) == 0 {
            event.event_type = EventType::ALL[random.usize(0..EventType::ALL.len())];
        }
        let sides = ["buy", "sell", "a,b=c\\", ""];
        if random.u8(0..8) > 0 {
            event
                .tags
                .insert("side".into(), sides[random.usize(0..4)].into());
        }
        event
            .tags
            .insert("room".into(), format!("r{}", random.u8(0..9)));
        if event.event_type == EventType::ApiCall {
            let codes = ["200", "499", "500", "503.5", "none", "1e3"];
            let code = codes[random.usize(0..codes.len())];
            event.tags.insert("status_code".into(), code.into());
            let errors = ["true", "false", "", "timeout"];
            if let Some(error) = errors.get(random.usize(0..9)) {
                event.tags.insert("error".into(), (*error).into());
            }
        }
        event.user_id = random.bool().then(|| format!("u{}", random.u8(0..30)));
        for name in ["price", "size"] {
            if random.u8(0..10) > 0 {
                event
                    .metrics
                    .insert(name.into(), number(random, self.temper.large_numbers));
            }
        }
        if fate == 41 {
            event.event_id = "x".repeat(random.usize(250..260));
        }
        event
    }
}

fn number(random: &mut Rng, large: bool) -> Decimal {
    let max = 10_i128.pow(38) - 1;
    let units = match random.u8(0..10) {
        0 if large => max - random.i128(0..1_000),
        1 if large => -max,
        2 if large => random.i128(-max..=max),
        3 => -random.i128(0..10_i128.pow(19)),
        4 => 0,
        5 => random.i128(0..10),
        _ => random.i128(0..10_i128.pow(23)) / 10_i128.pow(14) * 10_i128.pow(14),
    };
    Decimal::from_units(units).unwrap()
}

/// What is no event.
fn broken(random: &mut Rng, mut value: Vec<u8>) -> Option<Vec<u8>> {
    match random.u8(0..7) {
        0 => return None,
        1 => value.truncate(random.usize(0..value.len())),
        2 => value[0] = 1,
        3 => value[4] = 99,
        4 => value.push(0),
        5 => value = vec![0xff; random.usize(0..40)],
        _ => {
            let at = random.usize(5..value.len());
            value[at] ^= 1 << random.u8(0..8);
        }
    }
    Some(value)
}
