//! An installation with pulse-api and a gateway as processes, and everybody who asks there.

use std::collections::BTreeMap;

use api::access::secret;
use runtime::clock;
use schemas::access::KeyKind;
use schemas::wire::SchemaId;
use serde_json::{Value, json};
use tests::http::{self, Answer};
use tests::servers::Api;
use tests::{Installation, eventually};

use crate::credentials::{Carrier, PAGE, Who};
use crate::rows::{About, Body, Door, Row};

/// A tenant with a key that may do everything.
pub(crate) struct Tenant {
    pub(crate) slug: &'static str,
    pub(crate) key: String,
}

/// Where it all happens.
pub(crate) struct Place {
    pub(crate) installation: Installation,
    pub(crate) own: Tenant,
    pub(crate) foreign: Tenant,
    /// One that has nothing but what a new tenant has.
    pub(crate) quiet: Tenant,
    api: Api,
    gateway: String,
    keys: BTreeMap<Who, String>,
    /// The id of a key of the own tenant's.
    key_id: String,
    /// The stretch that is searched, fixed so that two answers about it are the same.
    range: (String, String),
}

/// Every owner's.
const PASSWORD: &str = "correct horse battery";

/// The slug that nobody has, beside [`Place::own`]'s in every list.
const NOBODYS: &str = "acmf";

impl Place {
    pub(crate) async fn open() -> Self {
        let mut installation = Installation::start().await;
        installation.role("pulse-clickhouse", "0", &[]).await;
        // All that they could tell, so that what they tell can be looked through.
        let log = [("PULSE_LOG", "debug")];
        let api = installation.api(&log).await;
        let gateway = installation.gateway("0", &log).await;
        let own = register(&api, "acme").await;
        let foreign = register(&api, "other").await;
        let quiet = register(&api, "quiet").await;
        let now_ms = clock::now_ms();
        let instant = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap().to_string();
        let operator = installation.operator_token();
        let mut place = Self {
            installation,
            own,
            foreign,
            quiet,
            api,
            gateway,
            keys: BTreeMap::new(),
            key_id: String::new(),
            range: (instant(now_ms - 3_600_000), instant(now_ms + 3_600_000)),
        };
        place.furnish().await;
        place.make_keys(operator).await;
        place
    }

    /// Everything that a foreign tenant could ask for.
    async fn furnish(&mut self) {
        let own = self.own.key.clone();
        let meter = |id: &str| {
            json!({
                "id": id, "filter": {"event_type": "api_call"}, "group_by": ["subject"],
                "windows": [{"kind": "tumbling", "width_ms": 1_000}],
                "aggregates": [{"name": "calls", "function": "count"}],
            })
        };
        for id in ["calls", "spare"] {
            self.make("/api/v1/meters", &own, &meter(id)).await;
        }
        let feed = json!({
            "id": "fast0", "exchange": "coinbase_exchange", "products": ["BTC-USD"],
            "channels": ["trades"], "enabled": false,
        });
        self.make("/api/v1/feeds", &own, &feed).await;
        let key = json!({"name": "standing", "scopes": ["manage"]});
        let made = self.make("/api/v1/auth/keys", &own, &key).await;
        self.key_id = made["id"].as_str().unwrap().to_owned();
        let event = |id: &str| {
            json!({
                "event_id": id, "event_type": "custom_event", "subject": id,
                "timestamp": clock::now_ms(), "source": {"service": "hidden"},
            })
        };
        let events = json!([event("sought-0"), event("beside-0"), event("posted-0")]);
        let path = "/api/v1/ingestion/events/batch";
        let answer = http::post(&self.api.address, path, &own, &events).await;
        assert_eq!(answer.unwrap().status, 200);
        eventually("the events are found by their tenant", async || {
            let found = self.search(&own, "service=hidden").await;
            match found["events"].as_array().map(Vec::len) {
                Some(3) => Ok(()),
                _ => Err(found.to_string()),
            }
        })
        .await;
    }

    async fn make_keys(&mut self, operator: String) {
        let own = self.own.key.clone();
        let scopes = |name: &str, scopes: &[&str]| json!({"name": name, "scopes": scopes});
        let all = ["ingest", "read", "manage"];
        let wanted = [
            (Who::Revoked, scopes("revoked", &all)),
            (Who::Expired, scopes("expired", &all)),
            (Who::Ingest, scopes("ingest", &["ingest"])),
            (Who::Read, scopes("read", &["read"])),
            (Who::Manage, scopes("manage", &["manage"])),
            (
                Who::Public,
                json!({"name": "page", "kind": "public", "scopes": ["ingest"], "origins": [PAGE]}),
            ),
        ];
        for (who, mut body) in wanted {
            if who == Who::Expired {
                // Ahead of its making, however slow that is.
                let expires_at_ms = clock::now_ms() + 10_000;
                let expires_at = jiff::Timestamp::from_millisecond(expires_at_ms).unwrap();
                body["expires_at"] = json!(expires_at.to_string());
            }
            let made = self.make("/api/v1/auth/keys", &own, &body).await;
            let text = made["key"].as_str().unwrap().to_owned();
            if who != Who::Expired {
                self.until_known(&text, true).await;
            }
            if who == Who::Revoked {
                let path = format!("/api/v1/auth/keys/{}", made["id"].as_str().unwrap());
                self.delete(&path, &own).await;
            }
            self.keys.insert(who, text);
        }
        self.keys
            .insert(Who::PublicElsewhere, self.keys[&Who::Public].clone());
        let stranger = secret::generate(KeyKind::Secret).unwrap();
        self.keys.insert(Who::Stranger, stranger);
        self.keys.insert(Who::Foreign, self.foreign.key.clone());
        self.keys.insert(Who::Operator, operator);
        for who in [Who::Revoked, Who::Expired] {
            self.until_known(&self.keys[&who], false).await;
        }
        self.until_known(&self.foreign.key, true).await;
    }

    /// Waits until both processes let a key in, or neither does.
    async fn until_known(&self, key: &str, is_known: bool) {
        for door in [Door::Api, Door::Gateway] {
            eventually(&format!("{door:?} knows of a key"), async || {
                // A body that is none: whoever is let in hears that.
                let path = "/api/v1/ingestion/events";
                let headers = [("x-api-key", key), ("origin", PAGE)];
                let answer =
                    http::request(self.address(door), "POST", path, &headers, b"[").await?;
                match (answer.status != 401) == is_known {
                    true => Ok(()),
                    false => Err(answer.text()),
                }
            })
            .await;
        }
    }

    pub(crate) fn address(&self, door: Door) -> &str {
        match door {
            Door::Api => &self.api.address,
            Door::Gateway => &self.gateway,
            Door::Operator => &self.api.operator,
        }
    }

    /// A thing of the own tenant's, and one of the same form that nobody has.
    pub(crate) fn pair(&self, about: About) -> (String, String) {
        let (there, nowhere) = match about {
            About::Nothing => ("", ""),
            About::Meter => ("calls", "callt"),
            About::Feed => ("fast0", "fast1"),
            About::Event => ("sought-0", "sought-1"),
            About::Posted => ("posted-0", "posted-1"),
            About::Tenant => (self.own.slug, NOBODYS),
            About::Slug => (self.own.slug, "control"),
            About::Key => {
                let (before, last) = self.key_id.split_at(self.key_id.len() - 1);
                let other = if last == "0" { "1" } else { "0" };
                return (self.key_id.clone(), format!("{before}{other}"));
            }
        };
        (there.into(), nowhere.into())
    }

    /// A thing of the own tenant's that may be used up.
    pub(crate) async fn fresh(&self, row: &Row) -> String {
        let (path, name) = match row.about {
            About::Meter => ("/api/v1/meters", "fresh-meter"),
            About::Feed => ("/api/v1/feeds", "fresh-feed"),
            _ => ("/api/v1/auth/keys", "fresh key"),
        };
        if row.method == "POST" {
            return name.to_owned();
        }
        let body = match row.about {
            About::Key => json!({"name": name, "scopes": ["manage"]}),
            About::Feed => json!({
                "id": name, "exchange": "coinbase_exchange", "products": ["BTC-USD"],
                "channels": ["trades"], "enabled": false,
            }),
            _ => json!({
                "id": name, "group_by": ["subject"],
                "windows": [{"kind": "tumbling", "width_ms": 1_000}],
                "aggregates": [{"name": "requests", "function": "count"}],
            }),
        };
        let made = self.make(path, &self.own.key, &body).await;
        made["id"].as_str().unwrap().to_owned()
    }

    /// What nobody is to tell, each with what it is.
    pub(crate) fn secrets(&self) -> Vec<(String, String)> {
        let tenants = [&self.own, &self.foreign, &self.quiet];
        let first = tenants.map(|tenant| (format!("first key of {}", tenant.slug), &tenant.key));
        let keys = self
            .keys
            .iter()
            .map(|(who, key)| (format!("key of {who:?}"), key));
        let clickhouse = &self.installation.stack.clickhouse;
        let passwords = [clickhouse.writer(), clickhouse.reader()];
        let passwords = passwords.map(|account| {
            let what = format!("password of {}", account.user);
            (what, account.password.reveal().to_owned())
        });
        let all = first.into_iter().chain(keys);
        let mut all: Vec<_> = all.map(|(what, text)| (what, text.clone())).collect();
        all.extend(passwords);
        all.push((
            "installation's secret".into(),
            tests::servers::secret().into(),
        ));
        all.push(("owner's password".into(), PASSWORD.into()));
        all
    }

    /// Asks a route about `x`.
    pub(crate) async fn ask(
        &self,
        (row, door): (&Row, Door),
        (who, carrier): (Who, Carrier),
        x: &str,
    ) -> Answer {
        let target = self.filled(row.target, x);
        let body = match row.body {
            Body::None => String::new(),
            Body::Json(text) => self.filled(text, x),
            Body::Schema => json!({"schema": SchemaId::Event.json()}).to_string(),
        };
        let key = self.keys.get(&who).map_or("", String::as_str);
        let bearer = format!("Bearer {key}");
        let mut headers = vec![];
        let body = match carrier {
            Carrier::Body => with_key(key, &body),
            Carrier::Header | Carrier::Bearer => body,
        };
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        match carrier {
            Carrier::Header if who != Who::Nobody => headers.push(("x-api-key", key)),
            Carrier::Bearer => headers.push(("authorization", bearer.as_str())),
            Carrier::Header | Carrier::Body => {}
        }
        headers.extend(who.origin().map(|origin| ("origin", origin)));
        let address = self.address(door);
        http::request(address, row.method, &target, &headers, body.as_bytes())
            .await
            .unwrap_or_else(|error| panic!("{} {target}: {error}", row.method))
    }

    fn filled(&self, text: &str, x: &str) -> String {
        let (from, to) = &self.range;
        text.replace("{x}", x)
            .replace("{from}", from)
            .replace("{to}", to)
    }

    /// The page that a search finds.
    pub(crate) async fn search(&self, key: &str, question: &str) -> Value {
        let (from, to) = &self.range;
        let path = format!("/api/v1/ingestion/events/search?{question}&from={from}&to={to}");
        let answer = http::get(&self.api.address, &path, key).await.unwrap();
        answer.json()
    }

    /// What a POST makes.
    pub(crate) async fn make(&self, path: &str, key: &str, body: &Value) -> Value {
        let answer = http::post(&self.api.address, path, key, body)
            .await
            .unwrap();
        assert_eq!(answer.status, 201, "POST {path}: {}", answer.text());
        answer.json()
    }

    /// Removes something.
    pub(crate) async fn delete(&self, path: &str, key: &str) {
        let headers = [("x-api-key", key)];
        let answer = http::request(&self.api.address, "DELETE", path, &headers, b"").await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 204, "DELETE {path}: {}", answer.text());
    }
}

async fn register(api: &Api, slug: &'static str) -> Tenant {
    let body = json!({
        "name": slug, "slug": slug, "owner_email": "owner@acme.example",
        "owner_password": PASSWORD,
    });
    let path = "/api/v1/auth/register/tenant";
    let answer = http::post(&api.address, path, "", &body).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    let key = answer.json()["api_key"].as_str().unwrap().to_owned();
    Tenant { slug, key }
}

/// The same events with the key among them.
fn with_key(key: &str, body: &str) -> String {
    let events: Value = serde_json::from_str(body).unwrap();
    let events = match events {
        Value::Array(_) => events,
        one => json!([one]),
    };
    json!({"api_key": key, "events": events}).to_string()
}
