//! The API's description, made from its code: each part describes its routes, and what a route
//! needs comes from [`crate::routes::TABLE`], so neither can say what the other does not do.

mod page;

use axum::response::{Html, IntoResponse};
use axum::routing::get;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::problem::{FieldFault, Problem};
use crate::routes::{Entry, Needs, Served, TABLE, served};
use crate::{intake, manage, query, registry, system};

/// The parts that every program of ours serves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "PulseStream",
        description = "Events in, definitions changed, what is known read; each tenant by its keys."
    ),
    components(schemas(Problem, FieldFault))
)]
struct Frame;

/// The whole description, as OpenAPI 3.1 in JSON.
pub fn description() -> Value {
    let mut whole = Frame::openapi();
    let parts = [
        intake::docs::Docs::openapi(),
        query::Docs::openapi(),
        manage::Docs::openapi(),
        registry::Docs::openapi(),
        system::Docs::openapi(),
        Docs::openapi(),
    ];
    for part in parts {
        whole.merge(part);
    }
    let mut whole = serde_json::to_value(whole).expect("a description is JSON");
    whole["components"]["securitySchemes"] = json!({
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    });
    for entry in described() {
        let method = entry.method.to_ascii_lowercase();
        let operation = whole["paths"]
            .get_mut(entry.path)
            .and_then(|path| path.get_mut(method));
        if let Some(operation) = operation {
            describe(operation, entry.needs);
        }
    }
    whole
}

/// The routes that are for tenants: the operator's own are no part of the API.
fn described() -> impl Iterator<Item = &'static Entry> {
    let is_public = |entry: &&Entry| entry.needs != Needs::Installation;
    TABLE
        .iter()
        .filter(is_public)
        .filter(|entry| entry.method != "OPTIONS")
}

/// What the table and the frame know of a route.
fn describe(operation: &mut Value, needs: Needs) {
    let problem = |description: &str| {
        let schema = json!({"$ref": "#/components/schemas/Problem"});
        let content = json!({"application/problem+json": {"schema": schema}});
        json!({"description": description, "content": content})
    };
    let scope = match needs {
        Needs::Nothing | Needs::Installation => {
            // Whatever the part says of keys that it does not ask for.
            if let Some(operation) = operation.as_object_mut() {
                operation.remove("security");
            }
            return;
        }
        Needs::Key(scope) | Needs::KeyOrBody(scope) => scope.as_str(),
    };
    operation["security"] = json!([{"key": [scope]}, {"bearer": [scope]}]);
    let needed = format!("the key has not the scope {scope}");
    let responses = &mut operation["responses"];
    for (status, description) in [("401", "no key, or one that is nobody's"), ("403", &needed)] {
        if responses.get(status).is_none() {
            responses[status] = problem(description);
        }
    }
}

/// The routes of this part.
pub fn routes() -> Vec<Served> {
    let (json, html) = (description().to_string(), page::page(&description()));
    let shown = |kind: &'static str, text: String| {
        get(async move || ([(header::CONTENT_TYPE, kind)], text.clone()).into_response())
    };
    vec![
        served(
            Method::GET,
            "/api/v1/openapi.json",
            shown("application/json", json),
        ),
        served(
            Method::GET,
            "/api/v1/docs",
            get(async move || (page::HEADERS, Html(html.clone())).into_response()),
        ),
    ]
}

/// The API's description as OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "system",
    responses((status = 200, description = "the description", content_type = "application/json"))
)]
#[expect(
    dead_code,
    reason = "it carries the description of a route that is a closure"
)]
fn openapi_json() -> StatusCode {
    StatusCode::OK
}

/// The API's description as a page.
#[utoipa::path(
    get,
    path = "/api/v1/docs",
    tag = "system",
    responses((status = 200, description = "the page", content_type = "text/html"))
)]
#[expect(
    dead_code,
    reason = "it carries the description of a route that is a closure"
)]
fn docs_page() -> StatusCode {
    StatusCode::OK
}

/// This part of the description.
#[derive(OpenApi)]
#[openapi(paths(openapi_json, docs_page))]
pub struct Docs;

#[cfg(test)]
mod tests {
    use super::*;

    /// `GET /path` for each route that is described.
    fn in_description() -> Vec<String> {
        let description = description();
        let paths = description["paths"].as_object().unwrap();
        let of_path = |(path, item): (&String, &Value)| {
            let methods = item.as_object().unwrap().keys();
            let methods = methods.filter(|method| METHODS.contains(&method.as_str()));
            methods
                .map(|method| format!("{} {path}", method.to_uppercase()))
                .collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }

    const METHODS: [&str; 5] = ["get", "post", "put", "delete", "options"];

    #[test]
    fn what_is_described_is_what_the_table_has() {
        let mut shown = in_description();
        let mut table: Vec<_> = described()
            .map(|entry| format!("{} {}", entry.method, entry.path))
            .collect();
        shown.sort();
        table.sort();
        assert_eq!(shown, table);
    }

    #[test]
    fn a_route_that_needs_a_key_says_so() {
        let description = description();
        for entry in described() {
            let operation = &description["paths"][entry.path][entry.method.to_lowercase()];
            let is_open = entry.needs == Needs::Nothing;
            assert_eq!(operation["security"].is_null(), is_open, "{entry:?}");
            assert_eq!(
                operation["responses"]["401"].is_null(),
                is_open,
                "{entry:?}"
            );
        }
    }
}
