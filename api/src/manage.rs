//! Routes that change what a tenant defines: itself, keys, meters, feeds.
//!
//! In: requests of keys with `read` or `manage`, registrations, and the operator's own tool. Out:
//! changes of the [`store`](crate::store), each answered when its record is on the control topic.
//!
//! A change that the brokers do not take in time is answered 503, is kept, and is published later:
//! who asks again finds it done. New keys are the exception: nobody has seen their text then, so
//! they are taken back.
//!
//! What is another tenant's is answered just as what does not exist: every look-up names the
//! caller's tenant.
//!
//! Read in this order: [`document`], [`faults`], [`precondition`], [`quota`], [`pace`]; then
//! [`definitions`], [`meters`] and [`feeds`]; [`keys`]; [`password`] and [`register`];
//! [`installation`] and [`backup`]; [`docs`].

pub mod document;
pub mod faults;
pub mod pace;
pub mod precondition;
pub mod quota;

pub mod definitions;
pub mod feeds;
pub mod meters;

pub mod keys;

pub mod password;
pub mod register;

pub mod backup;
pub mod installation;

pub mod docs;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware;
use axum::routing::{delete, get, post, put};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::{Method, StatusCode, header};
use runtime::clock::Deadline;
use rusqlite::ErrorCode;

use crate::access::{Caller, Keyring};
use crate::problem::ApiError;
use crate::routes::{Served, served};
use crate::store::{Change, Registration, Row, Store, StoreError, StoreSettings};
use pace::Pace;
use password::Hasher;
use schemas::control::{ControlKey, Kind, Tenant};
use schemas::ids::TenantId;

pub use docs::Docs;

/// When whoever met an outage may come back.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How long a new key is waited for, and between two looks.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
const KNOWN_LOOK: Duration = Duration::from_millis(2);

/// What these routes work on. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct StoreState {
    store: Store,
    registration: Registration,
    registrations: Arc<DefaultDirectRateLimiter>,
    pace: Pace,
    hasher: Hasher,
    keyring: Keyring,
}

impl StoreState {
    /// The routes' state on this store, in a process that lets these keys in.
    pub fn new(store: Store, settings: &StoreSettings, keyring: Keyring) -> Self {
        let per_minute = NonZeroU32::new(settings.registrations_per_minute);
        let quota = Quota::per_minute(per_minute.unwrap_or(NonZeroU32::MIN));
        Self {
            store,
            registration: settings.registration,
            registrations: Arc::new(RateLimiter::direct(quota)),
            pace: Pace::new(settings.changes_per_minute),
            hasher: Hasher::default(),
            keyring,
        }
    }

    /// Waits a moment for a new key to be let in by this very process, whose view follows the
    /// topic: whoever is handed a key uses it at once.
    async fn until_known(&self, key: &str) {
        let deadline = Deadline::after(KNOWN_WITHIN);
        while self.keyring.caller(key).is_err() && !deadline.has_passed() {
            tokio::time::sleep(KNOWN_LOOK).await;
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// 429 with when to come again.
fn too_many(wait: Duration, what: &'static str) -> ApiError {
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", what);
    error.with_header(header::RETRY_AFTER, (wait.as_secs() + 1).into())
}

/// The routes for tenants.
pub fn routes(state: StoreState) -> Vec<Served> {
    let meter = "/api/v1/meters/{id}";
    let feed = "/api/v1/feeds/{id}";
    let routes = [
        (
            Method::POST,
            "/api/v1/auth/register/tenant",
            post(register::register),
        ),
        (Method::GET, "/api/v1/auth/keys", get(keys::list)),
        (Method::POST, "/api/v1/auth/keys", post(keys::create)),
        (
            Method::POST,
            "/api/v1/auth/keys/{id}/rotate",
            post(keys::rotate),
        ),
        (
            Method::DELETE,
            "/api/v1/auth/keys/{id}",
            delete(keys::revoke),
        ),
        (Method::GET, "/api/v1/meters", get(meters::list)),
        (Method::POST, "/api/v1/meters", post(meters::create)),
        (Method::GET, meter, get(meters::show)),
        (Method::PUT, meter, put(meters::replace)),
        (Method::DELETE, meter, delete(meters::remove)),
        (Method::GET, "/api/v1/feeds", get(feeds::list)),
        (Method::POST, "/api/v1/feeds", post(feeds::create)),
        (Method::GET, feed, get(feeds::show)),
        (Method::PUT, feed, put(feeds::replace)),
        (Method::DELETE, feed, delete(feeds::remove)),
    ];
    let with_state = |(method, path, handler): (_, _, axum::routing::MethodRouter<StoreState>)| {
        let keep = middleware::from_fn_with_state(state.pace.clone(), pace::keep);
        let handler = handler.with_state(state.clone()).route_layer(keep);
        served(method, path, handler)
    };
    routes.map(with_state).into()
}

/// The routes for the operator's own tool, for [`crate::routes::operator_router`].
pub fn installation_routes(state: StoreState) -> Vec<Served> {
    let one = "/api/v1/installation/tenants/{tenant}";
    let definition = "/api/v1/installation/tenants/{tenant}/{kind}/{id}";
    let routes = [
        (Method::PUT, one, put(installation::ensure)),
        (
            Method::POST,
            "/api/v1/installation/tenants/{tenant}/keys",
            post(installation::make_key),
        ),
        (
            Method::GET,
            "/api/v1/installation/backup",
            get(backup::backup),
        ),
        (
            Method::GET,
            "/api/v1/installation/definitions/{kind}",
            get(installation::list),
        ),
        (Method::GET, definition, get(installation::show)),
        (Method::PUT, definition, put(installation::define)),
        (Method::DELETE, definition, delete(installation::remove)),
    ];
    let with_state = |(method, path, handler): (_, _, axum::routing::MethodRouter<StoreState>)| {
        let keep = middleware::from_fn_with_state(state.pace.clone(), pace::keep);
        let handler = handler.with_state(state.clone()).route_layer(keep);
        served(method, path, handler)
    };
    routes.map(with_state).into()
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unpublished => Self::unavailable(
                "the change is kept, and will be published as soon as the brokers take it; ask \
                 again to find it done",
                RETRY_AFTER,
            ),
            StoreError::NotTakenOver => Self::unavailable(
                "nothing can be changed before the brokers were reached for the first time",
                RETRY_AFTER,
            ),
            StoreError::Sql(cause) if is_passing(&cause) => {
                tracing::error!(error = %cause, "the control store cannot be written");
                Self::unavailable("the control store cannot be written now", RETRY_AFTER)
            }
            error => Self::internal(&error),
        }
    }
}

/// True for what an operator mends without us: a full disk, a file system that does not answer.
fn is_passing(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    code.is_some_and(|code| {
        matches!(
            code,
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
        )
    })
}

/// The key of a tenant's own definition.
fn tenant_key(tenant: &TenantId) -> ControlKey {
    ControlKey {
        tenant: tenant.clone(),
        kind: Kind::Tenant,
        id: "self".into(),
    }
}

/// What the store says of a caller's tenant, in the change that it asked for.
///
/// # Errors
/// 401 when tenant or key are gone in the store and the topic does not say so yet.
fn tenant_of(change: &Change<'_>, caller: &Caller) -> Result<Tenant, ApiError> {
    let key = ControlKey {
        tenant: caller.tenant.clone(),
        kind: Kind::Key,
        id: caller.key_id.to_string(),
    };
    if change.live(&key)?.is_none() {
        return Err(ApiError::unauthorized());
    }
    let held = change.live(&tenant_key(&caller.tenant))?;
    let Some(row) = held else {
        return Err(ApiError::unauthorized());
    };
    tenant_in(&row)
}

fn tenant_in(row: &Row) -> Result<Tenant, ApiError> {
    match row.definition()? {
        Some(schemas::control::Definition::Tenant(tenant)) => Ok(tenant),
        _ => Err(ApiError::internal(&"a tenant's row holds no tenant")),
    }
}
