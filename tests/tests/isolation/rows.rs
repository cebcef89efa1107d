//! What is said of each route.

use std::collections::BTreeSet;

use api::routes::TABLE;

/// A door of the installation: a process's own listener.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Door {
    /// pulse-api's, for everybody.
    Api,
    /// pulse-gateway's.
    Gateway,
    /// pulse-api's, for the operator.
    Operator,
}

impl Door {
    pub(crate) const ALL: [Self; 3] = [Self::Api, Self::Gateway, Self::Operator];
}

/// What stands for `{x}` in a row's target and body: a thing of the own tenant that exists, and one
/// of the same form that nobody has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum About {
    /// Nothing that anybody has.
    Nothing,
    Meter,
    Feed,
    Key,
    /// An event that was searched for.
    Event,
    /// An event that is posted once more.
    Posted,
    /// The tenant itself.
    Tenant,
    /// The tenant's slug, beside one that the installation keeps for itself.
    Slug,
}

/// What is sent, with `{x}` in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    None,
    Json(&'static str),
    /// The text of the schema of events, as a serializer posts it.
    Schema,
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) method: &'static str,
    /// As `TABLE` has it.
    pub(crate) path: &'static str,
    /// As it is asked.
    pub(crate) target: &'static str,
    pub(crate) doors: &'static [Door],
    pub(crate) about: About,
    pub(crate) body: Body,
    /// The status for whoever may.
    pub(crate) own: u16,
    /// The status for a foreign tenant that may do everything at home.
    pub(crate) foreign: u16,
}

const API: &[Door] = &[Door::Api];
const INGEST: &[Door] = &[Door::Api, Door::Gateway];
const OPERATOR: &[Door] = &[Door::Operator];

/// A route that gets `{x}` nowhere, and answers every tenant alike.
const fn row(method: &'static str, path: &'static str, doors: &'static [Door]) -> Row {
    Row {
        method,
        path,
        target: path,
        doors,
        about: About::Nothing,
        body: Body::None,
        own: 200,
        foreign: 200,
    }
}

impl Row {
    const fn about(self, about: About, target: &'static str) -> Self {
        Self {
            about,
            target,
            ..self
        }
    }

    const fn sends(self, body: &'static str) -> Self {
        Self {
            body: Body::Json(body),
            ..self
        }
    }

    const fn sends_schema(self) -> Self {
        Self {
            body: Body::Schema,
            ..self
        }
    }

    const fn answers(self, own: u16, foreign: u16) -> Self {
        Self {
            own,
            foreign,
            ..self
        }
    }
}

const EVENTS: &str = "/api/v1/ingestion/events";
const BATCH: &str = "/api/v1/ingestion/events/batch";
const SEARCH: &str = "/api/v1/ingestion/events/search";
const KEYS: &str = "/api/v1/auth/keys";
const METERS: &str = "/api/v1/meters";
const FEEDS: &str = "/api/v1/feeds";
const DEFINITION: &str = "/api/v1/installation/tenants/{tenant}/{kind}/{id}";
const OF_TENANT: &str = "/api/v1/installation/tenants/{x}/meter/calls";
const SUBJECT: &str = "/registry/subjects/{subject}";
const VERSIONS: &str = "/registry/subjects/{subject}/versions";

const EVENT: &str = r#"{"event_id": "{x}", "event_type": "custom_event", "name": "isolation",
    "timestamp": "2026-01-02T03:04:05Z", "source": {"service": "table"}}"#;
const MANY: &str = r#"[{"event_id": "{x}", "event_type": "custom_event", "name": "isolation",
    "timestamp": "2026-01-02T03:04:05Z", "source": {"service": "table"}}]"#;
const METER: &str = r#"{"filter": {"event_type": "api_call"}, "group_by": ["subject"],
    "windows": [{"kind": "tumbling", "width_ms": 1000}],
    "aggregates": [{"name": "n", "function": "count"}]}"#;
const NEW_METER: &str = r#"{"id": "{x}", "filter": {"event_type": "api_call"},
    "group_by": ["subject"], "windows": [{"kind": "tumbling", "width_ms": 1000}],
    "aggregates": [{"name": "n", "function": "count"}]}"#;
const PREVIEW: &str = r#"{"filter": {"all": [{"field": "subject", "eq": "{x}"}]},
    "group_by": ["subject"], "windows": [{"kind": "tumbling", "width_ms": 60000}],
    "aggregates": [{"name": "events", "function": "count"}]}"#;
const FEED: &str = r#"{"exchange": "coinbase_exchange", "products": ["BTC-USD"],
    "channels": ["trades"], "enabled": false}"#;
const NEW_FEED: &str = r#"{"id": "{x}", "exchange": "coinbase_exchange",
    "products": ["BTC-USD"], "channels": ["trades"], "enabled": false}"#;
const SPANS: &str = r#"{"resourceSpans": [{"resource": {"attributes": [{"key": "service.name",
    "value": {"stringValue": "table"}}]}, "scopeSpans": [{"spans": [{"name": "GET /",
    "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "kind": 2,
    "startTimeUnixNano": "1767323045000000000", "endTimeUnixNano": "1767323045100000000",
    "attributes": [{"key": "http.request.method", "value": {"stringValue": "GET"}}]}]}]}]}"#;
const LOGS: &str = r#"{"resourceLogs": [{"resource": {"attributes": [{"key": "service.name",
    "value": {"stringValue": "table"}}]}, "scopeLogs": [{"logRecords": [{
    "timeUnixNano": "1767323045000000000", "body": {"stringValue": "said"}}]}]}]}"#;
const REGISTRATION: &str = r#"{"name": "Another", "slug": "{x}",
    "owner_email": "other@elsewhere.example", "owner_password": "battery horse correct"}"#;
const NEW_KEY: &str = r#"{"name": "made by the table", "scopes": ["manage"]}"#;

/// Every route.
pub(crate) const ROWS: &[Row] = &[
    row("GET", "/health", INGEST),
    row("GET", "/api/v1/openapi.json", API),
    row("GET", "/api/v1/docs", API),
    row("POST", "/api/v1/auth/register/tenant", API)
        .about(About::Slug, "/api/v1/auth/register/tenant")
        .sends(REGISTRATION)
        .answers(409, 409),
    // What comes in.
    row("OPTIONS", EVENTS, INGEST).answers(204, 204),
    row("OPTIONS", BATCH, INGEST).answers(204, 204),
    row("POST", EVENTS, INGEST)
        .about(About::Posted, EVENTS)
        .sends(EVENT),
    row("POST", BATCH, INGEST)
        .about(About::Posted, BATCH)
        .sends(MANY),
    row("POST", "/v1/traces", INGEST).sends(SPANS),
    row("POST", "/v1/logs", INGEST).sends(LOGS),
    // What is read.
    row("GET", SEARCH, API).about(
        About::Event,
        "/api/v1/ingestion/events/search?event_id={x}&from={from}&to={to}",
    ),
    row("POST", SEARCH, API)
        .about(About::Event, SEARCH)
        .sends(r#"{"event_id": "{x}", "from": "{from}", "to": "{to}"}"#),
    row("GET", "/api/v1/ingestion/statistics", API),
    row("GET", "/api/v1/usage", API),
    // What is defined.
    row("GET", KEYS, API).about(About::Key, "/api/v1/auth/keys?after={x}"),
    row("POST", KEYS, API).sends(NEW_KEY).answers(201, 201),
    row("POST", "/api/v1/auth/keys/{id}/rotate", API)
        .about(About::Key, "/api/v1/auth/keys/{x}/rotate")
        .sends(r#"{"overlap_s": 3600}"#)
        .answers(201, 404),
    row("DELETE", "/api/v1/auth/keys/{id}", API)
        .about(About::Key, "/api/v1/auth/keys/{x}")
        .answers(204, 404),
    row("GET", METERS, API).about(About::Meter, "/api/v1/meters?after={x}"),
    row("POST", METERS, API)
        .about(About::Meter, METERS)
        .sends(NEW_METER)
        .answers(201, 201),
    row("POST", "/api/v1/meters/preview", API)
        .about(About::Event, "/api/v1/meters/preview")
        .sends(PREVIEW),
    row("GET", "/api/v1/meters/{id}", API)
        .about(About::Meter, "/api/v1/meters/{x}")
        .answers(200, 404),
    row("PUT", "/api/v1/meters/{id}", API)
        .about(About::Meter, "/api/v1/meters/{x}")
        .sends(METER)
        .answers(200, 404),
    row("DELETE", "/api/v1/meters/{id}", API)
        .about(About::Meter, "/api/v1/meters/{x}")
        .answers(204, 404),
    row("GET", FEEDS, API).about(About::Feed, "/api/v1/feeds?after={x}"),
    row("POST", FEEDS, API)
        .about(About::Feed, FEEDS)
        .sends(NEW_FEED)
        .answers(201, 201),
    row("GET", "/api/v1/feeds/{id}", API)
        .about(About::Feed, "/api/v1/feeds/{x}")
        .answers(200, 404),
    row("PUT", "/api/v1/feeds/{id}", API)
        .about(About::Feed, "/api/v1/feeds/{x}")
        .sends(FEED)
        .answers(200, 404),
    row("DELETE", "/api/v1/feeds/{id}", API)
        .about(About::Feed, "/api/v1/feeds/{x}")
        .answers(204, 404),
    // The operator's.
    row("PUT", "/api/v1/installation/tenants/{tenant}", OPERATOR)
        .about(About::Tenant, "/api/v1/installation/tenants/{x}")
        .sends(r#"{"name": "Acme"}"#),
    row(
        "POST",
        "/api/v1/installation/tenants/{tenant}/keys",
        OPERATOR,
    )
    .about(About::Tenant, "/api/v1/installation/tenants/{x}/keys")
    .sends(NEW_KEY)
    .answers(201, 401),
    row("GET", "/api/v1/installation/backup", OPERATOR),
    row("GET", "/api/v1/installation/definitions/{kind}", OPERATOR).about(
        About::Tenant,
        "/api/v1/installation/definitions/meter?after_tenant={x}",
    ),
    row("GET", DEFINITION, OPERATOR).about(About::Tenant, OF_TENANT),
    row("PUT", DEFINITION, OPERATOR)
        .about(About::Tenant, OF_TENANT)
        .sends(METER),
    row("DELETE", DEFINITION, OPERATOR).about(
        About::Tenant,
        "/api/v1/installation/tenants/{x}/meter/spare",
    ),
    // The registry's.
    row("GET", "/registry/subjects", API),
    row("POST", SUBJECT, API)
        .about(About::Tenant, "/registry/subjects/pulse.{x}.events-value")
        .sends_schema(),
    row("GET", VERSIONS, API).about(
        About::Tenant,
        "/registry/subjects/pulse.{x}.events-value/versions",
    ),
    row("POST", VERSIONS, API)
        .about(
            About::Tenant,
            "/registry/subjects/pulse.{x}.events-value/versions",
        )
        .sends_schema(),
    row(
        "GET",
        "/registry/subjects/{subject}/versions/{version}",
        API,
    )
    .about(
        About::Tenant,
        "/registry/subjects/pulse.{x}.events-value/versions/1",
    ),
    row(
        "GET",
        "/registry/subjects/{subject}/versions/{version}/schema",
        API,
    )
    .about(
        About::Tenant,
        "/registry/subjects/pulse.{x}.events-value/versions/1/schema",
    ),
    row("GET", "/registry/schemas/ids/{id}", API).about(About::Nothing, "/registry/schemas/ids/1"),
    row("GET", "/registry/schemas/ids/{id}/schema", API)
        .about(About::Nothing, "/registry/schemas/ids/1/schema"),
    row("GET", "/registry/schemas/ids/{id}/subjects", API)
        .about(About::Nothing, "/registry/schemas/ids/1/subjects"),
    row("GET", "/registry/schemas/ids/{id}/versions", API)
        .about(About::Nothing, "/registry/schemas/ids/1/versions"),
    row("GET", "/registry/schemas/types", API),
    row("GET", "/registry/config", API),
    row("GET", "/registry/config/{subject}", API)
        .about(About::Tenant, "/registry/config/pulse.{x}.events-value"),
    row("GET", "/registry/mode", API),
    row("GET", "/registry/mode/{subject}", API)
        .about(About::Tenant, "/registry/mode/pulse.{x}.events-value"),
    row(
        "GET",
        "/registry/associations/resources/{namespace}/{name}",
        API,
    )
    .about(
        About::Tenant,
        "/registry/associations/resources/-/pulse.{x}.events",
    ),
];

#[test]
fn no_route_is_without_a_row_and_no_row_without_a_route() {
    let routes: Vec<_> = TABLE
        .iter()
        .map(|entry| (entry.method, entry.path))
        .collect();
    let rows: Vec<_> = ROWS.iter().map(|row| (row.method, row.path)).collect();
    let (route_set, row_set): (BTreeSet<_>, BTreeSet<_>) =
        (routes.iter().collect(), rows.iter().collect());
    let missing: Vec<_> = route_set.difference(&row_set).collect();
    let unknown: Vec<_> = row_set.difference(&route_set).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "routes without a row: {missing:?}; rows without a route: {unknown:?}"
    );
    assert_eq!(
        (routes.len(), rows.len()),
        (route_set.len(), row_set.len()),
        "each once"
    );
}
