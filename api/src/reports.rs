//! A process's own requests as `api_call` events of one tenant, so that there is something to see.
//!
//! Reports go straight to the topic and never over HTTP, so none of them makes another one. Which
//! tenant asked is not in them: the tenant that sees them is not the one that they are of.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::metrics::counter::Counter;
use runtime::clock;
use runtime::config::{Environment, Key, Settings};
use runtime::kafka::{Outgoing, Publisher};
use runtime::service::Service;
use runtime::telemetry::Metric;
use schemas::decimal::Decimal;
use schemas::event::{EventHead, EventType, Severity, encode};
use schemas::ids::{Stream, TenantId};
use schemas::time::EventTime;
use tokio::sync::mpsc;
use uuid::Uuid;

const TENANT: Key = Key {
    name: "PULSE_REPORT_TENANT",
    default: None,
    doc: "The tenant that gets this process's own requests as `api_call` events; nobody when absent.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[TENANT];

const LOST: Metric = Metric {
    name: "pulse_reports_lost_total",
    doc: "Reports of own requests that were not published: more came than are taken, or the brokers were away.",
};

/// All of this part's metrics.
pub const METRICS: &[Metric] = &[LOST];

/// Reports that wait; further ones are lost, and counted.
const WAITING_MAX: usize = 4_096;
/// How many travel together, and how long they wait for company.
const BATCH_MAX: usize = 512;
const GATHERED_FOR: Duration = Duration::from_millis(200);

/// Who gets reports.
#[derive(Clone, Debug)]
pub struct ReportsConfig {
    /// The tenant; nobody when absent.
    pub tenant: Option<TenantId>,
}

impl Settings for ReportsConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let tenant = env.optional(&TENANT);
        Some(Self { tenant: tenant? })
    }
}

/// Takes reports in. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Reports {
    sender: mpsc::Sender<Report>,
    lost: Counter,
}

/// One request that was answered.
struct Report {
    method: &'static str,
    /// The route's template; a path that is no route's would make an endpoint of every mistake.
    endpoint: String,
    status: u16,
    took: Duration,
    ended_at_us: i64,
}

/// Reports for this tenant, and the work that publishes them until the process stops.
pub fn reports(
    tenant: TenantId,
    publisher: Publisher,
    service: &Service,
) -> (Reports, impl Future<Output = ()> + Send + use<>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let lost = service.metrics.counter(&LOST);
    let reports = Reports {
        sender,
        lost: lost.clone(),
    };
    let publishing = Publishing {
        topic: tenant.topic(Stream::Events).to_string(),
        service: service.name,
        host: service.member(),
        publisher,
        lost,
    };
    let shutdown = service.shutdown.clone();
    let work = async move {
        tokio::select! {
            () = publishing.run(receiver) => {}
            () = shutdown.requested() => {}
        }
    };
    (reports, work)
}

/// The layer that reports each request, outermost.
pub async fn report(State(reports): State<Reports>, request: Request, next: Next) -> Response {
    let began = clock::monotonic();
    let method = method(request.method());
    let path = request.extensions().get::<MatchedPath>();
    let endpoint = path.map_or("unmatched", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let report = Report {
        method,
        endpoint,
        status: response.status().as_u16(),
        took: began.elapsed(),
        ended_at_us: clock::now_us(),
    };
    if reports.sender.try_send(report).is_err() {
        reports.lost.inc();
    }
    response
}

fn method(method: &http::Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
    let known = KNOWN.into_iter().find(|known| *known == method.as_str());
    known.unwrap_or("other")
}

struct Publishing {
    topic: String,
    service: &'static str,
    host: String,
    publisher: Publisher,
    lost: Counter,
}

impl Publishing {
    async fn run(self, mut receiver: mpsc::Receiver<Report>) {
        let mut gathered = Vec::with_capacity(BATCH_MAX);
        while receiver.recv_many(&mut gathered, BATCH_MAX).await > 0 {
            if gathered.len() < BATCH_MAX {
                tokio::time::sleep(GATHERED_FOR).await;
                while gathered.len() < BATCH_MAX
                    && let Ok(report) = receiver.try_recv()
                {
                    gathered.push(report);
                }
            }
            self.publish(&gathered).await;
            gathered.clear();
        }
    }

    async fn publish(&self, reports: &[Report]) {
        let encoded: Vec<_> = reports.iter().map(|report| self.encode(report)).collect();
        let records: Vec<_> = encoded
            .iter()
            .map(|(key, value)| Outgoing::keyed(&self.topic, key.as_bytes(), value))
            .collect();
        let undelivered = self.publisher.publish(&records).await.len();
        self.lost
            .inc_by(u64::try_from(undelivered).unwrap_or(u64::MAX));
    }

    /// The event's subject, and its record.
    fn encode(&self, report: &Report) -> (String, Vec<u8>) {
        let subject = format!("{} {}", self.service, report.endpoint);
        let status = report.status.to_string();
        let took_ns = i128::try_from(report.took.as_nanos()).unwrap_or(i128::MAX);
        // Nanoseconds are 10⁻⁶ ms, and a decimal counts in 10⁻¹⁸.
        let took_ms = took_ns
            .checked_mul(1_000_000_000_000)
            .and_then(Decimal::from_units)
            .unwrap_or(Decimal::ZERO);
        let ended_at = EventTime::from_us(report.ended_at_us);
        let head = EventHead {
            event_id: &Uuid::now_v7().to_string(),
            event_type: EventType::ApiCall.as_str(),
            name: None,
            occurred_at: ended_at,
            received_at: ended_at,
            severity: match report.status {
                500.. => Severity::Error,
                _ => Severity::Info,
            },
            service: self.service,
            host: Some(&self.host),
            method: Some(report.method),
            endpoint: Some(&report.endpoint),
            version: Some(env!("CARGO_PKG_VERSION")),
            subject: &subject,
            sequence: None,
            title: None,
            trace_id: None,
            user_id: None,
            payload: None,
        };
        let tags = [("status_code", status.as_str())].into_iter();
        let metrics = [("duration_ms", took_ms)].into_iter();
        let mut value = vec![];
        encode(&mut value, &head, tags, metrics);
        (subject, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_few_whatever_strangers_send() {
        assert_eq!(method(&http::Method::POST), "POST");
        let strange = http::Method::from_bytes(b"XYZZY").unwrap();
        assert_eq!(method(&strange), "other");
    }
}
