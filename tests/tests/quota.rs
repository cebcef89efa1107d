//! A tenant's month: what it is accounted for equals its rows, and no gateway lets in more than its
//! quota; on a real Kafka and a real ClickHouse, with pulse-api and two gateways.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::sync::LazyLock;

use api::access::installation::InstallationToken;
use pulse::stack::{Port, PortWish};
use schemas::access::Scope;
use schemas::control::{Definition, Limits, Tenant};
use schemas::event::{Event, EventType};
use schemas::ids::{Stream, TenantId};
use schemas::tier::{IngestOverrides, Tier};
use schemas::time::EventTime;
use serde_json::{Value, json};
use tests::http::{self, Answer};
use tests::{Installation, eventually, samples, tables};

const BATCH: &str = "/api/v1/ingestion/events/batch";
const USAGE: &str = "/api/v1/usage";
const QUOTA: u64 = 100;

/// An installation with a tenant that has a small quota.
struct Desk {
    installation: Installation,
    tenant: TenantId,
    sender: String,
    reader: String,
    gateways: [String; 2],
    api: String,
    operator: String,
    _ports: [Port; 2],
}

fn tenant_with(change: impl FnOnce(&mut Tenant)) -> Tenant {
    let mut tenant = Tenant {
        ingest: IngestOverrides {
            events_per_month: Some(QUOTA),
            ..IngestOverrides::default()
        },
        direct_producers: true,
        ..Tenant::new("acme")
    };
    change(&mut tenant);
    tenant
}

impl Desk {
    async fn open() -> Self {
        let mut installation = Installation::start().await;
        let tenant = installation.tenant("acme", Limits::default(), &[]).await;
        let definition = Definition::Tenant(tenant_with(|_| {}));
        installation.define(&tenant, "self", definition).await;
        let sender = installation.key(&tenant, "sender", &[Scope::Ingest]).await;
        let reader = installation.key(&tenant, "reader", &[Scope::Read]).await;
        installation.role("pulse-clickhouse", "0", &[]).await;
        let ports = [(); 2].map(|()| Port::claim(PortWish::Any).unwrap());
        let [api, operator] = [ports[0].address(), ports[1].address()];
        let folder = installation.stack.folder().join("store");
        let environment = [
            ("PULSE_API_LISTEN", api.as_str()),
            ("PULSE_OPERATOR_LISTEN", &operator),
            ("PULSE_API_DATA", folder.to_str().unwrap()),
            ("PULSE_USAGE_INTERVAL_MS", "200"),
        ];
        installation.role("pulse-api", "0", &environment).await;
        let first = installation.gateway("0", &[]).await;
        let second = installation.gateway("1", &[]).await;
        Self {
            installation,
            tenant,
            sender,
            reader,
            gateways: [first, second],
            api,
            operator,
            _ports: ports,
        }
    }

    async fn post(&self, gateway: usize, events: &Value) -> Answer {
        let address = &self.gateways[gateway];
        http::post(address, BATCH, &self.sender, events)
            .await
            .unwrap()
    }

    /// Writes events as a producer of the tenant's own does.
    async fn write(&self, ids: std::ops::Range<i64>) {
        let event = |id: i64| Event {
            event_id: format!("direct-{id}"),
            event_type: EventType::CustomEvent,
            name: Some("paid".into()),
            subject: "shop".into(),
            occurred_at: EventTime::from_ms(time_of_all_ms()),
            ..samples::trade(id)
        };
        let records: Vec<_> = ids.map(|id| samples::record(&event(id))).collect();
        let topic = self.tenant.topic(Stream::Events).to_string();
        self.installation.publish(&topic, &records).await;
    }

    async fn usage(&self) -> Value {
        let answer = http::get(&self.api, USAGE, &self.reader).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    async fn rows(&self) -> u64 {
        let count = "(SELECT count() FROM events WHERE tenant = 'acme')";
        tables::number(&self.installation, count).await
    }

    /// Waits until this gateway says that so many events are left. It is asked with a repeat, which
    /// it holds for one until it is counted: so it is asked ever more rarely, until what it held of
    /// the time before is counted, however slow the machine.
    async fn until_left(&self, gateway: usize, left: u64) {
        let state = format!("\"month\";r={};", left - 1);
        let (mut looks, mut last) = (0_u64, String::new());
        eventually(&format!("{left} events are left"), async || {
            looks += 1;
            if !looks.is_power_of_two() {
                return Err(last.clone());
            }
            let answer = self.post(gateway, &events("a", 0..1)).await;
            match answer.header("ratelimit") {
                Some(told) if told.contains(&state) => Ok(()),
                told => {
                    last = format!("{told:?}: {}", answer.text());
                    Err(last.clone())
                }
            }
        })
        .await;
    }

    async fn define(&self, tenant: Tenant) {
        let token = InstallationToken::of(&self.installation.control()).header();
        let headers = [
            ("authorization", token.to_str().unwrap()),
            ("content-type", "application/json"),
        ];
        let path = "/api/v1/installation/tenants/acme/tenant/self";
        let body = Definition::Tenant(tenant).body();
        let answer = http::request(&self.operator, "PUT", path, &headers, body.as_bytes()).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// The quota's events by search: their percents.
    async fn told(&self) -> Vec<String> {
        let path = "/api/v1/ingestion/events/search?type=system_event&name=quota_reached&limit=100";
        let answer = http::get(&self.api, path, &self.reader).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let events = answer.json();
        let percent = |event: &Value| {
            let quota = event["metrics"]["quota"].to_string();
            assert_eq!(quota.trim_matches('"'), QUOTA.to_string(), "{event}");
            let tags = [&event["context"]["tags"], &event["tags"]];
            let percent = tags.into_iter().find_map(|tags| tags["percent"].as_str());
            percent.unwrap_or_else(|| panic!("{event}")).to_owned()
        };
        let mut told: Vec<_> = events["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(percent)
            .collect();
        told.sort();
        told
    }

    async fn until_told(&self, expect: &[&str]) {
        eventually("the tenant is told", async || {
            let told = self.told().await;
            match told == expect {
                true => Ok(()),
                false => Err(format!("{told:?}")),
            }
        })
        .await;
    }

    async fn until_usage_is_rows(&self) -> u64 {
        eventually("usage equals rows", async || {
            let rows = self.rows().await;
            let usage = self.usage().await;
            match usage["events"] == json!(rows) && self.rows().await == rows {
                true => Ok(rows),
                false => Err(format!("{rows} rows and {usage}")),
            }
        })
        .await
    }
}

/// A time that is the same whenever it is asked for: a repeat is one by its time as well.
fn time_of_all_ms() -> i64 {
    static TIME_MS: LazyLock<i64> = LazyLock::new(runtime::clock::now_ms);
    *TIME_MS
}

/// Events with ids and times of their own: sent again they are the same.
fn events(name: &str, ids: std::ops::Range<u64>) -> Value {
    let at_ms = time_of_all_ms();
    let event = |id: u64| {
        json!({
            "event_id": format!("{name}-{id}"), "timestamp": at_ms,
            "event_type": "custom_event", "name": "paid", "source": {"service": "shop"},
        })
    };
    ids.map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_used_up_at_every_gateway_and_goes_on_with_a_larger_tier() {
    let mut desk = Desk::open().await;
    let first = desk.post(0, &events("a", 0..40)).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let policy = first.header("ratelimit-policy").unwrap();
    assert!(policy.contains("\"month\";q=100;w="), "{policy}");

    // Repeats are no events, and what producers of the tenant's own write are.
    assert_eq!(desk.post(1, &events("a", 0..40)).await.status, 200);
    desk.write(0..30).await;
    desk.write(10..30).await;
    tables::until_count(&desk.installation, &desk.tenant, "events", 70).await;
    assert_eq!(desk.until_usage_is_rows().await, 70);
    for gateway in 0..2 {
        desk.until_left(gateway, 30).await;
    }
    assert_eq!(desk.told().await, [""; 0]);

    // 85 by the second, and the first knows of it.
    assert_eq!(desk.post(1, &events("b", 0..15)).await.status, 200);
    desk.until_told(&["80"]).await;
    let rows = desk.until_usage_is_rows().await;
    assert_eq!(rows, 86, "70, 15 and what the tenant was told");
    desk.until_left(0, 14).await;
    // A pulse-api that is killed tells nothing twice, and its gateways go on with what they know.
    desk.installation.kill("pulse-api-0").await;
    is_429(&desk.post(0, &events("c", 0..15)).await);
    let mut taken = 0;
    let refused = loop {
        let answer = desk.post(0, &events("c", taken..taken + 1)).await;
        match answer.status {
            200 => taken += 1,
            _ => break answer,
        }
    };
    // The last repeat may be held for an event still.
    assert!((13..=14).contains(&taken), "{taken} were taken");
    is_used_up(&refused);
    desk.installation.start_again("pulse-api-0");
    desk.installation.until_ready("pulse-api-0").await;
    desk.until_told(&["100", "80"]).await;
    for gateway in 0..2 {
        let answer = eventually("the month is used up", async || {
            let answer = desk.post(gateway, &events("a", 0..1)).await;
            match answer.status {
                429 => Ok(answer),
                status => Err(status),
            }
        })
        .await;
        is_used_up(&answer);
    }
    let rows = desk.until_usage_is_rows().await;
    assert!(rows >= QUOTA, "{rows} rows");
    let usage = desk.usage().await;
    assert_eq!(usage["limit"], QUOTA);
    assert!(usage["share"].as_f64().unwrap() >= 1.0, "{usage}");
    let days = usage["days"].as_array().unwrap().iter();
    let by_day: u64 = days.map(|day| day["events"].as_u64().unwrap()).sum();
    assert_eq!(by_day, usage["events"].as_u64().unwrap());

    goes_on_with_a_larger_tier(&desk).await;
}

async fn goes_on_with_a_larger_tier(desk: &Desk) {
    // A tier without a quota, live.
    let larger = tenant_with(|tenant| {
        tenant.tier = Tier::Enterprise;
        tenant.ingest = IngestOverrides::default();
    });
    desk.define(larger).await;
    eventually("the next post goes in", async || {
        let answer = desk.post(0, &events("d", 0..1)).await;
        match answer.status {
            200 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    eventually("pulse-api knows of its own change", async || {
        match desk.usage().await["limit"].clone() {
            Value::Null => Ok(()),
            limit => Err(limit),
        }
    })
    .await;
    assert_eq!(desk.told().await, ["100", "80"]);
}

#[track_caller]
fn is_429(answer: &Answer) {
    assert_eq!(answer.status, 429, "{}", answer.text());
}

#[track_caller]
fn is_used_up(answer: &Answer) {
    is_429(answer);
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:pulse:problem:quota_exceeded");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("month of 100 events"), "{detail}");
    let wait: i64 = answer.header("retry-after").unwrap().parse().unwrap();
    let month = schemas::usage::Month::holding(runtime::clock::now_ms());
    let left_s = (month.end_ms() - runtime::clock::now_ms()) / 1_000;
    assert!((wait - left_s).abs() < 10, "{wait} instead of {left_s}");
    assert!(
        answer
            .header("ratelimit")
            .unwrap()
            .contains("\"month\";r=0;t=")
    );
}
