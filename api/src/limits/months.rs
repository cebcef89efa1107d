//! A tenant's month: what was counted of it, and what this process let in since.
//!
//! The figure comes with every change of `usage` on `pulse.control`, and says up to which instant
//! of the log's clock it counts. What was let in behind that instant comes on top, and nothing
//! before it: a request is stamped before it is published, so what the figure counts is never
//! counted here again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use http::header::{HeaderValue, RETRY_AFTER};
use schemas::ids::TenantId;
use schemas::time::EventTime;
use schemas::usage::{Month, Usage};

use super::{Caller, RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::problem::ApiError;

/// How far the brokers' clocks and this one may be apart before a request is refused too early.
const SKEW_MS: i64 = 200;
/// What is let in within so long is remembered together.
const TOGETHER_MS: i64 = 100;
/// How many such stretches are remembered; more are put together by twos.
const STRETCHES_MAX: usize = 512;

/// What was let in, of all tenants. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Months {
    tenants: Arc<Mutex<HashMap<TenantId, Own>>>,
}

/// What was let in of a tenant, by when, oldest first.
#[derive(Default)]
struct Own(VecDeque<Stretch>);

#[derive(Clone, Copy)]
struct Stretch {
    first_ms: i64,
    events: u64,
}

/// What is left of a month after a request was let in, for its answer's headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MonthLeft {
    /// All that may come in a month.
    pub quota: u64,
    /// What may still come in this one.
    pub left: u64,
    month: Month,
    now_ms: i64,
}

/// A month that has not as much left as a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MonthMet {
    /// What is left, and of what.
    pub left: MonthLeft,
}

impl Months {
    /// Lets a request's events in, or says that the month has not as many left; `None` of a tenant
    /// whose month has no bound.
    ///
    /// # Errors
    /// When fewer are left than it asks for; then nothing was taken.
    pub fn take(
        &self,
        caller: &Caller,
        events: u32,
        now_ms: i64,
    ) -> Result<Option<MonthLeft>, MonthMet> {
        let Some(quota) = caller.ingest().events_per_month else {
            return Ok(None);
        };
        let month = Month::holding(now_ms);
        let figure = caller.control.usage.as_ref().map(|defined| defined.value);
        let (counted, to_ms) = match figure.filter(|figure| figure.month == month) {
            Some(Usage {
                events,
                counted_to_ms,
                ..
            }) => (events, counted_to_ms),
            None => (0, month.start_ms() - SKEW_MS),
        };
        let mut tenants = self.lock();
        if !tenants.contains_key(&caller.tenant) {
            tenants.insert(caller.tenant.clone(), Own::default());
        }
        let own = tenants
            .get_mut(&caller.tenant)
            .expect("it was put there where it was not");
        own.forget(to_ms + SKEW_MS);
        let used = counted.saturating_add(own.0.iter().map(|stretch| stretch.events).sum());
        let left = |used: u64| MonthLeft {
            quota,
            left: quota.saturating_sub(used),
            month,
            now_ms,
        };
        let after = used.saturating_add(u64::from(events));
        if after > quota {
            return Err(MonthMet { left: left(used) });
        }
        own.add(now_ms, u64::from(events));
        Ok(Some(left(after)))
    }

    /// Takes back what was let in and came to nothing.
    pub fn give_back(&self, tenant: &TenantId, events: u32) {
        if events == 0 {
            return;
        }
        let mut left = u64::from(events);
        let mut tenants = self.lock();
        let Some(own) = tenants.get_mut(tenant) else {
            return;
        };
        for stretch in own.0.iter_mut().rev() {
            let back = left.min(stretch.events);
            stretch.events -= back;
            left -= back;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Own>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Own {
    /// Forgets what the figure counts.
    fn forget(&mut self, to_ms: i64) {
        while self.0.front().is_some_and(|first| first.first_ms <= to_ms) {
            self.0.pop_front();
        }
    }

    fn add(&mut self, now_ms: i64, events: u64) {
        match self.0.back_mut() {
            Some(last) if now_ms < last.first_ms + TOGETHER_MS => last.events += events,
            _ => self.0.push_back(Stretch {
                first_ms: now_ms,
                events,
            }),
        }
        if self.0.len() > STRETCHES_MAX {
            let all = std::mem::take(&mut self.0);
            let mut all = all.into_iter();
            while let Some(mut one) = all.next() {
                one.events += all.next().map_or(0, |next| next.events);
                self.0.push_back(one);
            }
        }
    }
}

impl MonthLeft {
    /// Until the next month begins, in seconds, one at least.
    fn resets_in_s(&self) -> i64 {
        let left_ms = self.month.end_ms() - self.now_ms;
        (left_ms.max(0) as u64).div_ceil(1_000).max(1) as i64
    }

    /// How long a month is, in seconds.
    fn window_s(&self) -> i64 {
        (self.month.end_ms() - self.month.start_ms()) / 1_000
    }

    /// The item of `RateLimit-Policy`.
    pub fn policy(&self) -> String {
        format!("\"month\";q={};w={}", self.quota, self.window_s())
    }

    /// The item of `RateLimit`.
    pub fn state(&self) -> String {
        format!("\"month\";r={};t={}", self.left, self.resets_in_s())
    }
}

impl MonthMet {
    /// 429 with when the month is over.
    pub fn error(&self) -> ApiError {
        let MonthLeft { quota, left, .. } = self.left;
        let resets_at = EventTime::from_ms(self.left.month.end_ms());
        let detail = match left {
            0 => format!("the limit month of {quota} events is used up until {resets_at}"),
            _ => format!(
                "the limit month of {quota} events has {left} left until {resets_at}, and the \
                 request has more"
            ),
        };
        let header =
            |text: String| HeaderValue::try_from(text).expect("digits and names are a header");
        ApiError::new(
            http::StatusCode::TOO_MANY_REQUESTS,
            "quota_exceeded",
            detail,
        )
        .with_header(RETRY_AFTER, HeaderValue::from(self.left.resets_in_s()))
        .with_header(RATE_LIMIT_POLICY, header(self.left.policy()))
        .with_header(RATE_LIMIT, header(self.left.state()))
    }
}

#[cfg(test)]
mod tests;
