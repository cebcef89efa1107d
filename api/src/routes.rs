//! What each route needs, in one table, and the one place where it is asked for.
//!
//! A route that is not in [`TABLE`] cannot be served, and one of the table that nobody serves shows
//! in a test.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use http::Method;
use schemas::access::{KeyKind, Scope};

use crate::access::installation::InstallationToken;
use crate::access::{Keyring, presented};
use crate::problem::ApiError;
use crate::registry;

/// What a route asks of whoever calls it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Nothing: it says the same to everybody.
    Nothing,
    /// A key with this scope.
    Key(Scope),
    /// A key with this scope that may also come in the body, as `sendBeacon` has no headers; the
    /// handler asks for it.
    KeyOrBody(Scope),
    /// The installation's own token: it is served on the operator's port and nowhere else.
    Installation,
}

/// A route and what it needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// `GET`, `POST` and so on.
    pub method: &'static str,
    /// The path as axum writes it.
    pub path: &'static str,
    /// What it needs.
    pub needs: Needs,
}

const fn entry(method: &'static str, path: &'static str, needs: Needs) -> Entry {
    Entry {
        method,
        path,
        needs,
    }
}

/// Every route of ours.
pub const TABLE: &[Entry] = &[
    entry("GET", "/health", Needs::Nothing),
    entry("GET", "/api/v1/openapi.json", Needs::Nothing),
    entry("GET", "/api/v1/docs", Needs::Nothing),
    entry(
        "POST",
        "/api/v1/ingestion/events",
        Needs::KeyOrBody(Scope::Ingest),
    ),
    // A browser asks before it sends, without a key.
    entry("OPTIONS", "/api/v1/ingestion/events", Needs::Nothing),
    entry("OPTIONS", "/api/v1/ingestion/events/batch", Needs::Nothing),
    entry(
        "POST",
        "/api/v1/ingestion/events/batch",
        Needs::KeyOrBody(Scope::Ingest),
    ),
    entry(
        "GET",
        "/api/v1/ingestion/events/search",
        Needs::Key(Scope::Read),
    ),
    entry(
        "POST",
        "/api/v1/ingestion/events/search",
        Needs::Key(Scope::Read),
    ),
    entry(
        "GET",
        "/api/v1/ingestion/statistics",
        Needs::Key(Scope::Read),
    ),
    entry("GET", "/api/v1/usage", Needs::Key(Scope::Read)),
    entry("POST", "/v1/traces", Needs::Key(Scope::Ingest)),
    entry("POST", "/v1/logs", Needs::Key(Scope::Ingest)),
    entry("POST", "/api/v1/auth/register/tenant", Needs::Nothing),
    entry("GET", "/api/v1/auth/keys", Needs::Key(Scope::Read)),
    entry("POST", "/api/v1/auth/keys", Needs::Key(Scope::Manage)),
    entry(
        "POST",
        "/api/v1/auth/keys/{id}/rotate",
        Needs::Key(Scope::Manage),
    ),
    entry(
        "DELETE",
        "/api/v1/auth/keys/{id}",
        Needs::Key(Scope::Manage),
    ),
    entry("GET", "/api/v1/meters", Needs::Key(Scope::Read)),
    entry("POST", "/api/v1/meters", Needs::Key(Scope::Manage)),
    entry("POST", "/api/v1/meters/preview", Needs::Key(Scope::Read)),
    entry("GET", "/api/v1/meters/{id}", Needs::Key(Scope::Read)),
    entry("PUT", "/api/v1/meters/{id}", Needs::Key(Scope::Manage)),
    entry("DELETE", "/api/v1/meters/{id}", Needs::Key(Scope::Manage)),
    entry("GET", "/api/v1/feeds", Needs::Key(Scope::Read)),
    entry("POST", "/api/v1/feeds", Needs::Key(Scope::Manage)),
    entry("GET", "/api/v1/feeds/{id}", Needs::Key(Scope::Read)),
    entry("PUT", "/api/v1/feeds/{id}", Needs::Key(Scope::Manage)),
    entry("DELETE", "/api/v1/feeds/{id}", Needs::Key(Scope::Manage)),
    entry(
        "PUT",
        "/api/v1/installation/tenants/{tenant}",
        Needs::Installation,
    ),
    entry(
        "POST",
        "/api/v1/installation/tenants/{tenant}/keys",
        Needs::Installation,
    ),
    entry("GET", "/api/v1/installation/backup", Needs::Installation),
    entry(
        "GET",
        "/api/v1/installation/definitions/{kind}",
        Needs::Installation,
    ),
    entry(
        "GET",
        "/api/v1/installation/tenants/{tenant}/{kind}/{id}",
        Needs::Installation,
    ),
    entry(
        "PUT",
        "/api/v1/installation/tenants/{tenant}/{kind}/{id}",
        Needs::Installation,
    ),
    entry(
        "DELETE",
        "/api/v1/installation/tenants/{tenant}/{kind}/{id}",
        Needs::Installation,
    ),
    // The registry's paths are those of Confluent's: stock serializers know no others.
    entry("GET", "/registry/subjects", Needs::Nothing),
    entry("POST", "/registry/subjects/{subject}", Needs::Nothing),
    entry(
        "GET",
        "/registry/subjects/{subject}/versions",
        Needs::Nothing,
    ),
    entry(
        "POST",
        "/registry/subjects/{subject}/versions",
        Needs::Nothing,
    ),
    entry(
        "GET",
        "/registry/subjects/{subject}/versions/{version}",
        Needs::Nothing,
    ),
    entry(
        "GET",
        "/registry/subjects/{subject}/versions/{version}/schema",
        Needs::Nothing,
    ),
    entry("GET", "/registry/schemas/ids/{id}", Needs::Nothing),
    entry("GET", "/registry/schemas/ids/{id}/schema", Needs::Nothing),
    entry("GET", "/registry/schemas/ids/{id}/subjects", Needs::Nothing),
    entry("GET", "/registry/schemas/ids/{id}/versions", Needs::Nothing),
    entry("GET", "/registry/schemas/types", Needs::Nothing),
    entry("GET", "/registry/config", Needs::Nothing),
    entry("GET", "/registry/config/{subject}", Needs::Nothing),
    entry("GET", "/registry/mode", Needs::Nothing),
    entry("GET", "/registry/mode/{subject}", Needs::Nothing),
    entry(
        "GET",
        "/registry/associations/resources/{namespace}/{name}",
        Needs::Nothing,
    ),
];

/// One route as a part serves it.
pub struct Served {
    method: Method,
    path: &'static str,
    handler: MethodRouter,
}

/// A route of a part; `handler` answers `method` alone.
pub fn served(method: Method, path: &'static str, handler: MethodRouter) -> Served {
    Served {
        method,
        path,
        handler,
    }
}

/// All routes behind what they need.
///
/// # Panics
/// When one of them is not in [`TABLE`]: nobody has said what it needs; or when one is the
/// operator's.
pub fn router(routes: impl IntoIterator<Item = Served>, keyring: &Keyring) -> Router {
    let mut router = Router::new();
    for route in routes {
        let handler = match needs(&route) {
            Needs::Nothing => route.handler,
            Needs::Key(scope) => guarded(route.handler, keyring, scope, false),
            Needs::KeyOrBody(scope) => guarded(route.handler, keyring, scope, true),
            Needs::Installation => panic!("{} is for the operator's port", route.path),
        };
        router = router.route(route.path, handler);
    }
    finished(router)
}

/// The operator's routes behind the installation's token.
///
/// # Panics
/// When one of them is not in [`TABLE`], or is a tenant's.
pub fn operator_router(
    routes: impl IntoIterator<Item = Served>,
    token: &InstallationToken,
) -> Router {
    let mut router = Router::new();
    for route in routes {
        let is_operators = needs(&route) == Needs::Installation;
        assert!(is_operators, "{} is not for the operator", route.path);
        let ask = middleware::from_fn_with_state(token.clone(), ask_token);
        router = router.route(route.path, route.handler.route_layer(ask));
    }
    finished(router)
}

fn needs(route: &Served) -> Needs {
    let mut entries = TABLE.iter();
    let entry = entries.find(|entry| entry.method == route.method && entry.path == route.path);
    match entry {
        Some(entry) => entry.needs,
        None => panic!("{} {} is in no table", route.method, route.path),
    }
}

async fn ask_token(
    State(token): State<InstallationToken>,
    request: Request,
    next: Next,
) -> Response {
    match token.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn finished(router: Router) -> Router {
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

async fn not_found(request: Request) -> Response {
    match is_registry(&request) {
        true => registry::RegistryError::Path.into_response(),
        false => ApiError::not_found().into_response(),
    }
}

async fn method_not_allowed(request: Request) -> Response {
    if is_registry(&request) {
        return registry::RegistryError::ReadOnly.into_response();
    }
    let error = ApiError::new(
        http::StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("this path does not answer {}", request.method()),
    );
    error.into_response()
}

/// True where stock serializers ask, who read errors in Confluent's own form alone.
fn is_registry(request: &Request) -> bool {
    let rest = request.uri().path().strip_prefix(registry::ROOT);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[derive(Clone)]
struct Guard {
    keyring: Keyring,
    scope: Scope,
    /// A request without a key goes on: the handler looks into the body.
    body_may_hold_key: bool,
}

fn guarded(
    handler: MethodRouter,
    keyring: &Keyring,
    scope: Scope,
    body_may_hold_key: bool,
) -> MethodRouter {
    let guard = Guard {
        keyring: keyring.clone(),
        scope,
        body_may_hold_key,
    };
    handler.route_layer(middleware::from_fn_with_state(guard, ask))
}

async fn ask(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    match admit(&guard, &mut request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn admit(guard: &Guard, request: &mut Request) -> Result<(), ApiError> {
    let Some(key) = presented(request.headers())? else {
        return match guard.body_may_hold_key {
            true => Ok(()),
            false => Err(ApiError::unauthorized()),
        };
    };
    let caller = guard.keyring.caller(key)?;
    if !caller.may(guard.scope) {
        let detail = format!("this needs a key with the scope {}", guard.scope.as_str());
        return Err(ApiError::forbidden(detail));
    }
    if caller.key.kind == KeyKind::Public {
        caller.check_origin(request.headers())?;
    }
    request.extensions_mut().insert(caller);
    Ok(())
}
