//! `POST /api/v1/auth/register/tenant`: a tenant with its topics, its owner and a first key.
//!
//! The slug is claimed first, with its owner, in the store alone; then come the topics, and then
//! all records together, the tenant's last, so that whoever sees it finds all that is its own.
//! Whoever was not answered asks again with the same address and password and goes on where it
//! broke off, with another first key: nobody has seen the one before.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use http::{StatusCode, header};
use runtime::config::Secret;
use runtime::fate::Fate;
use runtime::kafka::admin::{AdminError, Ensured, TopicSpec};
use runtime::kafka::{Admin, KafkaConfig};
use schemas::access::{ApiKey, KeyKind, Scope};
use schemas::control::{ControlKey, Definition, Kind, Tenant};
use schemas::ids::{Stream, TenantId, TenantIdError};
use schemas::meter::built_in;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::definitions::time;
use super::docs::Registered;
use super::document::{Document, invalid};
use super::keys::{Fresh, fresh_id};
use super::{RETRY_AFTER, StoreState, password, tenant_key, too_many};
use crate::access::secret;
use crate::problem::{ApiError, FieldFault};
use crate::store::people::User;
use crate::store::{Change, Registration, Row};

/// How long a tenant's topics may take.
const TOPICS_MAX: Duration = Duration::from_secs(10);

/// Characters in a tenant's name.
const NAME_MAX: usize = 100;

/// A tenant to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Acme",
    "slug": "acme",
    "owner_email": "ann@acme.example",
    "owner_password": "correct horse battery staple",
}))]
pub struct NewTenant {
    /// What people read.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Its id for good: up to 32 of a-z, 0-9 and hyphens, beginning with a letter or digit.
    #[schema(min_length = 1, max_length = 32, pattern = "^[a-z0-9][a-z0-9-]*$")]
    slug: String,
    /// Where its owner is reached.
    #[schema(max_length = 254)]
    owner_email: String,
    /// 12 characters or more, at most 128 bytes.
    #[schema(min_length = 12, max_length = 128, format = Password)]
    owner_password: String,
}

/// A tenant that was made.
#[derive(Serialize, ToSchema)]
pub struct RegisteredTenant {
    /// The tenant.
    tenant: TenantView,
    /// Who owns it.
    owner: OwnerView,
    /// Its first key, with all scopes: it is shown here and never again.
    api_key: String,
    /// The key's id.
    api_key_id: String,
}

/// A tenant as its owner sees it.
#[derive(Serialize, ToSchema)]
pub struct TenantView {
    /// Its slug.
    id: String,
    /// What people read.
    name: String,
    /// `free`, `team` or `enterprise`.
    tier: &'static str,
    /// RFC 3339.
    created_at: String,
}

/// A tenant's owner.
#[derive(Serialize, ToSchema)]
pub struct OwnerView {
    /// Made with the owner, and never changed.
    id: String,
    /// Where they are reached.
    email: String,
}

/// Makes a tenant, where the installation lets anybody do so.
#[utoipa::path(post, path = "/api/v1/auth/register/tenant", tag = "tenants",
    request_body = NewTenant,
    responses((status = 201, description = "It is there, with its topics.",
        body = RegisteredTenant), Registered),
    security(()))]
pub async fn register(
    State(state): State<StoreState>,
    document: Document,
) -> Result<Response, ApiError> {
    if state.registration == Registration::Closed {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "registration_closed",
            "this installation's operator makes tenants: ask there",
        ));
    }
    let new: NewTenant = document.read()?;
    let slug = check(&new)?;
    if let Err(early) = state.registrations.check() {
        let wait = early.wait_time_from(DefaultClock::default().now());
        return Err(too_many(wait, "more registrations are begun than may be"));
    }
    let owner = claim(&state, &slug, &new).await?;
    ensure_topics(state.store.kafka(), &slug).await?;
    let fresh = Fresh::of(first_key())?;
    let (made, tenant, user) = (
        slug.clone(),
        Tenant::new(new.name.clone()),
        owner.id.clone(),
    );
    let make = move |change: &mut Change<'_>| {
        let (key, row) = define(change, &made, (&tenant, &user, &fresh))?;
        Ok::<_, ApiError>((fresh.shown(&key)?, row))
    };
    let (key, row) = state.store.change(make).await?;
    let ended = slug.clone();
    let end = move |change: &mut Change<'_>| Ok(change.end_registration(&ended)?);
    let _ = state.store.commit::<_, ApiError>(end).await?;
    state.until_known(&key.key).await;
    let registered = RegisteredTenant {
        tenant: TenantView {
            id: slug.to_string(),
            name: new.name,
            tier: super::tenant_in(&row)?.tier.as_str(),
            created_at: time(row.created_at_us),
        },
        owner: OwnerView {
            id: owner.id,
            email: owner.email,
        },
        api_key_id: key.about.id,
        api_key: key.key,
    };
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(registered)).into_response())
}

/// What is wrong with a body, all of it.
fn check(new: &NewTenant) -> Result<TenantId, ApiError> {
    let mut faults = vec![];
    let length = new.name.trim().chars().count();
    if length == 0 || length > NAME_MAX || new.name.chars().any(char::is_control) {
        let reason = format!("has 1 to {NAME_MAX} characters that can be read");
        faults.push(FieldFault::new("/name", reason));
    }
    if !password::is_email(&new.owner_email) {
        let reason = "is an address, owner@acme.example for instance";
        faults.push(FieldFault::new("/owner_email", reason));
    }
    let known = [&*new.owner_email, &new.slug, &new.name];
    faults.extend(password::fault(
        "/owner_password",
        &new.owner_password,
        &known,
    ));
    match new.slug.parse::<TenantId>() {
        Ok(slug) if faults.is_empty() => Ok(slug),
        Err(TenantIdError::Reserved(_)) if faults.is_empty() => Err(taken()),
        Ok(_) | Err(TenantIdError::Reserved(_)) => Err(invalid(faults)),
        Err(error) => {
            faults.push(FieldFault::new("/slug", error.to_string()));
            Err(invalid(faults))
        }
    }
}

/// Taken, taken once and given up, or kept back: who asks learns no more than that it is so.
fn taken() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "slug_taken",
        "this slug cannot be had: choose another",
    )
}

/// How a slug stands.
enum Slug {
    Free,
    Begun(User),
    Taken,
}

fn look(change: &Change<'_>, slug: &TenantId) -> Result<Slug, ApiError> {
    if let Some(owner) = change.registration(slug)? {
        return Ok(Slug::Begun(owner));
    }
    // A deleted tenant leaves its row.
    Ok(match change.row(&tenant_key(slug))? {
        Some(_) => Slug::Taken,
        None => Slug::Free,
    })
}

/// The slug for its owner: new, or as it was when an earlier request broke off.
async fn claim(state: &StoreState, slug: &TenantId, new: &NewTenant) -> Result<User, ApiError> {
    let named = slug.clone();
    let stands = state.store.read(move |change| look(change, &named)).await?;
    let password = Secret::new(new.owner_password.clone());
    match stands {
        Slug::Taken => Err(taken()),
        Slug::Begun(owner) => {
            let is_same_address = owner.email == new.owner_email;
            let hash = owner.password_hash.clone();
            match is_same_address && state.hasher.is_of(password, hash).await {
                true => Ok(owner),
                false => Err(taken()),
            }
        }
        Slug::Free => {
            let owner = User {
                id: fresh_id("user").map_err(|error| ApiError::internal(&error))?,
                email: new.owner_email.clone(),
                password_hash: state.hasher.hash(password).await?,
            };
            let (named, claimed) = (slug.clone(), owner.clone());
            let make = move |change: &mut Change<'_>| {
                let Slug::Free = look(change, &named)? else {
                    return Err(taken());
                };
                change.add_owner(&named, &claimed)?;
                Ok(change.begin_registration(&named, &claimed.id)?)
            };
            let ((), _) = state.store.commit(make).await?;
            Ok(owner)
        }
    }
}

/// Makes what is missing of a tenant's topics, and says which were.
pub(super) async fn ensure_topics(
    kafka: &KafkaConfig,
    tenant: &TenantId,
) -> Result<Vec<(String, bool)>, ApiError> {
    let mut specs = vec![TopicSpec::control(kafka)];
    specs.extend(Stream::ALL.map(|stream| TopicSpec::of(&tenant.topic(stream), kafka)));
    let work = async {
        let ensured = Admin::new(kafka)?.ensure(&specs).await?;
        Ok::<_, AdminError>(ensured)
    };
    let away = || {
        let detail = "the brokers did not make the tenant's topics in time: ask again to go on";
        ApiError::unavailable(detail, RETRY_AFTER)
    };
    let ensured = match tokio::time::timeout(TOPICS_MAX, work).await {
        Ok(Ok(ensured)) => ensured,
        Ok(Err(error)) if error.fate() == Fate::Retry => {
            tracing::warn!(%error, %tenant, "a tenant's topics were not made");
            return Err(away());
        }
        Ok(Err(error)) => return Err(ApiError::internal(&error)),
        Err(_) => return Err(away()),
    };
    let pairs = specs.into_iter().zip(ensured);
    Ok(pairs
        .map(|(spec, ensured)| (spec.name, ensured == Ensured::Made))
        .collect())
}

fn first_key() -> ApiKey {
    ApiKey {
        name: "first".into(),
        kind: KeyKind::Secret,
        hash: secret::hash(""),
        scopes: Scope::ALL.into(),
        origins: vec![],
        expires_at_ms: None,
        events_per_second: None,
    }
}

/// All of a tenant's records, its own last.
fn define(
    change: &mut Change<'_>,
    slug: &TenantId,
    (tenant, owner_id, fresh): (&Tenant, &str, &Fresh),
) -> Result<(Row, Row), ApiError> {
    let owner = change.registration(slug)?;
    if owner.is_none_or(|owner| owner.id != owner_id) {
        // The operator has made it meanwhile, or the same owner's other request was quicker.
        return Err(taken());
    }
    for row in change.list(slug, Kind::Key, "", 1_000)? {
        change.delete(&row.key)?;
    }
    for (id, meter) in built_in() {
        let key = ControlKey {
            tenant: slug.clone(),
            kind: Kind::Meter,
            id: id.into(),
        };
        change.put_if_new(&key, &Definition::Meter(meter))?;
    }
    let key = fresh.put(change, slug)?;
    let row = change.put(&tenant_key(slug), &Definition::Tenant(tenant.clone()))?;
    Ok((key, row))
}
