//! A posted schema, within bounds: whoever posts needs no key.

use std::time::Duration;

use axum::extract::Request;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{PostedSchema, RegistryError};

/// Bytes of a body: several times the largest schema, with every quote escaped.
const BYTES_MAX: usize = 64 * 1024;
/// How long a body may take.
const TIME_MAX: Duration = Duration::from_secs(10);

/// The schema that a request holds.
///
/// # Errors
/// A body that is late, large, or not what a serializer posts.
pub(super) async fn posted(request: Request) -> Result<String, RegistryError> {
    let body = Limited::new(request.into_body(), BYTES_MAX);
    let body = tokio::time::timeout(TIME_MAX, body.collect());
    let body = body.await.map_err(|_| RegistryError::Slow)?;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => RegistryError::TooLarge { max: BYTES_MAX },
        false => RegistryError::Body,
    })?;
    let posted: PostedSchema =
        serde_json::from_slice(&body.to_bytes()).map_err(|_| RegistryError::Body)?;
    match posted.schema_type.as_deref() {
        None | Some("AVRO") => Ok(posted.schema),
        Some(_) => Err(RegistryError::SchemaType),
    }
}
