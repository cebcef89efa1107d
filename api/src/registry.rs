//! The released schemas on the paths of Confluent's schema registry, so that stock serializers work
//! as they are: `url = http://host:port/registry`.
//!
//! In: subjects, ids, and schemas that a serializer would register. Out: released schemas, and the
//! id of one that was posted.
//!
//! What can never happen: a schema is added, changed or deleted; an answer hangs on which tenants
//! there are: a subject is looked at as a text, and never looked up.
//!
//! Errors here are Confluent's own JSON and no problem documents: a stock client reads
//! `error_code` and `message`, and nothing else.
//!
//! Read in this order: [`subject`], [`fault`], then the handlers.

mod body;
pub mod fault;
pub mod subject;

use axum::Json;
use axum::extract::{FromRequestParts, Path, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::request::Parts;
use http::{HeaderValue, Method, header};
use schemas::wire::SchemaId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::{OpenApi, ToSchema};

use crate::routes::{Served, served};
pub use fault::{Fault, RegistryError};
use subject::Subject;

/// The media type of every answer here.
pub const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Where the registry's paths begin.
pub const ROOT: &str = "/registry";

/// The only version of each subject: a schema that changes gets an id of its own, and no subject.
const VERSION: i32 = 1;

/// A schema under a subject.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubjectVersion {
    /// The subject that was asked for.
    pub subject: String,
    /// Always 1.
    #[schema(example = 1)]
    pub version: i32,
    /// The number in a record's first five bytes.
    #[schema(example = 1)]
    pub id: u32,
    /// The schema, as JSON in a text.
    pub schema: &'static str,
}

/// A schema by its id.
#[derive(Debug, Serialize, ToSchema)]
pub struct SchemaText {
    /// The schema, as JSON in a text.
    pub schema: &'static str,
}

/// The id of a schema that was posted.
#[derive(Debug, Serialize, ToSchema)]
pub struct SchemaNumber {
    /// The number in a record's first five bytes.
    #[schema(example = 1)]
    pub id: u32,
}

/// Where a schema is registered.
#[derive(Debug, Serialize, ToSchema)]
pub struct Place {
    /// A subject that has it: the schema's own name.
    pub subject: &'static str,
    /// Always 1.
    pub version: i32,
}

/// What a changed schema would have to keep to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compatibility {
    /// Always `BACKWARD`: what is released later reads what was written before.
    pub compatibility_level: &'static str,
}

/// Whether schemas may be registered.
#[derive(Debug, Serialize, ToSchema)]
pub struct Mode {
    /// Always `READONLY`.
    pub mode: &'static str,
}

/// A schema as a serializer posts it; whatever else it says is nothing to us.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostedSchema {
    /// The schema, as JSON in a text.
    pub schema: String,
    /// `AVRO`, or absent.
    #[serde(default)]
    pub schema_type: Option<String>,
}

/// All routes of the registry.
pub fn routes() -> Vec<Served> {
    vec![
        served(Method::GET, "/registry/subjects", get(subjects)),
        served(Method::POST, "/registry/subjects/{subject}", post(look_up)),
        served(
            Method::GET,
            "/registry/subjects/{subject}/versions",
            get(versions),
        ),
        served(
            Method::POST,
            "/registry/subjects/{subject}/versions",
            post(register),
        ),
        served(
            Method::GET,
            "/registry/subjects/{subject}/versions/{version}",
            get(version),
        ),
        served(
            Method::GET,
            "/registry/subjects/{subject}/versions/{version}/schema",
            get(version_schema),
        ),
        served(Method::GET, "/registry/schemas/ids/{id}", get(by_id)),
        served(
            Method::GET,
            "/registry/schemas/ids/{id}/schema",
            get(schema_by_id),
        ),
        served(
            Method::GET,
            "/registry/schemas/ids/{id}/subjects",
            get(subjects_by_id),
        ),
        served(
            Method::GET,
            "/registry/schemas/ids/{id}/versions",
            get(versions_by_id),
        ),
        served(Method::GET, "/registry/schemas/types", get(types)),
        served(Method::GET, "/registry/config", get(config)),
        served(Method::GET, "/registry/config/{subject}", get(config_of)),
        served(Method::GET, "/registry/mode", get(mode)),
        served(Method::GET, "/registry/mode/{subject}", get(mode_of)),
        served(
            Method::GET,
            "/registry/associations/resources/{namespace}/{name}",
            get(associations),
        ),
    ]
}

/// An answer in the registry's own media type.
fn answer(body: impl Serialize) -> Response {
    let mut response = Json(body).into_response();
    let media_type = HeaderValue::from_static(MEDIA_TYPE);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}

/// The subjects that are named after a schema. Every other subject answers as well.
#[utoipa::path(get, path = "/registry/subjects", tag = "registry",
    responses((status = 200, body = [String], content_type = MEDIA_TYPE)))]
async fn subjects() -> Response {
    answer(SchemaId::ALL.map(SchemaId::name))
}

/// Which released schema a text is, for serializers that must not register.
#[utoipa::path(post, path = "/registry/subjects/{subject}", tag = "registry",
    params(("subject" = String, Path, description = "`<topic>-value`, or a schema's own name")),
    request_body(content = PostedSchema, content_type = MEDIA_TYPE),
    responses(
        (status = 200, body = SubjectVersion, content_type = MEDIA_TYPE),
        (status = 400, body = Fault, content_type = MEDIA_TYPE),
        (status = 404, body = Fault, content_type = MEDIA_TYPE),
        (status = 408, body = Fault, content_type = MEDIA_TYPE),
        (status = 413, body = Fault, content_type = MEDIA_TYPE),
        (status = 422, body = Fault, content_type = MEDIA_TYPE)))]
async fn look_up(
    Named(subject): Named<String>,
    request: Request,
) -> Result<Response, RegistryError> {
    let schema = body::posted(request).await?;
    let id = match Subject::new(&subject).released(&schema)? {
        Some(id) => id,
        None => return Err(RegistryError::SchemaNotFound),
    };
    Ok(answer(version_of(subject, id)))
}

/// The versions of a subject: one.
#[utoipa::path(get, path = "/registry/subjects/{subject}/versions", tag = "registry",
    params(("subject" = String, Path, description = "`<topic>-value`, or a schema's own name")),
    responses(
        (status = 200, body = [i32], content_type = MEDIA_TYPE),
        (status = 404, body = Fault, content_type = MEDIA_TYPE)))]
async fn versions(Named(subject): Named<String>) -> Result<Response, RegistryError> {
    Subject::new(&subject).latest()?;
    Ok(answer([VERSION]))
}

/// The id of a schema that is released; any other is refused.
#[utoipa::path(post, path = "/registry/subjects/{subject}/versions", tag = "registry",
    params(("subject" = String, Path, description = "`<topic>-value`, or a schema's own name")),
    request_body(content = PostedSchema, content_type = MEDIA_TYPE),
    responses(
        (status = 200, body = SchemaNumber, content_type = MEDIA_TYPE),
        (status = 400, body = Fault, content_type = MEDIA_TYPE),
        (status = 404, body = Fault, content_type = MEDIA_TYPE),
        (status = 408, body = Fault, content_type = MEDIA_TYPE),
        (status = 409, body = Fault, content_type = MEDIA_TYPE),
        (status = 413, body = Fault, content_type = MEDIA_TYPE),
        (status = 422, body = Fault, content_type = MEDIA_TYPE)))]
async fn register(
    Named(subject): Named<String>,
    request: Request,
) -> Result<Response, RegistryError> {
    let schema = body::posted(request).await?;
    let subject = Subject::new(&subject);
    match subject.released(&schema)? {
        Some(id) => Ok(answer(SchemaNumber { id: id.number() })),
        None => Err(RegistryError::Foreign {
            expected: subject.expects(),
        }),
    }
}

/// A subject's schema.
#[utoipa::path(get, path = "/registry/subjects/{subject}/versions/{version}", tag = "registry",
    params(
        ("subject" = String, Path, description = "`<topic>-value`, or a schema's own name"),
        ("version" = String, Path, description = "`1` or `latest`")),
    responses(
        (status = 200, body = SubjectVersion, content_type = MEDIA_TYPE),
        (status = 404, body = Fault, content_type = MEDIA_TYPE),
        (status = 422, body = Fault, content_type = MEDIA_TYPE)))]
async fn version(
    Named((subject, version)): Named<(String, String)>,
) -> Result<Response, RegistryError> {
    let id = at_version(&subject, &version)?;
    Ok(answer(version_of(subject, id)))
}

/// A subject's schema, as it is.
#[utoipa::path(get, path = "/registry/subjects/{subject}/versions/{version}/schema",
    tag = "registry",
    params(
        ("subject" = String, Path, description = "`<topic>-value`, or a schema's own name"),
        ("version" = String, Path, description = "`1` or `latest`")),
    responses(
        (status = 200, body = Object, content_type = MEDIA_TYPE),
        (status = 404, body = Fault, content_type = MEDIA_TYPE),
        (status = 422, body = Fault, content_type = MEDIA_TYPE)))]
async fn version_schema(
    Named((subject, version)): Named<(String, String)>,
) -> Result<Response, RegistryError> {
    Ok(text(at_version(&subject, &version)?))
}

/// A schema by the number in a record's first five bytes.
#[utoipa::path(get, path = "/registry/schemas/ids/{id}", tag = "registry",
    params(("id" = String, Path, description = "a released schema's number")),
    responses(
        (status = 200, body = SchemaText, content_type = MEDIA_TYPE),
        (status = 404, body = Fault, content_type = MEDIA_TYPE)))]
async fn by_id(Named(id): Named<String>) -> Result<Response, RegistryError> {
    let schema = numbered(&id)?.json();
    Ok(answer(SchemaText { schema }))
}

/// A schema by its number, as it is.
#[utoipa::path(get, path = "/registry/schemas/ids/{id}/schema", tag = "registry",
    params(("id" = String, Path, description = "a released schema's number")),
    responses(
        (status = 200, body = Object, content_type = MEDIA_TYPE),
        (status = 404, body = Fault, content_type = MEDIA_TYPE)))]
async fn schema_by_id(Named(id): Named<String>) -> Result<Response, RegistryError> {
    Ok(text(numbered(&id)?))
}

/// The subject that is named after a schema.
#[utoipa::path(get, path = "/registry/schemas/ids/{id}/subjects", tag = "registry",
    params(("id" = String, Path, description = "a released schema's number")),
    responses(
        (status = 200, body = [String], content_type = MEDIA_TYPE),
        (status = 404, body = Fault, content_type = MEDIA_TYPE)))]
async fn subjects_by_id(Named(id): Named<String>) -> Result<Response, RegistryError> {
    Ok(answer([numbered(&id)?.name()]))
}

/// The subject that is named after a schema, with its version.
#[utoipa::path(get, path = "/registry/schemas/ids/{id}/versions", tag = "registry",
    params(("id" = String, Path, description = "a released schema's number")),
    responses(
        (status = 200, body = [Place], content_type = MEDIA_TYPE),
        (status = 404, body = Fault, content_type = MEDIA_TYPE)))]
async fn versions_by_id(Named(id): Named<String>) -> Result<Response, RegistryError> {
    let subject = numbered(&id)?.name();
    let version = VERSION;
    Ok(answer([Place { subject, version }]))
}

/// The kinds of schemas that there are.
#[utoipa::path(get, path = "/registry/schemas/types", tag = "registry",
    responses((status = 200, body = [String], content_type = MEDIA_TYPE)))]
async fn types() -> Response {
    answer(["AVRO"])
}

/// What a changed schema would have to keep to; the same for every subject.
#[utoipa::path(get, path = "/registry/config", tag = "registry",
    responses((status = 200, body = Compatibility, content_type = MEDIA_TYPE)))]
async fn config() -> Response {
    answer(Compatibility {
        compatibility_level: "BACKWARD",
    })
}

/// The same for one subject, whichever it is.
#[utoipa::path(get, path = "/registry/config/{subject}", tag = "registry",
    params(("subject" = String, Path, description = "Any.")),
    responses((status = 200, body = Compatibility, content_type = MEDIA_TYPE)))]
async fn config_of() -> Response {
    config().await
}

/// Whether schemas may be registered; the same for every subject.
#[utoipa::path(get, path = "/registry/mode", tag = "registry",
    responses((status = 200, body = Mode, content_type = MEDIA_TYPE)))]
async fn mode() -> Response {
    answer(Mode { mode: "READONLY" })
}

/// The same for one subject, whichever it is.
#[utoipa::path(get, path = "/registry/mode/{subject}", tag = "registry",
    params(("subject" = String, Path, description = "Any.")),
    responses((status = 200, body = Mode, content_type = MEDIA_TYPE)))]
async fn mode_of() -> Response {
    mode().await
}

/// Subjects that a topic has beside `<topic>-value`: none, so that a serializer takes that.
#[utoipa::path(get, path = "/registry/associations/resources/{namespace}/{name}",
    tag = "registry",
    params(
        ("namespace" = String, Path, description = "a cluster's id, or `-`"),
        ("name" = String, Path, description = "a topic")),
    responses((status = 200, body = [Object], content_type = MEDIA_TYPE)))]
async fn associations() -> Response {
    answer([(); 0])
}

/// The registry's routes, for the API's own description.
#[derive(OpenApi)]
#[openapi(
    paths(
        subjects,
        look_up,
        versions,
        register,
        version,
        version_schema,
        by_id,
        schema_by_id,
        subjects_by_id,
        versions_by_id,
        types,
        config,
        config_of,
        mode,
        mode_of,
        associations,
    ),
    components(schemas(
        Compatibility,
        Fault,
        Mode,
        Place,
        PostedSchema,
        SchemaNumber,
        SchemaText,
        SubjectVersion,
    ))
)]
pub struct Docs;

/// What stands in the path.
struct Named<T>(T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = RegistryError;

    /// A path that is no text has nothing under it.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, RegistryError> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(named)| Self(named))
            .map_err(|_| RegistryError::Path)
    }
}

fn at_version(subject: &str, version: &str) -> Result<SchemaId, RegistryError> {
    let id = Subject::new(subject).latest()?;
    match version.parse::<i32>() {
        Ok(VERSION | -1) => Ok(id),
        Ok(2..) => Err(RegistryError::VersionNotFound),
        _ if version == "latest" => Ok(id),
        _ => Err(RegistryError::Version),
    }
}

fn version_of(subject: String, id: SchemaId) -> SubjectVersion {
    SubjectVersion {
        subject,
        version: VERSION,
        id: id.number(),
        schema: id.json(),
    }
}

fn numbered(id: &str) -> Result<SchemaId, RegistryError> {
    let number = id.parse().map_err(|_| RegistryError::SchemaNotFound)?;
    SchemaId::numbered(number).ok_or(RegistryError::SchemaNotFound)
}

/// A schema's own JSON.
fn text(id: SchemaId) -> Response {
    let media_type = HeaderValue::from_static(MEDIA_TYPE);
    ([(header::CONTENT_TYPE, media_type)], id.json()).into_response()
}

#[cfg(test)]
mod tests;
