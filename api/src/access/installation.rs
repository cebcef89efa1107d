//! The operator's own tool, by a token that both sides make of the installation's secret.

use http::{HeaderMap, HeaderValue};
use runtime::config::Secret;
use runtime::control::ControlConfig;
use subtle::ConstantTimeEq;

use super::presented;
use crate::problem::ApiError;

/// What the token is derived under; another meaning would be another label.
const LABEL: &str = "pulse installation routes";

/// Who has it may do what an operator may. Cheap to clone.
#[derive(Clone, Debug)]
pub struct InstallationToken(Secret);

impl InstallationToken {
    /// The token of the installation with this secret.
    pub fn of(control: &ControlConfig) -> Self {
        Self(control.derive(LABEL))
    }

    /// The value of `Authorization` with it.
    pub fn header(&self) -> HeaderValue {
        let text = format!("Bearer {}", self.0.reveal());
        let mut value = HeaderValue::try_from(text).expect("hexadecimal digits make a header");
        value.set_sensitive(true);
        value
    }

    /// Refuses a request without it, in the same time whatever came instead.
    ///
    /// # Errors
    /// 401 then.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let given = presented(headers)?.unwrap_or_default();
        let is_own = given.as_bytes().ct_eq(self.0.reveal().as_bytes());
        match bool::from(is_own) {
            true => Ok(()),
            false => Err(ApiError::unauthorized()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(secret: &str) -> InstallationToken {
        InstallationToken::of(&ControlConfig::new(Secret::new(secret)))
    }

    #[test]
    fn only_who_knows_the_secret_is_let_in() {
        let own = token("a secret of this test");
        let mut headers = HeaderMap::new();
        assert!(own.check(&headers).is_err());
        headers.insert(http::header::AUTHORIZATION, own.header());
        assert!(token("a secret of this test").check(&headers).is_ok());
        assert!(token("a secret of that test").check(&headers).is_err());
        headers.insert(http::header::AUTHORIZATION, "Bearer x".parse().unwrap());
        assert!(own.check(&headers).is_err());
    }
}
