//! `/api/v1/installation/…`: what the operator's own tool does, on the operator's port alone.
//!
//! A tenant's quotas do not hold here, and any tenant may be named: who comes here has the
//! installation's secret.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::StatusCode;
use schemas::control::{ControlKey, Definition, DefinitionError, Feed, Kind, Limits, Tenant};
use schemas::ids::TenantId;
use schemas::meter::{Meter, built_in};
use schemas::tier::{IngestOverrides, Tier};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::definitions::{held, read, time};
use super::docs::{Changed, Seen, SeenPage};
use super::document::{Document, check_limit, invalid, is_id, push};
use super::keys::{Fresh, NewKey, ShownKey, add, asked, make_key as make_key_known, shown_once};
use super::register::ensure_topics;
use super::{StoreState, faults, tenant_in, tenant_key};
use crate::problem::{ApiError, FieldFault};
use crate::store::definitions::Place;
use crate::store::{Change, Row};

/// A tenant that is to be there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedTenant {
    /// What people read.
    pub name: String,
    /// Time and size limits of its streams.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    pub limits: Limits,
    /// What it may send.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub tier: Tier,
    /// What holds instead of its tier's figures.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    pub ingest: IngestOverrides,
    /// True when producers of its own may write straight to Kafka.
    #[serde(default)]
    #[schema(required = false)]
    pub direct_producers: bool,
    /// Its meters, by id; the built-in ones when left out.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    pub meters: Option<BTreeMap<String, Meter>>,
    /// Its feeds, by id.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    pub feeds: BTreeMap<String, Feed>,
}

impl WantedTenant {
    /// Its definitions with their places in the body, itself last.
    fn definitions(self, id: &TenantId) -> Vec<(String, ControlKey, Definition)> {
        let of = |kind, id: &TenantId, name: &str| ControlKey {
            tenant: id.clone(),
            kind,
            id: name.into(),
        };
        let place = |field: &str, name: &str| {
            let mut pointer = format!("/{field}");
            push(&mut pointer, name);
            pointer
        };
        let meters = self.meters.unwrap_or_else(|| {
            let pairs = built_in().into_iter();
            pairs.map(|(id, meter)| (id.to_owned(), meter)).collect()
        });
        let mut all = vec![];
        for (name, meter) in meters {
            let key = of(Kind::Meter, id, &name);
            all.push((place("meters", &name), key, Definition::Meter(meter)));
        }
        for (name, feed) in self.feeds {
            let key = of(Kind::Feed, id, &name);
            all.push((place("feeds", &name), key, Definition::Feed(feed)));
        }
        let tenant = Tenant {
            name: self.name,
            limits: self.limits,
            tier: self.tier,
            ingest: self.ingest,
            direct_producers: self.direct_producers,
        };
        all.push((String::new(), tenant_key(id), Definition::Tenant(tenant)));
        all
    }
}

/// One thing that was to be there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Thing {
    /// A topic's name or a control key.
    pub name: String,
    /// True when it was not there before.
    pub is_new: bool,
}

/// What was made of a tenant, and what was there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EnsuredTenant {
    /// In the order in which they were looked for.
    pub things: Vec<Thing>,
}

/// A definition, whosever it is.
#[derive(Serialize, ToSchema)]
pub struct DefinitionView {
    /// Whose.
    tenant: String,
    /// Its id.
    id: String,
    /// Grows with each change.
    version: i64,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    changed_at: String,
    /// What it says.
    #[schema(value_type = Object)]
    definition: Box<RawValue>,
}

/// A page of definitions.
#[derive(Serialize, ToSchema)]
pub struct DefinitionPage {
    /// By tenant and id.
    definitions: Vec<DefinitionView>,
    /// Where to go on; null at the end.
    next: Option<NextPlace>,
}

/// The last of a page.
#[derive(Serialize, ToSchema)]
pub struct NextPlace {
    /// Whose.
    after_tenant: String,
    /// Its id.
    after: String,
}

/// Which part of a list over all tenants is asked for.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WidePage {
    /// How many at most.
    #[serde(default = "limit_default")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u32,
    /// The tenant of the last one of the page before.
    #[serde(default)]
    after_tenant: String,
    /// Its id.
    #[serde(default)]
    after: String,
}

fn limit_default() -> u32 {
    100
}

/// What a change did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Written {
    /// The version that holds now.
    pub version: i64,
    /// False when it was so already.
    pub is_changed: bool,
}

type TenantPath = Result<Path<String>, PathRejection>;
type DefinitionPath = Result<Path<(String, String, String)>, PathRejection>;

fn tenant_id(text: &str) -> Result<TenantId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found())
}

fn kind(text: &str) -> Result<Kind, ApiError> {
    let kinds = [Kind::Meter, Kind::Feed, Kind::Tenant];
    let found = kinds.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(ApiError::not_found)
}

fn key_of(path: DefinitionPath) -> Result<ControlKey, ApiError> {
    let Path((tenant, named, id)) = path.map_err(|_| ApiError::not_found())?;
    let key = ControlKey {
        tenant: tenant_id(&tenant)?,
        kind: kind(&named)?,
        id,
    };
    let is_one = is_id(&key.id) && (key.kind != Kind::Tenant || key.id == "self");
    match is_one {
        true => Ok(key),
        false => Err(ApiError::not_found()),
    }
}

/// A tenant with its topics, meters and feeds, each where it never was before: what was changed or
/// deleted since stays as it is.
#[utoipa::path(put, path = "/api/v1/installation/tenants/{tenant}", tag = "installation",
    params(("tenant" = String, Path, description = "Its slug.")), request_body = WantedTenant,
    responses((status = 200, description = "All of it is there.", body = EnsuredTenant), Changed),
    security(("installation" = [])))]
pub async fn ensure(
    State(state): State<StoreState>,
    tenant: TenantPath,
    document: Document,
) -> Result<Json<EnsuredTenant>, ApiError> {
    let Path(tenant) = tenant.map_err(|_| ApiError::not_found())?;
    let slug = tenant.parse::<TenantId>();
    let slug = slug.map_err(|error| ApiError::unprocessable(error.to_string(), []))?;
    let definitions = document.read::<WantedTenant>()?.definitions(&slug);
    check(&definitions)?;
    let topics = ensure_topics(state.store.kafka(), &slug).await?;
    let mut things: Vec<Thing> = topics
        .into_iter()
        .map(|(name, is_new)| Thing { name, is_new })
        .collect();
    let make = move |change: &mut Change<'_>| {
        let held = change.row(&tenant_key(&slug))?;
        if held.is_some_and(|row| row.body.is_none()) {
            let detail = format!("tenant {slug} was deleted, and its id is not given again");
            return Err(ApiError::new(StatusCode::CONFLICT, "deleted", detail));
        }
        // Who has only begun to register is not to own what the operator makes.
        change.drop_registration(&slug)?;
        let mut made = vec![];
        for (_, key, definition) in &definitions {
            let is_new = change.put_if_new(key, definition)?;
            let name = key.to_string();
            made.push(Thing { name, is_new });
        }
        Ok(made)
    };
    things.extend(state.store.change(make).await?);
    Ok(Json(EnsuredTenant { things }))
}

fn check(definitions: &[(String, ControlKey, Definition)]) -> Result<(), ApiError> {
    let mut found = vec![];
    for (place, key, definition) in definitions {
        if !is_id(&key.id) {
            let right = "an id is 1 to 64 letters, digits, -, _ or .";
            found.push(FieldFault::new(place.clone(), right));
        }
        if let Err(DefinitionError::Faults(own)) = Definition::read(key.kind, &definition.body()) {
            let own = faults::located(key.kind, own).into_iter();
            found.extend(own.map(|fault| FieldFault {
                pointer: format!("{place}{}", fault.pointer),
                ..fault
            }));
        }
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(invalid(found)),
    }
}

/// A key for a tenant, which is in this answer and never shown again.
#[utoipa::path(post, path = "/api/v1/installation/tenants/{tenant}/keys", tag = "installation",
    params(("tenant" = String, Path, description = "Its slug.")), request_body = NewKey,
    responses((status = 201, description = "It holds within 2 s.", body = ShownKey), Changed),
    security(("installation" = [])))]
pub async fn make_key(
    State(state): State<StoreState>,
    tenant: TenantPath,
    document: Document,
) -> Result<Response, ApiError> {
    let Path(tenant) = tenant.map_err(|_| ApiError::not_found())?;
    let slug = tenant_id(&tenant)?;
    let key = asked(&document)?;
    let make = move |change: &mut Change<'_>, fresh: &Fresh| {
        let tenant = tenant_in(&held(change, &tenant_key(&slug))?)?;
        add(change, &slug, &tenant, fresh)
    };
    let (fresh, row) = make_key_known(&state, Fresh::of(key)?, make, |_| Ok(())).await?;
    shown_once(fresh.shown(&row)?)
}

/// All tenants' definitions of a kind: `meter`, `feed` or `tenant`.
#[utoipa::path(get, path = "/api/v1/installation/definitions/{kind}", tag = "installation",
    params(("kind" = String, Path, description = "Which kind."), WidePage),
    responses((status = 200, description = "A page of them.", body = DefinitionPage), SeenPage),
    security(("installation" = [])))]
pub async fn list(
    State(state): State<StoreState>,
    named: TenantPath,
    query: Result<Query<WidePage>, QueryRejection>,
) -> Result<Json<DefinitionPage>, ApiError> {
    let Path(named) = named.map_err(|_| ApiError::not_found())?;
    let kind = kind(&named)?;
    let Query(page) = query
        .map_err(|error| ApiError::bad_request(format!("the query: {}", error.body_text())))?;
    check_limit(page.limit)?;
    let place = Place {
        tenant: page.after_tenant,
        id: page.after,
    };
    let look = move |change: &Change<'_>| {
        let rows = change.list_all(kind, &place, page.limit)?;
        Ok::<_, ApiError>(rows)
    };
    let rows = state.store.read(look).await?;
    let is_full = u32::try_from(rows.len()).is_ok_and(|count| count >= page.limit);
    let next = rows.last().filter(|_| is_full).map(|row| NextPlace {
        after_tenant: row.key.tenant.to_string(),
        after: row.key.id.clone(),
    });
    let definitions = rows.iter().map(view).collect::<Result<_, _>>()?;
    Ok(Json(DefinitionPage { definitions, next }))
}

/// One definition, letter by letter as it is published.
#[utoipa::path(get, path = "/api/v1/installation/tenants/{tenant}/{kind}/{id}",
    tag = "installation",
    params(("tenant" = String, Path, description = "Whose."),
        ("kind" = String, Path, description = "`meter`, `feed` or `tenant`."),
        ("id" = String, Path, description = "Which; `self` of a tenant.")),
    responses((status = 200, description = "As it is in force.", body = DefinitionView), Seen),
    security(("installation" = [])))]
pub async fn show(
    State(state): State<StoreState>,
    path: DefinitionPath,
) -> Result<Json<DefinitionView>, ApiError> {
    let key = key_of(path)?;
    let row = state.store.read(move |change| held(change, &key)).await?;
    Ok(Json(view(&row)?))
}

fn view(row: &Row) -> Result<DefinitionView, ApiError> {
    let body = row.body.clone().unwrap_or_default();
    let definition = RawValue::from_string(body).map_err(|error| ApiError::internal(&error))?;
    Ok(DefinitionView {
        tenant: row.key.tenant.to_string(),
        id: row.key.id.clone(),
        version: row.version,
        created_at: time(row.created_at_us),
        changed_at: time(row.changed_at_us),
        definition,
    })
}

/// Defines something of a tenant that exists, or changes it.
#[utoipa::path(put, path = "/api/v1/installation/tenants/{tenant}/{kind}/{id}",
    tag = "installation",
    params(("tenant" = String, Path, description = "Whose."),
        ("kind" = String, Path, description = "`meter`, `feed` or `tenant`."),
        ("id" = String, Path, description = "Which; `self` of a tenant.")),
    request_body = Object,
    responses((status = 200, description = "It is so.", body = Written), Changed),
    security(("installation" = [])))]
pub async fn define(
    State(state): State<StoreState>,
    path: DefinitionPath,
    document: Document,
) -> Result<Json<Written>, ApiError> {
    let key = key_of(path)?;
    let (_, definition) = read(key.kind, document.fields()?)?;
    let make = move |change: &mut Change<'_>| {
        held(change, &tenant_key(&key.tenant))?;
        let before = change.row(&key)?.map_or(0, |row| row.version);
        let version = change.put(&key, &definition)?.version;
        Ok::<_, ApiError>(Written {
            version,
            is_changed: version != before,
        })
    };
    Ok(Json(state.store.change(make).await?))
}

/// Removes a meter or a feed of a tenant.
#[utoipa::path(delete, path = "/api/v1/installation/tenants/{tenant}/{kind}/{id}",
    tag = "installation",
    params(("tenant" = String, Path, description = "Whose."),
        ("kind" = String, Path, description = "`meter` or `feed`."),
        ("id" = String, Path, description = "Which.")),
    responses((status = 200, description = "It is gone.", body = Written), Changed),
    security(("installation" = [])))]
pub async fn remove(
    State(state): State<StoreState>,
    path: DefinitionPath,
) -> Result<Json<Written>, ApiError> {
    let key = key_of(path)?;
    if key.kind == Kind::Tenant {
        return Err(ApiError::conflict(
            "a tenant is not removed by its record alone",
        ));
    }
    let make = move |change: &mut Change<'_>| {
        let is_changed = change.delete(&key)?.is_some();
        let version = change.row(&key)?.map_or(0, |row| row.version);
        Ok::<_, ApiError>(Written {
            version,
            is_changed,
        })
    };
    Ok(Json(state.store.change(make).await?))
}
