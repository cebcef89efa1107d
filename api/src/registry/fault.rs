//! What is refused here, as stock clients read it: an HTTP status, a number and a sentence.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use schemas::wire::SchemaId;
use schemas::wire::canonical::SchemaFault;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer;

/// An error as it travels.
#[derive(Debug, Serialize, ToSchema)]
pub struct Fault {
    /// The HTTP status, or one of Confluent's numbers that begin with it.
    #[schema(example = 40403)]
    pub error_code: u32,
    /// What went wrong here, for people.
    pub message: Cow<'static, str>,
}

/// Why a request to the registry was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The body is not what a serializer posts.
    #[error("the body must be JSON with a text \"schema\"")]
    Body,
    /// The body did not come in time.
    #[error("the body did not come in time")]
    Slow,
    /// The body is larger than any schema.
    #[error("the body has more than {max} bytes")]
    TooLarge {
        /// How many it may have.
        max: usize,
    },
    /// A kind of schema that there is none of.
    #[error("schemaType is another than AVRO, and all schemas here are Avro")]
    SchemaType,
    /// A text that is no schema.
    #[error("the schema cannot be read: {0}")]
    Schema(SchemaFault),
    /// A schema that was not released.
    #[error("{}", foreign(*.expected))]
    Foreign {
        /// The schema that belongs there.
        expected: Option<SchemaId>,
    },
    /// A schema that is not here.
    #[error("Schema not found: this registry has the schemas that PulseStream releases alone")]
    SchemaNotFound,
    /// A version that is not here.
    #[error("Version not found: every subject has version 1 alone")]
    VersionNotFound,
    /// What is no version's number.
    #[error("the version must be 1, -1 or latest")]
    Version,
    /// Keys are texts.
    #[error("Subject not found: a key is a text in UTF-8, and has no schema")]
    Key,
    /// A path that is none of the registry's.
    #[error("HTTP 404 Not Found")]
    Path,
    /// Somebody wants to change something.
    #[error("this registry is read-only: its schemas come with PulseStream's releases")]
    ReadOnly,
}

fn foreign(expected: Option<SchemaId>) -> String {
    let which = expected.map_or("one of the released schemas", SchemaId::name);
    format!(
        "this registry takes no schema that is not released: this subject has {which}, \
         which GET subjects/{{subject}}/versions/latest shows"
    )
}

impl RegistryError {
    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Body => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SchemaType | Self::Schema(_) | Self::Version => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Foreign { .. } => StatusCode::CONFLICT,
            Self::SchemaNotFound | Self::VersionNotFound | Self::Key | Self::Path => {
                StatusCode::NOT_FOUND
            }
            Self::ReadOnly => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// Confluent's number for it; the status where there is none.
    pub fn code(&self) -> u32 {
        match self {
            Self::Key => 40_401,
            Self::VersionNotFound => 40_402,
            Self::SchemaNotFound => 40_403,
            Self::SchemaType | Self::Schema(_) => 42_201,
            Self::Version => 42_202,
            _ => self.status().as_u16().into(),
        }
    }
}

impl IntoResponse for RegistryError {
    fn into_response(self) -> Response {
        let fault = Fault {
            error_code: self.code(),
            message: self.to_string().into(),
        };
        let mut response = answer(fault);
        *response.status_mut() = self.status();
        response
    }
}
