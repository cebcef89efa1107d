//! How much a tenant and a key may send: events and bytes a second, each a bucket that fills again.
//!
//! A request is taken whole or refused whole, before anything of it is published. The figures are
//! the tenant's own, from the view of `pulse.control`; a bucket whose figure changed begins full.
//! Each gateway process has buckets of its own.
//!
//! Once two keys of a tenant were used within a minute, none of them gets more than seven eighths
//! of the tenant's figure, and so it is with subjects: one that is hot leaves room for the others.
//!
//! How much a tenant may send in a month is all gateways' together: see [`months`].

mod bucket;
pub mod months;
mod sharers;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference};
use hashbrown::HashMap;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use schemas::access::{KeyKind, PUBLIC_EVENTS_PER_SECOND};
use schemas::ids::TenantId;
use schemas::tier::IngestLimits;

use crate::access::Caller;
use crate::problem::ApiError;
use bucket::{Bucket, Figure, Left, Refused};
use months::MonthLeft;
use sharers::Sharers;

/// Keys of one tenant whose buckets are kept; more of them share one.
const KEYS_MAX: usize = 10_000;
/// Subjects are told apart by this many bits of their hash.
const SLOTS: usize = 256;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The buckets of all tenants. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Limits<C: Clock = DefaultClock> {
    clock: C,
    start: C::Instant,
    tenants: Arc<Mutex<HashMap<TenantId, Arc<Tenant<C>>>>>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Events in it.
    pub events: u32,
    /// Bytes of its decoded body.
    pub bytes: u32,
}

/// What is left after a request was let in, for its answer's headers.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    events: Left,
    bytes: Left,
    month: Option<MonthLeft>,
}

/// Why a request was not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exceeded {
    /// Which limit.
    pub limit: Limit,
    /// When it may be let in; `None` when it asks for more than there ever is at once.
    pub wait: Option<Duration>,
    figure: Figure,
}

/// Events that have to wait for their subject's share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubjectsHeld {
    /// Of each event, in their order: it need not wait.
    pub let_in: Vec<bool>,
    /// Why the others have to.
    pub limit: Exceeded,
}

/// A limit by its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Limit {
    /// The tenant's events a second.
    Events,
    /// The tenant's bytes a second.
    Bytes,
    /// The key's own events a second.
    Key,
    /// A key's share, where several are in use.
    KeyShare,
    /// A subject's share, where several are in use.
    SubjectShare,
    /// The tenant's events a month.
    Month,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Events,
        Self::Bytes,
        Self::Key,
        Self::KeyShare,
        Self::SubjectShare,
        Self::Month,
    ];

    /// A word that stays the same: in headers, in metrics and in the tenant's events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Bytes => "bytes",
            Self::Key => "key",
            Self::KeyShare => "key_share",
            Self::SubjectShare => "subject_share",
            Self::Month => "month",
        }
    }
}

struct Tenant<C: Clock> {
    figures: IngestLimits,
    events: Bucket<C>,
    bytes: Bucket<C>,
    keys: Mutex<HashMap<Arc<str>, Arc<KeyBuckets<C>>>>,
    sharing_keys: Sharers,
    subjects: Vec<Bucket<C>>,
    sharing_subjects: Sharers,
}

struct KeyBuckets<C: Clock> {
    /// What the key's own figure was when this was made.
    own_figure: Option<u32>,
    own: Option<Bucket<C>>,
    share: Bucket<C>,
}

impl Default for Limits {
    fn default() -> Self {
        Self::with_clock(DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limits<C> {
    /// Buckets that fill by this clock.
    pub fn with_clock(clock: C) -> Self {
        Self {
            start: clock.now(),
            clock,
            tenants: Arc::default(),
        }
    }

    /// Lets a request in, or says which limit it meets.
    ///
    /// # Errors
    /// The first limit that is exceeded; what the others have given by then is not given back.
    pub fn ask(&self, caller: &Caller, ask: Ask) -> Result<Granted, Exceeded> {
        let tenant = self.tenant(caller);
        let now_s = self.now_s();
        let key = tenant.key(caller, &self.clock);
        if let Some(own) = &key.own {
            own.take(ask.events)
                .map_err(|r| exceeded(Limit::Key, own, r))?;
        }
        let slot = slot_of(caller.key_id.as_bytes());
        if tenant.sharing_keys.used(slot, now_s) > 1 {
            let share = &key.share;
            share
                .take(ask.events)
                .map_err(|r| exceeded(Limit::KeyShare, share, r))?;
        }
        let bytes = tenant
            .bytes
            .take(ask.bytes)
            .map_err(|r| exceeded(Limit::Bytes, &tenant.bytes, r))?;
        let events = tenant
            .events
            .take(ask.events)
            .map_err(|r| exceeded(Limit::Events, &tenant.events, r))?;
        Ok(Granted {
            events,
            bytes,
            month: None,
        })
    }

    /// The subjects of a request's events, in their order: which of them get in where a subject
    /// has more than its share while others of the tenant are in use; `None` when all do.
    pub fn ask_subjects(&self, caller: &Caller, subjects: &[&[u8]]) -> Option<SubjectsHeld> {
        let tenant = self.tenant(caller);
        let now_s = self.now_s();
        let mut counts = [0_u32; SLOTS];
        let slots: Vec<usize> = subjects.iter().map(|subject| slot_of(subject)).collect();
        for slot in &slots {
            counts[*slot] += 1;
        }
        let mut in_use = 0;
        for (slot, count) in counts.iter().enumerate() {
            if *count > 0 {
                in_use = tenant.sharing_subjects.used(slot, now_s);
            }
        }
        if in_use <= 1 {
            return None;
        }
        let mut is_all = true;
        for (slot, count) in counts
            .iter_mut()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            let taken = tenant.subjects[slot].take_some(*count);
            is_all &= taken == *count;
            *count = taken;
        }
        if is_all {
            return None;
        }
        // The first ones of each get in, so that they stay in their order.
        let let_in = slots.into_iter().map(|slot| {
            let left = counts[slot].checked_sub(1);
            counts[slot] = left.unwrap_or(0);
            left.is_some()
        });
        Some(SubjectsHeld {
            let_in: let_in.collect(),
            limit: Exceeded {
                limit: Limit::SubjectShare,
                wait: Some(Duration::from_secs(1)),
                figure: tenant.events.figure.most(),
            },
        })
    }

    fn now_s(&self) -> u64 {
        let since_start: Duration = self.clock.now().duration_since(self.start).into();
        since_start.as_secs()
    }

    fn tenant(&self, caller: &Caller) -> Arc<Tenant<C>> {
        let figures = caller.ingest();
        let mut tenants = lock(&self.tenants);
        match tenants.get(&caller.tenant) {
            Some(tenant) if tenant.figures == figures => Arc::clone(tenant),
            _ => {
                let tenant = Arc::new(Tenant::new(figures, &self.clock));
                tenants.insert(caller.tenant.clone(), Arc::clone(&tenant));
                tenant
            }
        }
    }
}

impl<C: Clock + Clone> Tenant<C> {
    fn new(figures: IngestLimits, clock: &C) -> Self {
        let events = Figure::new(figures.events_per_second, figures.burst_events);
        // A batch that may be sent may be sent at once.
        let bytes = Figure::new(figures.bytes_per_second, BODY_BYTES_MAX);
        Self {
            figures,
            events: Bucket::new(events, clock),
            bytes: Bucket::new(bytes, clock),
            keys: Mutex::default(),
            sharing_keys: Sharers::default(),
            subjects: (0..SLOTS)
                .map(|_| Bucket::new(events.most(), clock))
                .collect(),
            sharing_subjects: Sharers::default(),
        }
    }

    fn key(&self, caller: &Caller, clock: &C) -> Arc<KeyBuckets<C>> {
        let own_figure = own_figure(caller);
        let mut keys = lock(&self.keys);
        if let Some(key) = keys.get(&caller.key_id)
            && key.own_figure == own_figure
        {
            return Arc::clone(key);
        }
        let own = own_figure.map(|figure| Bucket::new(Figure::new(figure, figure), clock));
        let made = Arc::new(KeyBuckets {
            own_figure,
            own,
            share: Bucket::new(self.events.figure.most(), clock),
        });
        if keys.len() >= KEYS_MAX {
            // Keys come and go; who is in use comes again, with a full bucket.
            keys.clear();
        }
        keys.insert(Arc::clone(&caller.key_id), Arc::clone(&made));
        made
    }
}

/// The largest body, decoded.
pub const BODY_BYTES_MAX: u32 = 10_000_000;

fn own_figure(caller: &Caller) -> Option<u32> {
    match (caller.key.events_per_second, caller.key.kind) {
        (None, KeyKind::Public) => Some(PUBLIC_EVENTS_PER_SECOND),
        (own, _) => own,
    }
}

/// A slot of 0 to 255 by FNV-1a.
fn slot_of(name: &[u8]) -> usize {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from((hash ^ (hash >> 32)) & 0xff).expect("eight bits fit")
}

fn exceeded<C: Clock + Clone>(limit: Limit, bucket: &Bucket<C>, refused: Refused) -> Exceeded {
    Exceeded {
        limit,
        wait: match refused {
            Refused::Until(wait) => Some(wait),
            Refused::Never => None,
        },
        figure: bucket.figure,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Granted {
    /// The same with what is left of the month.
    #[must_use]
    pub fn with_month(self, month: Option<MonthLeft>) -> Self {
        Self { month, ..self }
    }

    /// Adds what is left to an answer, as draft-ietf-httpapi-ratelimit-headers-10 has it.
    pub fn write(&self, headers: &mut HeaderMap) {
        let policy = |name: &str, left: &Left| {
            let (quota, window) = (left.figure.burst, left.figure.fills_in_s());
            format!("\"{name}\";q={quota};w={window}")
        };
        let state = |name: &str, left: &Left| {
            let missing = left.figure.burst.get().saturating_sub(left.count);
            let full_in = missing.div_ceil(left.figure.per_second.get());
            format!("\"{name}\";r={};t={full_in}", left.count)
        };
        let all = |of: &dyn Fn(&str, &Left) -> String, month: Option<String>| {
            let mut text = of("events", &self.events);
            text.push_str(", ");
            text.push_str(&of("bytes", &self.bytes));
            if let Some(month) = month {
                text.push_str(", ");
                text.push_str(&month);
            }
            HeaderValue::try_from(text).expect("digits and names are a header")
        };
        let month = self.month.as_ref();
        headers.insert(
            RATE_LIMIT_POLICY,
            all(&policy, month.map(MonthLeft::policy)),
        );
        headers.insert(RATE_LIMIT, all(&state, month.map(MonthLeft::state)));
    }
}

impl Exceeded {
    /// 429 with when to come again; 413 where that would not help.
    pub fn error(&self) -> ApiError {
        let (name, quota) = (self.limit.as_str(), self.figure.burst);
        let Some(wait) = self.wait else {
            let detail = format!("the request asks for more than the {quota} {name} at once");
            return ApiError::too_large(detail);
        };
        let wait_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let header =
            |text: String| HeaderValue::try_from(text).expect("digits and names are a header");
        let rate = self.figure.per_second;
        let detail = format!("the limit {name} of {rate} a second is used up");
        let window = self.figure.fills_in_s();
        ApiError::new(http::StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
            .with_header(RETRY_AFTER, HeaderValue::from(wait_s.max(1)))
            .with_header(
                RATE_LIMIT_POLICY,
                header(format!("\"{name}\";q={quota};w={window}")),
            )
            .with_header(
                RATE_LIMIT,
                header(format!("\"{name}\";r=0;t={}", wait_s.max(1))),
            )
    }
}

#[cfg(test)]
mod tests;
