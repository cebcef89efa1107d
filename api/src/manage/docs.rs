//! What these routes take and give, for the API's description. Nothing here is made at run time.
//!
//! Definitions are the language of `schemas`, which knows no HTTP; these are their twins.

use std::collections::BTreeMap;

use schemas::control::{Channel, Exchange};
use serde_json::Value;
use utoipa::openapi::{RefOr, Response};
use utoipa::{IntoResponses, ToSchema};

use super::{backup, feeds, installation, keys, meters, register};
use crate::problem::{FieldFault, Problem, problems};

/// All of this part's paths and shapes.
#[derive(utoipa::OpenApi)]
#[openapi(
    paths(
        register::register,
        keys::list,
        keys::create,
        keys::rotate,
        keys::revoke,
        meters::list,
        meters::create,
        meters::show,
        meters::replace,
        meters::remove,
        feeds::list,
        feeds::create,
        feeds::show,
        feeds::replace,
        feeds::remove,
    ),
    components(schemas(Problem, FieldFault))
)]
pub struct Docs;

/// The operator's own routes, which are on another port.
#[derive(utoipa::OpenApi)]
#[openapi(
    paths(
        installation::ensure,
        installation::make_key,
        installation::list,
        installation::show,
        installation::define,
        installation::remove,
        backup::backup,
    ),
    components(schemas(Problem, FieldFault))
)]
pub struct InstallationDocs;

/// A meter. `docs/meters.md` has the language.
#[derive(ToSchema)]
#[schema(example = json!({
    "id": "orders",
    "filter": {"event_type": "api_call"},
    "value": "metrics.duration_ms",
    "group_by": ["subject"],
    "windows": [{"kind": "tumbling", "width_ms": 60000}],
    "aggregates": [
        {"name": "requests", "function": "count"},
        {"name": "p95", "function": "quantile", "q": "0.95"},
    ],
}))]
#[expect(dead_code, reason = "described, and never made")]
pub struct Meter {
    /// 1 to 64 letters, digits, `-`, `_` or `.`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    id: String,
    /// Which events it counts.
    #[schema(required = false)]
    filter: Option<Value>,
    /// The number that its aggregates are of, `metrics.<name>`.
    value: Option<String>,
    /// The weight of `vwap`, `metrics.<name>`.
    weight: Option<String>,
    /// What makes a group.
    group_by: Vec<String>,
    /// The windows.
    #[schema(value_type = Vec<Object>)]
    windows: Vec<Value>,
    /// What is computed per window.
    #[schema(value_type = Vec<Object>)]
    aggregates: Vec<Value>,
    /// Grows with each change.
    #[schema(read_only)]
    version: i64,
    /// RFC 3339.
    #[schema(read_only)]
    created_at: String,
    /// RFC 3339.
    #[schema(read_only)]
    changed_at: String,
}

/// A page of meters.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described, and never made")]
pub struct MeterPage {
    /// By id.
    meters: Vec<Meter>,
    /// What to ask for as `after`; null at the end.
    next: Option<String>,
}

/// A feed from an exchange.
#[derive(ToSchema)]
#[schema(example = json!({
    "id": "coinbase",
    "exchange": "coinbase_exchange",
    "products": ["BTC-USD"],
    "channels": ["trades", "quotes"],
}))]
#[expect(dead_code, reason = "described, and never made")]
pub struct Feed {
    /// 1 to 64 letters, digits, `-`, `_` or `.`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    id: String,
    /// `coinbase_exchange` or `coinbase_advanced`.
    #[schema(value_type = String)]
    exchange: Exchange,
    /// The exchange's own names of markets, `BTC-USD` for instance.
    #[schema(min_items = 1, max_items = 1000)]
    products: Vec<String>,
    /// `quotes`, `trades` and `depth`.
    #[schema(value_type = Vec<String>, min_items = 1)]
    channels: Vec<Channel>,
    /// False pauses it.
    #[schema(default = true, required = false)]
    enabled: bool,
    /// Grows with each change.
    #[schema(read_only)]
    version: i64,
    /// RFC 3339.
    #[schema(read_only)]
    created_at: String,
    /// RFC 3339.
    #[schema(read_only)]
    changed_at: String,
}

/// A page of feeds.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described, and never made")]
pub struct FeedPage {
    /// By id.
    feeds: Vec<Feed>,
    /// What to ask for as `after`; null at the end.
    next: Option<String>,
}

/// What a page may be refused with.
pub struct SeenPage;
/// What a look at one thing may be refused with.
pub struct Seen;
/// What making a thing may be refused with.
pub struct Made;
/// What changing a thing may be refused with.
pub struct Changed;
/// What a registration may be refused with.
pub struct Registered;

impl IntoResponses for SeenPage {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 401, 403, 429, 500, 503])
    }
}

impl IntoResponses for Seen {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[401, 403, 404, 429, 500, 503])
    }
}

impl IntoResponses for Made {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 503])
    }
}

impl IntoResponses for Changed {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 429, 500, 503,
        ])
    }
}

impl IntoResponses for Registered {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 403, 408, 409, 413, 415, 422, 429, 500, 503])
    }
}

#[cfg(test)]
mod tests {
    use utoipa::OpenApi;

    use super::*;
    use crate::routes::{Needs, TABLE};

    /// The routes of the table under these paths, each with its description.
    #[track_caller]
    fn check(docs: &Value, is_ours: impl Fn(&str) -> bool) {
        let entries = TABLE.iter().filter(|entry| is_ours(entry.path));
        let mut count = 0;
        for entry in entries {
            let method = entry.method.to_lowercase();
            let route = &docs["paths"][entry.path][&method];
            assert!(route.is_object(), "{method} {}", entry.path);
            let asks_for_key = !matches!(entry.needs, Needs::Nothing);
            let answers = route["responses"].as_object().expect("answers");
            assert_eq!(answers.contains_key("401"), asks_for_key, "{}", entry.path);
            count += 1;
        }
        let paths = docs["paths"].as_object().expect("paths").values();
        let described: usize = paths
            .map(|path| path.as_object().map_or(0, serde_json::Map::len))
            .sum();
        assert_eq!(described, count, "nothing else is described");
    }

    #[test]
    fn every_route_of_this_part_is_described() {
        let docs = serde_json::to_value(Docs::openapi()).expect("plain JSON");
        let starts = ["/api/v1/auth/", "/api/v1/meters", "/api/v1/feeds"];
        check(&docs, |path| {
            path != "/api/v1/meters/preview" && starts.iter().any(|start| path.starts_with(start))
        });
        let docs = serde_json::to_value(InstallationDocs::openapi()).expect("plain JSON");
        check(&docs, |path| path.starts_with("/api/v1/installation/"));
    }
}
