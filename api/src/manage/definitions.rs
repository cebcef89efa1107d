//! Meters and feeds: listed, shown, made, replaced, removed, all in one way.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use schemas::control::{ControlKey, Definition, DefinitionError, Kind};
use serde_json::{Map, Value, json};

use super::document::read_value;
use super::document::{Document, IdPath, Page, PageQuery, invalid, is_id, key_of, page_of};
use super::precondition::{IfMatch, tag};
use super::{StoreState, faults, quota, tenant_of};
use crate::access::Caller;
use crate::problem::{ApiError, FieldFault};
use crate::store::{Change, Row};

/// What an answer holds beside the definition's own fields. A request may hold them too, so that
/// what was read can be written back; what they say is not looked at.
const READ_ONLY: [&str; 3] = ["version", "created_at", "changed_at"];

/// A definition's fields with its id, version and times.
///
/// # Errors
/// When its row holds no object.
pub fn view(row: &Row) -> Result<Map<String, Value>, ApiError> {
    let body = row.body.as_deref().unwrap_or("{}");
    let mut fields: Map<String, Value> =
        serde_json::from_str(body).map_err(|error| ApiError::internal(&error))?;
    fields.insert("id".into(), json!(row.key.id));
    fields.insert("version".into(), json!(row.version));
    fields.insert("created_at".into(), json!(time(row.created_at_us)));
    fields.insert("changed_at".into(), json!(time(row.changed_at_us)));
    Ok(fields)
}

/// An instant as RFC 3339.
pub fn time(us: i64) -> String {
    let time = jiff::Timestamp::from_microsecond(us);
    time.unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// A page of rows under its kind's name, with where the next one begins if there is one.
pub fn page_view(name: &str, page: &Page, rows: &[Row], views: Vec<Map<String, Value>>) -> Value {
    let is_full = u32::try_from(views.len()).is_ok_and(|count| count >= page.limit);
    let next = rows.last().filter(|_| is_full);
    let mut view = Map::new();
    view.insert(name.into(), json!(views));
    view.insert("next".into(), json!(next.map(|row| &row.key.id)));
    Value::Object(view)
}

/// What a body defines, with the id in it where there is one.
///
/// # Errors
/// 400 and 422, with the place.
pub fn read(
    kind: Kind,
    mut fields: Map<String, Value>,
) -> Result<(Option<String>, Definition), ApiError> {
    let id = match fields.remove("id") {
        Some(Value::String(id)) => Some(id),
        Some(_) => return Err(invalid([FieldFault::new("/id", "is a text")])),
        None => None,
    };
    for name in READ_ONLY {
        fields.remove(name);
    }
    let fields = Value::Object(fields);
    let definition = match kind {
        Kind::Meter => Definition::Meter(read_value(fields)?),
        Kind::Feed => Definition::Feed(read_value(fields)?),
        Kind::Tenant => Definition::Tenant(read_value(fields)?),
        Kind::Key => Definition::Key(read_value(fields)?),
        Kind::Usage => Definition::Usage(read_value(fields)?),
    };
    // What is published is read again by everybody: so the same rules hold here as there.
    match Definition::read(kind, &definition.body()) {
        Ok(definition) => Ok((id, definition)),
        Err(DefinitionError::Faults(found)) => Err(invalid(faults::located(kind, found))),
        Err(error) => Err(invalid([FieldFault::new("", error.to_string())])),
    }
}

/// `GET` of all.
pub async fn list(
    state: StoreState,
    caller: Caller,
    (kind, name): (Kind, &'static str),
    query: PageQuery,
) -> Result<Json<Value>, ApiError> {
    let page = page_of(query)?;
    let asked = page.clone();
    let look = move |change: &Change<'_>| {
        change
            .list(&caller.tenant, kind, &asked.after, asked.limit)
            .map_err(ApiError::from)
    };
    let rows = state.store.read(look).await?;
    let views = rows.iter().map(view).collect::<Result<_, _>>()?;
    Ok(Json(page_view(name, &page, &rows, views)))
}

/// `GET` of one.
pub async fn show(
    state: StoreState,
    caller: Caller,
    kind: Kind,
    id: IdPath,
) -> Result<Response, ApiError> {
    let key = key_of(&caller.tenant, kind, id)?;
    let row = state.store.read(move |change| held(change, &key)).await?;
    shown(StatusCode::OK, &row)
}

/// What is in force under a key.
///
/// # Errors
/// 404 when nothing is.
pub fn held(change: &Change<'_>, key: &ControlKey) -> Result<Row, ApiError> {
    change.live(key)?.ok_or_else(ApiError::not_found)
}

/// `POST`: a new one, under the id in its body.
pub async fn create(
    state: StoreState,
    caller: Caller,
    kind: Kind,
    document: &Document,
) -> Result<Response, ApiError> {
    let (id, definition) = read(kind, document.fields()?)?;
    let id = id.filter(|id| is_id(id)).ok_or_else(|| {
        let right = "is 1 to 64 letters, digits, -, _ or .";
        invalid([FieldFault::new("/id", right)])
    })?;
    let key = ControlKey {
        tenant: caller.tenant.clone(),
        kind,
        id,
    };
    let make = move |change: &mut Change<'_>| {
        let tenant = tenant_of(change, &caller)?;
        let body = definition.body();
        if let Some(row) = change.live(&key)? {
            // Whoever was told that it is not published yet asks again, and goes on.
            if row.body.as_ref() == Some(&body) && change.is_pending(&row)? {
                return Ok(change.put(&key, &definition)?);
            }
            let detail = format!("there is a {} {} already", kind.as_str(), key.id);
            return Err(ApiError::conflict(detail));
        }
        quota::check_one_more(change, &key.tenant, tenant.tier, kind)?;
        quota::check_products(change, &key.tenant, tenant.tier, (&key.id, &definition))?;
        Ok(change.put(&key, &definition)?)
    };
    let row = state.store.change(make).await?;
    shown(StatusCode::CREATED, &row)
}

/// `PUT`: another one in the place of the one that is there.
pub async fn replace(
    state: StoreState,
    caller: Caller,
    (kind, id): (Kind, IdPath),
    headers: &HeaderMap,
    document: &Document,
) -> Result<Response, ApiError> {
    let key = key_of(&caller.tenant, kind, id)?;
    let if_match = IfMatch::of(headers)?;
    let (named, definition) = read(kind, document.fields()?)?;
    if named.is_some_and(|named| named != key.id) {
        let right = format!("is {}, as the path says, or left out", key.id);
        return Err(invalid([FieldFault::new("/id", right)]));
    }
    let make = move |change: &mut Change<'_>| {
        let tenant = tenant_of(change, &caller)?;
        if_match.check(held(change, &key)?.version)?;
        quota::check_products(change, &key.tenant, tenant.tier, (&key.id, &definition))?;
        Ok::<_, ApiError>(change.put(&key, &definition)?)
    };
    let row = state.store.change(make).await?;
    shown(StatusCode::OK, &row)
}

/// `DELETE`.
pub async fn remove(
    state: StoreState,
    caller: Caller,
    (kind, id): (Kind, IdPath),
    headers: &HeaderMap,
) -> Result<StatusCode, ApiError> {
    let key = key_of(&caller.tenant, kind, id)?;
    let if_match = IfMatch::of(headers)?;
    let make = move |change: &mut Change<'_>| {
        tenant_of(change, &caller)?;
        if let Some(row) = change.live(&key)? {
            if_match.check(row.version)?;
        }
        Ok::<_, ApiError>(change.delete(&key)?)
    };
    // What is gone already may not be known to all yet: then it is waited for as well.
    match state.store.change(make).await? {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(ApiError::not_found()),
    }
}

/// A definition with its version as `ETag`.
///
/// # Errors
/// When its row holds no object.
pub fn shown(status: StatusCode, row: &Row) -> Result<Response, ApiError> {
    let mut response = (status, [tag(row.version)], Json(view(row)?)).into_response();
    let plural = match row.key.kind {
        Kind::Meter => "meters",
        Kind::Feed => "feeds",
        Kind::Tenant | Kind::Key | Kind::Usage => return Ok(response),
    };
    if status == StatusCode::CREATED {
        // An id is made of letters that a path takes as they are.
        let place = format!("/api/v1/{plural}/{}", row.key.id);
        let value = place.try_into().expect("an id is a header's value");
        response.headers_mut().insert(header::LOCATION, value);
    }
    Ok(response)
}
