//! The definitions at one offset, and how a record changes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::access::ApiKey;
use schemas::control::{ControlKey, ControlRecord, Definition, Feed, Kind, Tenant};
use schemas::ids::{Offset, TenantId};
use schemas::meter::Meter;
use schemas::time::EventTime;
use schemas::usage::Usage;

use super::ControlConfig;

/// A definition and which of its versions it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Defined<T> {
    /// Grows with each change of the definition.
    pub version: i64,
    /// When it was changed.
    pub changed_at: EventTime,
    /// What it says.
    pub value: T,
}

/// All that is defined for one tenant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TenantControl {
    /// The tenant itself; `None` when it was deleted or is not defined yet.
    pub tenant: Option<Defined<Tenant>>,
    /// Its feeds, by id.
    pub feeds: BTreeMap<String, Defined<Feed>>,
    /// Its meters, by id.
    pub meters: BTreeMap<String, Defined<Meter>>,
    /// Its API keys, by id.
    pub keys: BTreeMap<String, Defined<ApiKey>>,
    /// How much of its month it has used, when that was counted last.
    pub usage: Option<Defined<Usage>>,
    /// The offset after the last record that changed any of it but its keys and its usage, on which
    /// no result hangs.
    pub changed_offset: Offset,
}

/// Every tenant's definitions, true up to an offset of the control topic.
#[derive(Clone, Default, Debug)]
pub struct Control {
    /// The offset of the next record that may change it.
    pub offset: Offset,
    tenants: BTreeMap<TenantId, Arc<TenantControl>>,
    /// The last accepted version of each key, of deleted ones too: an old record stays old.
    versions: BTreeMap<ControlKey, i64>,
}

/// Why a record was ignored.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// No key, or one that is none of ours.
    #[error("key is not tenant/kind/id")]
    Key,
    /// A tombstone, or bytes that are no control record.
    #[error("record cannot be read: {0}")]
    Unreadable(String),
    /// The MAC is missing or not ours.
    #[error("record does not carry this installation's MAC")]
    Unsigned,
    /// The view holds just this already: whoever publishes did not learn that it had arrived.
    #[error("version {0} is there already, word for word")]
    Repeated(i64),
    /// The view holds another one of this version already, or a later one.
    #[error("version {found} is not later than {held}")]
    Stale {
        /// The record's.
        found: i64,
        /// The view's.
        held: i64,
    },
    /// Signed, but not a definition that this release knows.
    #[error("{0}")]
    Definition(String),
}

impl Control {
    /// The tenants that exist.
    pub fn tenants(&self) -> impl Iterator<Item = (&TenantId, &Arc<TenantControl>)> {
        self.tenants
            .iter()
            .filter(|(_, control)| control.tenant.is_some())
    }

    /// What is defined for a tenant that exists.
    pub fn tenant(&self, id: &TenantId) -> Option<&Arc<TenantControl>> {
        self.tenants
            .get(id)
            .filter(|control| control.tenant.is_some())
    }

    /// The last accepted version under a key; 0 for one that was never written.
    pub fn version(&self, key: &ControlKey) -> i64 {
        self.versions.get(key).copied().unwrap_or(0)
    }

    /// The definition under a key, if it exists and was not deleted.
    pub fn definition(&self, key: &ControlKey) -> Option<Definition> {
        let control = self.tenants.get(&key.tenant)?;
        match key.kind {
            Kind::Tenant => control
                .tenant
                .as_ref()
                .map(|defined| Definition::Tenant(defined.value.clone())),
            Kind::Feed => control
                .feeds
                .get(&key.id)
                .map(|defined| Definition::Feed(defined.value.clone())),
            Kind::Meter => control
                .meters
                .get(&key.id)
                .map(|defined| Definition::Meter(defined.value.clone())),
            Kind::Key => control
                .keys
                .get(&key.id)
                .map(|defined| Definition::Key(defined.value.clone())),
            Kind::Usage => control
                .usage
                .as_ref()
                .map(|defined| Definition::Usage(defined.value)),
        }
    }

    /// Takes a record in that lies at `offset`.
    ///
    /// # Errors
    /// Why it was ignored; the view is as before then, but for its offset.
    pub fn apply(
        &mut self,
        config: &ControlConfig,
        offset: Offset,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<ControlKey, Refusal> {
        self.offset = offset + 1;
        let text = key
            .and_then(|key| std::str::from_utf8(key).ok())
            .ok_or(Refusal::Key)?;
        let key: ControlKey = text.parse().map_err(|_| Refusal::Key)?;
        let value = value.ok_or_else(|| Refusal::Unreadable("it is a tombstone".into()))?;
        let record =
            ControlRecord::decode(value).map_err(|error| Refusal::Unreadable(error.to_string()))?;
        if !config.is_signed(text, &record) {
            return Err(Refusal::Unsigned);
        }
        let held = self.version(&key);
        if record.version < held {
            return Err(Refusal::Stale {
                found: record.version,
                held,
            });
        }
        let definition = record
            .body
            .map(|body| Definition::read(key.kind, body.as_str()));
        let definition = definition
            .transpose()
            .map_err(|error| Refusal::Definition(error.to_string()))?;
        if record.version == held {
            return Err(match self.definition(&key) == definition {
                true => Refusal::Repeated(held),
                false => Refusal::Stale { found: held, held },
            });
        }
        self.versions.insert(key.clone(), record.version);
        let tenant = self.tenants.entry(key.tenant.clone()).or_default();
        let tenant = Arc::make_mut(tenant);
        if !matches!(key.kind, Kind::Key | Kind::Usage) {
            tenant.changed_offset = offset + 1;
        }
        let defined = Stamp {
            version: record.version,
            changed_at: record.changed_at,
        };
        tenant.replace(&key, definition, defined);
        Ok(key)
    }
}

#[derive(Clone, Copy)]
struct Stamp {
    version: i64,
    changed_at: EventTime,
}

impl Stamp {
    fn on<T>(self, value: T) -> Defined<T> {
        Defined {
            version: self.version,
            changed_at: self.changed_at,
            value,
        }
    }
}

impl TenantControl {
    fn replace(&mut self, key: &ControlKey, definition: Option<Definition>, stamp: Stamp) {
        match definition {
            Some(Definition::Tenant(tenant)) => self.tenant = Some(stamp.on(tenant)),
            Some(Definition::Feed(feed)) => {
                self.feeds.insert(key.id.clone(), stamp.on(feed));
            }
            Some(Definition::Meter(meter)) => {
                self.meters.insert(key.id.clone(), stamp.on(meter));
            }
            Some(Definition::Key(api_key)) => {
                self.keys.insert(key.id.clone(), stamp.on(api_key));
            }
            Some(Definition::Usage(usage)) => self.usage = Some(stamp.on(usage)),
            None => match key.kind {
                Kind::Tenant => self.tenant = None,
                Kind::Feed => drop(self.feeds.remove(&key.id)),
                Kind::Meter => drop(self.meters.remove(&key.id)),
                Kind::Key => drop(self.keys.remove(&key.id)),
                Kind::Usage => self.usage = None,
            },
        }
    }
}
