//! Who writes definitions for this tool: pulse-api where one runs, and the tool itself where none
//! does.
//!
//! Where there is a pulse-api its store is the truth, and what anybody else wrote to the topic
//! would be undone within the minute. What is defined is read from the topic in both cases:
//! pulse-api answers when a change is there.

use runtime::config::{Environment, Settings};
use runtime::control::{Control, ControlConfig, ControlWriter, WriteError, Written};
use runtime::fate::Fate;
use runtime::kafka::KafkaConfig;
use schemas::control::{ControlKey, Definition};
use schemas::ids::TenantId;

use crate::init::{self, InitError, NewTenant, Thing};
use crate::installation::{API_URL, Access};

mod call;

pub use call::{CallError, Installation};

/// Why something was not defined.
#[derive(Debug, thiserror::Error)]
pub enum DefineError {
    /// The topic could not be read or written.
    #[error(transparent)]
    Control(#[from] WriteError),
    /// pulse-api did not do it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A tenant was not made.
    #[error(transparent)]
    Init(#[from] InitError),
}

impl DefineError {
    /// Whether the same may succeed later.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Control(WriteError::Read(error)) => error.fate(),
            Self::Control(_) => Fate::Halt,
            Self::Call(error) => error.fate(),
            Self::Init(error) => error.fate(),
        }
    }
}

/// Defines things.
pub struct Definer {
    kafka: KafkaConfig,
    control: ControlConfig,
    writer: ControlWriter,
    /// The pulse-api that does it, if there is one.
    api: Option<Installation>,
}

impl Definer {
    /// By whoever has to do it in this installation.
    ///
    /// # Errors
    /// When the brokers are not known, or a setting cannot be used.
    pub fn of(access: &Access) -> anyhow::Result<Self> {
        let (kafka, control) = (access.kafka()?, access.control()?);
        let url = installation_url(access)?;
        let api = url.map(|url| Installation::new(&url.0, &control));
        Self::new(kafka, control, api).map_err(Into::into)
    }

    /// By this pulse-api, or straight to the topic.
    ///
    /// # Errors
    /// When no client of the brokers can be made.
    pub fn new(
        kafka: KafkaConfig,
        control: ControlConfig,
        api: Option<Installation>,
    ) -> Result<Self, WriteError> {
        let writer = ControlWriter::new(&kafka, &control)?;
        Ok(Self {
            kafka,
            control,
            writer,
            api,
        })
    }

    /// The brokers.
    pub fn kafka(&self) -> &KafkaConfig {
        &self.kafka
    }

    /// All that is defined now.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub async fn read(&self) -> Result<Control, WriteError> {
        self.writer.read().await
    }

    /// Defines something, unless it is so already word for word.
    ///
    /// # Errors
    /// When it was not done; through pulse-api it may be done later then.
    pub async fn put(
        &self,
        key: &ControlKey,
        definition: &Definition,
    ) -> Result<Written, DefineError> {
        match &self.api {
            Some(api) => Ok(api.put(key, definition).await?),
            None => Ok(self.writer.put(key, definition).await?),
        }
    }

    /// Deletes something.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn delete(&self, key: &ControlKey) -> Result<Written, DefineError> {
        match &self.api {
            Some(api) => Ok(api.delete(key).await?),
            None => Ok(self.writer.delete(key).await?),
        }
    }

    /// Makes a key of a tenant with every scope; none without a pulse-api, which alone takes keys.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn make_key(
        &self,
        tenant: &TenantId,
        name: &str,
    ) -> Result<Option<String>, DefineError> {
        match &self.api {
            Some(api) => Ok(Some(api.make_key(tenant, name).await?)),
            None => Ok(None),
        }
    }

    /// Makes what is missing of a tenant.
    ///
    /// # Errors
    /// The first thing that cannot be had; what came before it is there.
    pub async fn ensure(&self, wanted: &NewTenant) -> Result<Vec<Thing>, DefineError> {
        match &self.api {
            Some(api) => Ok(api.ensure(wanted).await?),
            None => Ok(init::ensure(&self.kafka, &self.control, wanted).await?),
        }
    }
}

/// The operator's side of this installation's pulse-api, where one is known.
///
/// # Errors
/// When a setting cannot be used.
pub fn installation_of(access: &Access) -> anyhow::Result<Option<Installation>> {
    let Some(url) = installation_url(access)? else {
        return Ok(None);
    };
    Ok(Some(Installation::new(&url.0, &access.control()?)))
}

/// Where pulse-api answers the operator.
struct Url(String);

impl Settings for Url {
    fn read(env: &mut Environment) -> Option<Self> {
        let url = env.text(&API_URL)?;
        let address = url
            .strip_prefix("http://")
            .map(|it| it.trim_end_matches('/'));
        match address.filter(|address| address.contains(':') && !address.contains('/')) {
            Some(address) => Some(Self(address.to_owned())),
            None => env.refuse(&API_URL, "must be http://host:port"),
        }
    }
}

/// The environment's, else that of what runs here.
fn installation_url(access: &Access) -> anyhow::Result<Option<Url>> {
    let running = access
        .running()
        .and_then(|run| run.installation_url.clone());
    let known = running.map(|url| (API_URL.name, url));
    let mut env = Environment::of_process().or(known);
    if !env.has(API_URL.name) {
        return Ok(None);
    }
    let url = Url::read(&mut env);
    Ok(Some(env.finish(url)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        let mut env = Environment::of([(API_URL.name, text)]);
        let url = Url::read(&mut env);
        let url = env.finish(url).ok();
        assert_eq!(url.as_ref().map(|url| url.0.as_str()), expect, "{text}");
    }

    #[test]
    fn a_url_names_a_host_and_a_port() {
        check("http://127.0.0.1:8082", Some("127.0.0.1:8082"));
        check("http://127.0.0.1:8082/", Some("127.0.0.1:8082"));
        check("https://127.0.0.1:8082", None);
        check("127.0.0.1:8082", None);
        check("http://localhost", None);
        check("http://localhost:1/path", None);
    }
}
