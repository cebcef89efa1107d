//! What a seed stands for: tenants, definitions, and every record of the input with its time.
//!
//! A plan knows nothing of workers and faults, so that a run without faults and one with have the
//! same input.

mod definitions;
mod events;

use fastrand::Rng;
use processors::metrics::Definitions;
use runtime::step::Place;
use schemas::ids::TenantId;

pub(crate) use events::WAVER_MS;

/// When the first record comes, in milliseconds since 1970.
pub(crate) const BEGIN_MS: i64 = 1_790_000_000_000;

/// How exactly two runs of a plan must agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rigour {
    /// Everything that comes out is a function of the input: no record is older than a tick, and
    /// definitions change while nothing is under way. All runs give the same records.
    Strict,
    /// Records turn up that are older than ticks, and definitions change at any moment. What comes
    /// out hangs on when; it is checked against what each step was handed.
    Loose,
}

/// What happens, whatever the workers do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rigour: Rigour,
    pub(crate) tenants: Vec<(TenantId, i32)>,
    /// In force from the beginning.
    pub(crate) definitions: Vec<Definitions>,
    pub(crate) phases: Vec<Phase>,
}

/// A stretch of input. At its end, one last record in each partition, everything comes to rest.
#[derive(Debug)]
pub(crate) struct Phase {
    /// In the order in which they are appended.
    pub(crate) arrivals: Vec<Arrival>,
    /// Changes of a tenant's definitions: at a moment of the phase, or at its end.
    pub(crate) changes: Vec<Change>,
}

/// A tenant's definitions change.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) at_ms: i64,
    pub(crate) tenant: usize,
    pub(crate) definitions: Definitions,
}

/// A record is appended.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// The true time.
    pub(crate) at_ms: i64,
    /// What the broker stamps on it.
    pub(crate) appended_ms: i64,
    /// When readers of committed records see it.
    pub(crate) visible_ms: i64,
    /// Offsets before it that hold no record.
    pub(crate) gap: i64,
    pub(crate) place: Place,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let rigour = if random.u8(0..10) < 6 {
            Rigour::Strict
        } else {
            Rigour::Loose
        };
        let names = ["alpha", "beta", "gamma"];
        let tenants: Vec<(TenantId, i32)> = names[..1 + random.usize(0..5) / 2]
            .iter()
            .map(|name| (name.parse().unwrap(), [1, 2, 4][random.usize(0..3)]))
            .collect();
        let definitions: Vec<Definitions> = tenants
            .iter()
            .map(|_| definitions::first(&mut random))
            .collect();
        let mut plan = Self {
            seed,
            rigour,
            tenants,
            definitions,
            phases: vec![],
        };
        plan.add_phases(&mut random);
        plan
    }

    /// Every partition of every tenant.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        let of = |(tenant, count): &(TenantId, i32)| {
            let tenant = tenant.clone();
            (0..*count).map(move |partition| Place {
                tenant: tenant.clone(),
                partition,
            })
        };
        self.tenants.iter().flat_map(of)
    }

    pub(crate) fn partition_count(&self, tenant: &TenantId) -> i32 {
        self.tenants
            .iter()
            .find(|(id, _)| id == tenant)
            .expect("a tenant of the plan")
            .1
    }

    fn add_phases(&mut self, random: &mut Rng) {
        let phase_count = random.usize(2..=4);
        let mut current = self.definitions.clone();
        let mut producers = events::Producers::new(random, self);
        let mut now_ms = BEGIN_MS + random.i64(0..86_400_000);
        let mut version = 1;
        for phase in 0..phase_count {
            let begin_ms = now_ms;
            let mut arrivals = producers.arrivals(random, &mut now_ms, phase);
            now_ms += random.i64(0..2_000);
            // Nobody may use it, so it moves the partition's clock and nothing else.
            arrivals.extend(self.places().map(|place| Arrival {
                at_ms: now_ms,
                appended_ms: now_ms,
                visible_ms: now_ms,
                gap: 0,
                place,
                key: None,
                value: Some(b"the end of a phase".to_vec()),
            }));
            let is_last = phase + 1 == phase_count;
            let change_count = if is_last { 0 } else { random.usize(0..=2) };
            let mut changes: Vec<Change> = (0..change_count)
                .map(|_| Change {
                    at_ms: random.i64(begin_ms..=now_ms),
                    tenant: random.usize(0..self.tenants.len()),
                    definitions: current[0].clone(),
                })
                .collect();
            changes.sort_by_key(|change| change.at_ms);
            for change in &mut changes {
                let of = &mut current[change.tenant];
                version += 1;
                definitions::change(random, of, version);
                change.definitions = of.clone();
            }
            self.phases.push(Phase { arrivals, changes });
            // Time for everything to come to rest.
            now_ms += 600_000 + random.i64(0..600_000);
        }
    }
}
