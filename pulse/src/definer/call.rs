//! The operator's routes of pulse-api, called.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use api::access::installation::InstallationToken;
use api::manage::installation::{EnsuredTenant, WantedTenant, Written as Answered};
use api::problem::Problem;
use runtime::control::{ControlConfig, Written};
use runtime::fate::Fate;
use schemas::access::Scope;
use schemas::control::{ControlKey, Definition};
use schemas::ids::TenantId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::init::{NewTenant, Thing};
use crate::status::http::{self, Request};

/// How long a call may take: pulse-api itself gives up earlier.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Why a call did nothing, or nobody knows what it did.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answered.
    #[error("pulse-api at {address}: {cause}")]
    Unanswered {
        /// Where it should be.
        address: String,
        /// Why not.
        cause: io::Error,
    },
    /// It refused.
    #[error("pulse-api refused, {status}: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// What answered is no pulse-api of this release.
    #[error("what answers at {address} does not speak as pulse-api does: {cause}")]
    Strange {
        /// Where it is.
        address: String,
        /// What it said instead.
        cause: String,
    },
}

impl CallError {
    /// Whether the same call may succeed later.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Unanswered { .. } => Fate::Retry,
            Self::Refused { status: 503, .. } => Fate::Retry,
            Self::Refused { .. } | Self::Strange { .. } => Fate::Halt,
        }
    }
}

/// The operator's side of a pulse-api.
pub struct Installation {
    address: String,
    token: InstallationToken,
}

impl Installation {
    /// At this `host:port`, with the token of this secret.
    pub fn new(address: &str, control: &ControlConfig) -> Self {
        Self {
            address: address.to_owned(),
            token: InstallationToken::of(control),
        }
    }

    /// Defines something of a tenant that exists.
    ///
    /// # Errors
    /// When it was not done, or not in time.
    pub async fn put(
        &self,
        key: &ControlKey,
        definition: &Definition,
    ) -> Result<Written, CallError> {
        let answer = self.call("PUT", &path(key), definition.body()).await?;
        Ok(written(answer))
    }

    /// Deletes something.
    ///
    /// # Errors
    /// When it was not done, or not in time.
    pub async fn delete(&self, key: &ControlKey) -> Result<Written, CallError> {
        Ok(written(
            self.call("DELETE", &path(key), String::new()).await?,
        ))
    }

    /// Makes what is missing of a tenant.
    ///
    /// # Errors
    /// When it was not done, or not in time; asking again goes on.
    pub async fn ensure(&self, wanted: &NewTenant) -> Result<Vec<Thing>, CallError> {
        let path = format!("/api/v1/installation/tenants/{}", wanted.id);
        let ensured: EnsuredTenant = self.call("PUT", &path, body(&in_words(wanted))).await?;
        let things = ensured.things.into_iter();
        Ok(things
            .map(|thing| Thing {
                name: thing.name,
                is_new: thing.is_new,
            })
            .collect())
    }

    /// Makes a key of a tenant with every scope, and tells its text, which nobody shows again.
    ///
    /// # Errors
    /// When it was not done, or not in time.
    pub async fn make_key(&self, tenant: &TenantId, name: &str) -> Result<String, CallError> {
        let path = format!("/api/v1/installation/tenants/{tenant}/keys");
        let scopes = Scope::ALL.map(Scope::as_str);
        let wanted = serde_json::json!({"name": name, "scopes": scopes});
        let made: MadeKey = self.call("POST", &path, wanted.to_string()).await?;
        Ok(made.key)
    }

    /// Writes the control store, as it is at one moment, to the new file `to`; returns its bytes.
    ///
    /// # Errors
    /// When it was not sent, or not all of it, or cannot be written; there is no file then.
    pub async fn backup(&self, to: &Path) -> Result<u64, CallError> {
        let header = self.token.header();
        let authorization = header.to_str().unwrap_or_default();
        let path = "/api/v1/installation/backup";
        let fetched = http::fetch(&self.address, path, authorization, to).await;
        let unanswered = |cause| CallError::Unanswered {
            address: self.address.clone(),
            cause,
        };
        match fetched.map_err(unanswered)? {
            http::Fetched::File(bytes) => Ok(bytes),
            http::Fetched::Refused(answer) => Err(self.refused(&answer)),
        }
    }

    fn refused(&self, answer: &http::Answer) -> CallError {
        match serde_json::from_str::<Problem>(&answer.body) {
            Ok(problem) => CallError::Refused {
                status: answer.status,
                detail: problem.detail.into_owned(),
            },
            Err(cause) => CallError::Strange {
                address: self.address.clone(),
                cause: format!("{}, {cause}", answer.status),
            },
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: String,
    ) -> Result<T, CallError> {
        let header = self.token.header();
        let request = Request {
            method,
            path,
            authorization: header.to_str().unwrap_or_default(),
            body: &body,
        };
        let answer = http::send(&self.address, &request, ANSWER_MAX).await;
        let answer = answer.map_err(|cause| CallError::Unanswered {
            address: self.address.clone(),
            cause,
        })?;
        let strange = |cause: serde_json::Error| CallError::Strange {
            address: self.address.clone(),
            cause: format!("{}, {cause}", answer.status),
        };
        if (200..300).contains(&answer.status) {
            return serde_json::from_str(&answer.body).map_err(strange);
        }
        let problem: Problem = serde_json::from_str(&answer.body).map_err(strange)?;
        let faults = problem.errors.iter();
        let faults: String = faults
            .map(|fault| format!("; {} {}", fault.pointer, fault.reason))
            .collect();
        Err(CallError::Refused {
            status: answer.status,
            detail: format!("{}{faults}", problem.detail),
        })
    }
}

/// What of a new key this tool wants to know.
#[derive(Deserialize)]
struct MadeKey {
    key: String,
}

fn path(key: &ControlKey) -> String {
    let (tenant, kind, id) = (&key.tenant, key.kind.as_str(), &key.id);
    format!("/api/v1/installation/tenants/{tenant}/{kind}/{id}")
}

fn written(answer: Answered) -> Written {
    match answer.is_changed {
        true => Written::Version(answer.version),
        false => Written::Unchanged,
    }
}

fn in_words(wanted: &NewTenant) -> WantedTenant {
    let tenant = wanted.tenant.clone();
    WantedTenant {
        name: tenant.name,
        limits: tenant.limits,
        tier: tenant.tier,
        ingest: tenant.ingest,
        direct_producers: tenant.direct_producers,
        meters: Some(wanted.meters.iter().cloned().collect()),
        feeds: wanted.feeds.iter().cloned().collect::<BTreeMap<_, _>>(),
    }
}

fn body(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("definitions hold nothing that JSON cannot say")
}
