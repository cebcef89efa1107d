//! Who asks: a key becomes a [`Caller`], and nothing else does.
//!
//! A tenant is taken from the credential, never from the request. The keys in force are a view of
//! `pulse.control` in memory, so a revoked key is nothing here as soon as its record is.

pub mod installation;
pub mod keyring;
pub mod secret;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};
use runtime::control::TenantControl;
use schemas::access::{ApiKey, KeyKind, Scope};
use schemas::ids::TenantId;
use schemas::tier::{IngestLimits, Tier};

use crate::problem::ApiError;

pub use keyring::Keyring;

/// The holder of a key that is in force, and what it may do.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whose key it is.
    pub tenant: TenantId,
    /// The key's id.
    pub key_id: Arc<str>,
    /// The key.
    pub key: Arc<ApiKey>,
    /// All that the tenant has defined, as it was when the request came.
    pub control: Arc<TenantControl>,
}

impl Caller {
    /// True when the key has the scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.key.scopes.contains(&scope)
    }

    /// The limits of the tenant's streams.
    pub fn limits(&self) -> schemas::control::Limits {
        let tenant = self.control.tenant.as_ref();
        tenant.map(|tenant| tenant.value.limits).unwrap_or_default()
    }

    /// How much the tenant may send.
    pub fn ingest(&self) -> IngestLimits {
        match self.control.tenant.as_ref().map(|tenant| &tenant.value) {
            Some(tenant) => tenant.ingest.over(tenant.tier),
            // Its record has gone since the key was looked up.
            None => Tier::Free.ingest(),
        }
    }

    /// Refuses a public key that is used from elsewhere than its pages.
    ///
    /// # Errors
    /// 403 when the origin is not one of the key's.
    pub fn check_origin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if self.key.kind == KeyKind::Secret {
            return Ok(());
        }
        let origin = headers.get(header::ORIGIN).and_then(|o| o.to_str().ok());
        match origin.is_some_and(|origin| self.key.origins.iter().any(|own| own == origin)) {
            true => Ok(()),
            false => Err(ApiError::forbidden(
                "a public key is taken from its own origins alone, and this Origin is none of them",
            )),
        }
    }
}

/// The key of a request: `X-API-Key`, or `Authorization: Bearer`.
///
/// # Errors
/// 401 when both are there and differ, or one is no text.
pub fn presented(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let api_key = match headers.get("x-api-key") {
        Some(value) => Some(value.to_str().map_err(|_| ApiError::unauthorized())?),
        None => None,
    };
    let bearer = match headers.get(header::AUTHORIZATION) {
        Some(value) => Some(bearer(
            value.to_str().map_err(|_| ApiError::unauthorized())?,
        )?),
        None => None,
    };
    match (api_key, bearer) {
        (Some(one), Some(other)) if one != other => Err(ApiError::unauthorized()),
        (one, other) => Ok(one.or(other)),
    }
}

/// The key in `Bearer <key>`; the scheme's case does not matter.
fn bearer(text: &str) -> Result<&str, ApiError> {
    let (scheme, key) = text.split_once(' ').ok_or_else(ApiError::unauthorized)?;
    match scheme.eq_ignore_ascii_case("bearer") {
        true => Ok(key.trim_start()),
        false => Err(ApiError::unauthorized()),
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    /// What [`crate::routes`] has found out before the handler.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::internal(&"a route that nobody's key is asked for"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], expect: Option<Option<&str>>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        assert_eq!(presented(&map).ok(), expect, "{headers:?}");
    }

    #[test]
    fn a_key_comes_in_either_header_and_never_two() {
        check(&[], Some(None));
        check(&[("x-api-key", "k")], Some(Some("k")));
        check(&[("authorization", "Bearer k")], Some(Some("k")));
        check(&[("authorization", "bearer  k")], Some(Some("k")));
        check(&[("authorization", "Basic k")], None);
        check(&[("authorization", "k")], None);
        check(
            &[("x-api-key", "k"), ("authorization", "Bearer k")],
            Some(Some("k")),
        );
        check(&[("x-api-key", "k"), ("authorization", "Bearer l")], None);
        check(&[("x-api-key", "\u{e9}")], None);
    }
}
