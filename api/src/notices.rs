//! What PulseStream tells a tenant of itself, as `system_event`s on the tenant's own topic: which
//! limit was met, and by whom; how much of a quota is used.
//!
//! A limit that is met thousands of times is one event a minute, with their number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use runtime::clock;
use runtime::control::ControlConfig;
use runtime::kafka::{Outgoing, Publisher};
use runtime::service::Shutdown;
use schemas::decimal::Decimal;
use schemas::event::{Event, EventType, Severity, Source};
use schemas::ids::{Stream, TenantId};
use schemas::origin::HEADER;
use schemas::time::EventTime;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::limits::Limit;
use crate::store::usage::{QuotaNotice, Reached};

/// Notices that wait to be counted; further ones are not, which the next one's count shows.
const WAITING_MAX: usize = 1_024;
/// How often the same thing is said.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// Things that were said lately and are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// A limit that was met.
#[derive(Clone, Debug)]
pub struct LimitMet {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub limit: Limit,
    /// Through which key.
    pub key_id: Arc<str>,
    /// How many events were refused.
    pub events: u32,
}

/// Takes notices in. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Notices {
    sender: mpsc::Sender<LimitMet>,
    herald: Herald,
}

/// Publishes what tenants are told.
#[derive(Clone)]
struct Herald {
    publisher: Publisher,
    control: ControlConfig,
    service: &'static str,
}

impl Notices {
    /// Says that a limit was met; never waits.
    pub fn limit_met(&self, met: LimitMet) {
        let _ = self.sender.try_send(met);
    }

    /// Says that a share of a quota was reached, in the same words whenever the same is said: so
    /// that it is one event, however often. True once every in-sync replica has it.
    pub async fn quota_reached(&self, notice: &QuotaNotice, reached: Reached) -> bool {
        let event = quota_reached(self.herald.service, notice, reached);
        self.herald.publish(&notice.tenant, &event).await
    }
}

impl Herald {
    /// True once every in-sync replica has it.
    async fn publish(&self, tenant: &TenantId, event: &Event) -> bool {
        let mut value = vec![];
        event.encode(&mut value);
        let topic = tenant.topic(Stream::Events).to_string();
        let key = event.subject.as_bytes();
        // The subject is ours alone, which readers of a tenant's own producers ask about.
        let seal = self.control.origin_key(tenant).seal(key, &value);
        let headers: [(&str, &[u8]); 1] = [(HEADER, &seal)];
        let records = [Outgoing {
            headers: &headers,
            ..Outgoing::keyed(&topic, key, &value)
        }];
        match self.publisher.publish(&records).await.pop() {
            Some(undelivered) => {
                tracing::warn!(%tenant, error = %undelivered, "a notice was not published");
                false
            }
            None => true,
        }
    }
}

/// Notices, and the work that publishes them until the process stops.
pub fn notices(
    publisher: Publisher,
    control: ControlConfig,
    service: &'static str,
    shutdown: Shutdown,
) -> (Notices, impl Future<Output = ()> + Send) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let herald = Herald {
        publisher,
        control,
        service,
    };
    let publishing = publish(herald.clone(), receiver, shutdown);
    (Notices { sender, herald }, publishing)
}

/// What was refused since it was said last.
#[derive(Default)]
struct Count {
    said_at: Option<Duration>,
    requests: i64,
    events: i64,
    key_id: Arc<str>,
}

type Counts = HashMap<(TenantId, Limit), Count>;

async fn publish(herald: Herald, mut receiver: mpsc::Receiver<LimitMet>, shutdown: Shutdown) {
    let mut counts = Counts::new();
    let started = clock::monotonic();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            met = receiver.recv() => match met {
                Some(met) => note(&mut counts, met),
                None => return,
            },
            _ = tick.tick() => {}
            () = shutdown.requested() => return,
        }
        for (tenant, event) in due(&mut counts, herald.service, started.elapsed()) {
            herald.publish(&tenant, &event).await;
        }
    }
}

fn note(counts: &mut Counts, met: LimitMet) {
    if counts.len() >= REMEMBERED_MAX {
        counts.retain(|_, count| count.requests > 0);
    }
    let count = counts.entry((met.tenant, met.limit)).or_default();
    count.requests += 1;
    count.events += i64::from(met.events);
    count.key_id = met.key_id;
}

/// What is to be said now: what was not said within the last minute.
fn due(counts: &mut Counts, service: &str, now: Duration) -> Vec<(TenantId, Event)> {
    let is_due = |count: &Count| {
        let is_quiet = count
            .said_at
            .is_none_or(|at| now.saturating_sub(at) >= SAID_EVERY);
        count.requests > 0 && is_quiet
    };
    let mut events = vec![];
    for ((tenant, limit), count) in counts.iter_mut().filter(|(_, count)| is_due(count)) {
        events.push((tenant.clone(), limit_met(service, *limit, count)));
        *count = Count {
            said_at: Some(now),
            ..Count::default()
        };
    }
    events
}

fn limit_met(service: &str, limit: Limit, count: &Count) -> Event {
    let now = EventTime::from_us(clock::now_us());
    let numbers = [
        ("refused_requests", count.requests),
        ("refused_events", count.events),
    ];
    Event {
        event_id: Uuid::now_v7().to_string(),
        event_type: EventType::SystemEvent,
        name: Some("limit_met".into()),
        occurred_at: now,
        received_at: now,
        severity: Severity::Warning,
        source: Source {
            service: service.into(),
            ..Source::default()
        },
        subject: "pulse:limits".into(),
        sequence: None,
        title: Some(format!("the limit {} was met", limit.as_str())),
        trace_id: None,
        user_id: None,
        tags: BTreeMap::from([
            ("limit".into(), limit.as_str().into()),
            ("key_id".into(), count.key_id.to_string()),
        ]),
        metrics: numbers
            .map(|(name, number)| (name.to_owned(), Decimal::from_int(number)))
            .into(),
        payload: None,
    }
}

fn quota_reached(service: &str, notice: &QuotaNotice, reached: Reached) -> Event {
    let QuotaNotice {
        month,
        percent,
        quota,
        ..
    } = notice;
    let at = EventTime::from_us(reached.at_us);
    let number = |number: u64| Decimal::from_int(i64::try_from(number).unwrap_or(i64::MAX));
    let severity = match *percent >= 100 {
        true => Severity::Error,
        false => Severity::Warning,
    };
    Event {
        event_id: format!("pulse:quota:{month}:{percent}:{quota}"),
        event_type: EventType::SystemEvent,
        name: Some("quota_reached".into()),
        occurred_at: at,
        received_at: at,
        severity,
        source: Source {
            service: service.into(),
            ..Source::default()
        },
        subject: "pulse:limits".into(),
        sequence: None,
        title: Some(format!(
            "{percent} % of the quota of {quota} events a month are used"
        )),
        trace_id: None,
        user_id: None,
        tags: BTreeMap::from([
            ("limit".into(), Limit::Month.as_str().into()),
            ("month".into(), month.to_string()),
            ("percent".into(), percent.to_string()),
        ]),
        metrics: BTreeMap::from([
            ("events".into(), number(reached.events)),
            ("quota".into(), number(*quota)),
        ]),
        payload: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(tenant: &str, limit: Limit) -> LimitMet {
        LimitMet {
            tenant: tenant.parse().unwrap(),
            limit,
            key_id: "k1".into(),
            events: 10,
        }
    }

    #[test]
    fn the_first_is_said_at_once_and_the_next_thousand_in_one() {
        let mut counts = Counts::new();
        note(&mut counts, met("acme", Limit::Events));
        let said = due(&mut counts, "pulse-gateway", Duration::ZERO);
        assert_eq!(said[0].1.metrics["refused_events"], Decimal::from_int(10));
        for _ in 0..1_000 {
            note(&mut counts, met("acme", Limit::Events));
        }
        assert!(due(&mut counts, "pulse-gateway", Duration::from_secs(59)).is_empty());
        let said = due(&mut counts, "pulse-gateway", SAID_EVERY);
        assert_eq!(said.len(), 1);
        assert_eq!(
            said[0].1.metrics["refused_requests"],
            Decimal::from_int(1_000)
        );
        assert!(due(&mut counts, "pulse-gateway", 3 * SAID_EVERY).is_empty());
    }

    #[test]
    fn tenants_and_limits_are_told_apart() {
        let mut counts = Counts::new();
        note(&mut counts, met("acme", Limit::Events));
        note(&mut counts, met("acme", Limit::Bytes));
        note(&mut counts, met("other", Limit::Events));
        assert_eq!(due(&mut counts, "pulse-api", Duration::ZERO).len(), 3);
    }
}
