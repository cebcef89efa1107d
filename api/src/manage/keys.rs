//! `/api/v1/auth/keys`: made, listed, rotated, revoked. A key's text is in one answer, and nowhere
//! else ever.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use runtime::clock;
use schemas::access::{ApiKey, KeyKind, Scope};
use schemas::control::{ControlKey, Definition, Kind, Tenant};
use schemas::ids::TenantId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::definitions::{held, time};
use super::docs::{Changed, Made, SeenPage};
use super::document::{Document, IdPath, Page, PageQuery, invalid, key_of, page_of};
use super::{RETRY_AFTER, StoreState, faults, quota, tenant_of};
use crate::access::{Caller, secret};
use crate::problem::{ApiError, FieldFault};
use crate::store::{Change, Row, StoreError};

/// Seconds that a rotated key may go on.
const OVERLAP_S_MAX: u32 = 30 * 86_400;

/// A key that expired so long ago is forgotten when another one is made.
const EXPIRED_KEPT_MS: i64 = 7 * 86_400_000;

/// A key to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "checkout", "scopes": ["ingest"]}))]
pub struct NewKey {
    /// What people call it, up to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// `secret` for a server, `public` for pages in browsers.
    #[serde(default = "secret_kind")]
    #[schema(value_type = Option<String>, default = "secret")]
    kind: KeyKind,
    /// `ingest`, `read`, `manage`: none that the key that makes it lacks.
    #[schema(value_type = Vec<String>, min_items = 1)]
    scopes: BTreeSet<Scope>,
    /// From which pages a public key is taken, `https://shop.example` for instance.
    #[serde(default)]
    #[schema(max_items = 32, required = false)]
    origins: Vec<String>,
    /// From when on it is nothing, RFC 3339; never when left out.
    #[serde(default)]
    expires_at: Option<String>,
    /// Events a second through this key; the tenant's limit alone when left out.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 4294967295_u64, format = Int64)]
    events_per_second: Option<u32>,
}

fn secret_kind() -> KeyKind {
    KeyKind::Secret
}

/// How a key is rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// How many seconds the old key goes on; 0, which ends it at once, when left out.
    #[serde(default)]
    #[schema(maximum = 2_592_000)]
    overlap_s: u32,
}

/// A key as everybody may see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyView {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `secret` or `public`.
    #[schema(value_type = String)]
    pub kind: KeyKind,
    /// What it may do.
    #[schema(value_type = Vec<String>)]
    pub scopes: BTreeSet<Scope>,
    /// From which pages it is taken.
    pub origins: Vec<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; never when null.
    pub expires_at: Option<String>,
    /// Events a second through it.
    pub events_per_second: Option<u32>,
    /// Its last letters; unknown of one from before the store.
    pub last_four: Option<String>,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownKey {
    /// The key itself: it is shown here and never again.
    pub key: String,
    /// What else is known of it.
    #[serde(flatten)]
    pub about: KeyView,
}

/// A page of keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyPage {
    /// By id.
    pub keys: Vec<KeyView>,
    /// What to ask for as `after`; null at the end.
    pub next: Option<String>,
}

/// A key's text and what is published of it.
pub(super) struct Fresh {
    id: String,
    text: String,
    key: ApiKey,
}

impl Fresh {
    /// Makes a text for this key, whose hash is replaced.
    pub(super) fn of(mut key: ApiKey) -> Result<Self, ApiError> {
        let failed = |error: getrandom::Error| ApiError::internal(&error);
        let text = secret::generate(key.kind).map_err(failed)?;
        key.hash = secret::hash(&text);
        let id = fresh_id("key").map_err(failed)?;
        Ok(Self { id, text, key })
    }

    fn control_key(&self, tenant: &TenantId) -> ControlKey {
        ControlKey {
            tenant: tenant.clone(),
            kind: Kind::Key,
            id: self.id.clone(),
        }
    }

    /// Writes it.
    pub(super) fn put(&self, change: &mut Change<'_>, tenant: &TenantId) -> Result<Row, ApiError> {
        let last_four = &self.text[self.text.len() - 4..];
        change.put_hint(tenant, &self.id, last_four)?;
        let definition = Definition::Key(self.key.clone());
        Ok(change.put(&self.control_key(tenant), &definition)?)
    }

    /// What its maker sees, once.
    pub(super) fn shown(self, row: &Row) -> Result<ShownKey, ApiError> {
        let last_four = self.text[self.text.len() - 4..].to_owned();
        Ok(ShownKey {
            about: key_view(row, Some(last_four))?,
            key: self.text,
        })
    }
}

/// An id of 80 random bits behind a word that tells what it is of.
pub(super) fn fresh_id(prefix: &str) -> Result<String, getrandom::Error> {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{prefix}_{digits}"))
}

/// The key that a body asks for, with an empty hash.
pub(super) fn asked(document: &Document) -> Result<ApiKey, ApiError> {
    let new: NewKey = document.read()?;
    let expires_at_ms = match new.expires_at {
        Some(text) => Some(instant(&text)?),
        None => None,
    };
    let key = ApiKey {
        name: new.name,
        kind: new.kind,
        hash: secret::hash(""),
        scopes: new.scopes,
        origins: new.origins,
        expires_at_ms,
        events_per_second: new.events_per_second,
    };
    let faults = key.faults();
    match faults.is_empty() {
        true => Ok(key),
        false => Err(invalid(faults::located(Kind::Key, faults))),
    }
}

/// A moment to come, in milliseconds since 1970.
fn instant(text: &str) -> Result<i64, ApiError> {
    let wrong = |reason| invalid([FieldFault::new("/expires_at", reason)]);
    let instant: jiff::Timestamp = text
        .parse()
        .map_err(|_| wrong("is an instant of RFC 3339, 2030-01-01T00:00:00Z for instance"))?;
    match instant.as_millisecond() {
        ms if ms > clock::now_ms() => Ok(ms),
        _ => Err(wrong("is over already")),
    }
}

fn key_in(row: &Row) -> Result<ApiKey, ApiError> {
    match row.definition()? {
        Some(Definition::Key(key)) => Ok(key),
        _ => Err(ApiError::internal(&"a key's row holds no key")),
    }
}

fn key_view(row: &Row, last_four: Option<String>) -> Result<KeyView, ApiError> {
    let key = key_in(row)?;
    Ok(KeyView {
        id: row.key.id.clone(),
        name: key.name,
        kind: key.kind,
        scopes: key.scopes,
        origins: key.origins,
        created_at: time(row.created_at_us),
        expires_at: key.expires_at_ms.map(|ms| time(ms.saturating_mul(1_000))),
        events_per_second: key.events_per_second,
        last_four,
    })
}

/// The tenant's keys, by id; never a key itself.
#[utoipa::path(get, path = "/api/v1/auth/keys", tag = "keys", params(Page),
    responses((status = 200, description = "A page of them.", body = KeyPage), SeenPage),
    security(("api_key" = ["read"])))]
pub async fn list(
    State(state): State<StoreState>,
    caller: Caller,
    query: PageQuery,
) -> Result<Json<KeyPage>, ApiError> {
    let page = page_of(query)?;
    let look = move |change: &Change<'_>| {
        let rows = change.list(&caller.tenant, Kind::Key, &page.after, page.limit)?;
        let is_full = u32::try_from(rows.len()).is_ok_and(|count| count >= page.limit);
        let next = rows.last().filter(|_| is_full);
        let next = next.map(|row| row.key.id.clone());
        let mut keys = Vec::with_capacity(rows.len());
        for row in &rows {
            let last_four = change.hint(&caller.tenant, &row.key.id)?;
            keys.push(key_view(row, last_four)?);
        }
        Ok::<_, ApiError>(KeyPage { keys, next })
    };
    Ok(Json(state.store.read(look).await?))
}

/// A new key, which is in this answer and never shown again.
#[utoipa::path(post, path = "/api/v1/auth/keys", tag = "keys", request_body = NewKey,
    responses((status = 201, description = "It holds within 2 s.", body = ShownKey), Made),
    security(("api_key" = ["manage"])))]
pub async fn create(
    State(state): State<StoreState>,
    caller: Caller,
    document: Document,
) -> Result<Response, ApiError> {
    let key = asked(&document)?;
    check_gift(&caller, &key)?;
    let make = move |change: &mut Change<'_>, fresh: &Fresh| {
        let tenant = tenant_of(change, &caller)?;
        add(change, &caller.tenant, &tenant, fresh)
    };
    let undo = |_: &mut Change<'_>| Ok(());
    let (fresh, row) = make_key(&state, Fresh::of(key)?, make, undo).await?;
    shown_once(fresh.shown(&row)?)
}

/// An answer with a key in it: nobody between us and its holder is to keep it.
pub(super) fn shown_once(key: ShownKey) -> Result<Response, ApiError> {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(key)).into_response())
}

/// A key gives no more than it has, and for no longer.
fn check_gift(caller: &Caller, key: &ApiKey) -> Result<(), ApiError> {
    if let Some(scope) = key.scopes.iter().find(|scope| !caller.may(**scope)) {
        return Err(ApiError::forbidden(format!(
            "a key cannot give the scope {}, which it has not itself",
            scope.as_str()
        )));
    }
    match (caller.key.expires_at_ms, key.expires_at_ms) {
        (Some(own), given) if given.is_none_or(|given| given > own) => {
            Err(ApiError::forbidden(format!(
                "a key cannot give one that outlives it, beyond {}",
                time(own * 1_000)
            )))
        }
        _ => Ok(()),
    }
}

/// Adds a key to a tenant that may have one more.
pub(super) fn add(
    change: &mut Change<'_>,
    id: &TenantId,
    tenant: &Tenant,
    fresh: &Fresh,
) -> Result<Row, ApiError> {
    forget_expired(change, id)?;
    quota::check_one_more(change, id, tenant.tier, Kind::Key)?;
    fresh.put(change, id)
}

/// Makes a key known to all. Where the brokers do not take it in time it is taken back, with what
/// `undo` does beside: nobody has seen it.
pub(super) async fn make_key(
    state: &StoreState,
    fresh: Fresh,
    make: impl FnOnce(&mut Change<'_>, &Fresh) -> Result<Row, ApiError> + Send + 'static,
    undo: impl FnOnce(&mut Change<'_>) -> Result<(), StoreError> + Send + 'static,
) -> Result<(Fresh, Row), ApiError> {
    let make = move |change: &mut Change<'_>| {
        let row = make(change, &fresh)?;
        Ok::<_, ApiError>((fresh, row))
    };
    let ((fresh, row), ticket) = state.store.commit(make).await?;
    if state.store.until_published(ticket).await.is_ok() {
        state.until_known(&fresh.text).await;
        return Ok((fresh, row));
    }
    let key = row.key.clone();
    let take_back = move |change: &mut Change<'_>| {
        change.delete(&key)?;
        undo(change)
    };
    let ((), _) = state.store.commit(take_back).await?;
    Err(ApiError::unavailable(
        "the brokers are away; no key was made",
        RETRY_AFTER,
    ))
}

/// Keys that are nothing for long do not count against those that are to be made.
fn forget_expired(change: &mut Change<'_>, tenant: &TenantId) -> Result<(), ApiError> {
    let before_ms = change.now_us() / 1_000 - EXPIRED_KEPT_MS;
    for row in change.list(tenant, Kind::Key, "", 1_000)? {
        if key_in(&row)?.expires_at_ms.is_some_and(|at| at < before_ms) {
            change.delete(&row.key)?;
        }
    }
    Ok(())
}

/// Another key in a key's place, with what that one may do; the old one goes on for the overlap.
#[utoipa::path(post, path = "/api/v1/auth/keys/{id}/rotate", tag = "keys",
    params(("id" = String, Path, description = "Which.")), request_body = Rotation,
    responses((status = 201, description = "The new key.", body = ShownKey), Changed),
    security(("api_key" = ["manage"])))]
pub async fn rotate(
    State(state): State<StoreState>,
    caller: Caller,
    id: IdPath,
    document: Document,
) -> Result<Response, ApiError> {
    let key = key_of(&caller.tenant, Kind::Key, id)?;
    let rotation: Rotation = document.read()?;
    if rotation.overlap_s > OVERLAP_S_MAX {
        let reason = format!("is 0 to {OVERLAP_S_MAX}");
        return Err(invalid([FieldFault::new("/overlap_s", reason)]));
    }
    let named = key.clone();
    let row = state.store.read(move |change| held(change, &named)).await?;
    let old = key_in(&row)?;
    check_gift(&caller, &old)?;
    let now_ms = clock::now_ms();
    if old.expires_at_ms.is_some_and(|at| at <= now_ms) {
        return Err(ApiError::conflict("the key has expired already"));
    }
    let ends_ms = now_ms + i64::from(rotation.overlap_s) * 1_000;
    let ending = Definition::Key(ApiKey {
        expires_at_ms: Some(old.expires_at_ms.map_or(ends_ms, |at| at.min(ends_ms))),
        ..old.clone()
    });
    let (named, written, before) = (key.clone(), ending.clone(), Definition::Key(old.clone()));
    let make = move |change: &mut Change<'_>, fresh: &Fresh| {
        let tenant = tenant_of(change, &caller)?;
        if held(change, &key)?.version != row.version {
            return Err(ApiError::conflict("the key was changed meanwhile"));
        }
        let made = add(change, &caller.tenant, &tenant, fresh)?;
        change.put(&key, &ending)?;
        Ok(made)
    };
    // What somebody else made of it since stays: a key that was revoked must not come back.
    let undo = move |change: &mut Change<'_>| match change.live(&named)? {
        Some(row) if row.definition()? == Some(written) => change.put(&named, &before).map(drop),
        _ => Ok(()),
    };
    let (fresh, row) = make_key(&state, Fresh::of(old)?, make, undo).await?;
    shown_once(fresh.shown(&row)?)
}

/// Revokes a key: it is nothing at every gateway within 2 s.
#[utoipa::path(delete, path = "/api/v1/auth/keys/{id}", tag = "keys",
    params(("id" = String, Path, description = "Which.")),
    responses((status = 204, description = "It is nothing any more."), Changed),
    security(("api_key" = ["manage"])))]
pub async fn revoke(
    State(state): State<StoreState>,
    caller: Caller,
    id: IdPath,
) -> Result<StatusCode, ApiError> {
    let key = key_of(&caller.tenant, Kind::Key, id)?;
    let make = move |change: &mut Change<'_>| {
        tenant_of(change, &caller)?;
        Ok::<_, ApiError>(change.delete(&key)?)
    };
    // One that is gone already may hold at a gateway yet: then it is waited for as well.
    match state.store.change(make).await? {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(ApiError::not_found()),
    }
}
