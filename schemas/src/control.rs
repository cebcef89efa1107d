//! The operator's own definitions, as they travel on `pulse.control`: tenants, keys, feeds and
//! meters.
//!
//! A record's key is `tenant/kind/id`; its body is JSON. Each record carries a MAC by the
//! installation's secret, which `runtime::control` makes and checks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::access::ApiKey;
use crate::ids::TenantId;
use crate::meter::Meter;
use crate::refusal::{DateLimits, EventRules};
use crate::tier::{IngestOverrides, Tier};
use crate::time::EventTime;
use crate::usage::Usage;
use crate::wire::{DecodeError, Reader, SchemaId, Text, avro, frame, unframe};

/// What kind of thing a control record defines.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A tenant and its limits; its id is `self`.
    Tenant,
    /// A feed from an exchange.
    Feed,
    /// A user's definition of a metric.
    Meter,
    /// An API key, by its hash.
    Key,
    /// How much of its month a tenant has used; its id is `self`.
    Usage,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Tenant,
        Self::Feed,
        Self::Meter,
        Self::Key,
        Self::Usage,
    ];

    /// The middle part of a control key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Feed => "feed",
            Self::Meter => "meter",
            Self::Key => "key",
            Self::Usage => "usage",
        }
    }
}

/// `tenant/kind/id`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ControlKey {
    /// Whose definition it is.
    pub tenant: TenantId,
    /// What it defines.
    pub kind: Kind,
    /// Its id, unique within tenant and kind.
    pub id: String,
}

impl fmt::Display for ControlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.kind.as_str(), self.id)
    }
}

/// A text that is no control key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a control key is tenant/kind/id")]
pub struct ControlKeyError;

impl FromStr for ControlKey {
    type Err = ControlKeyError;

    fn from_str(text: &str) -> Result<Self, ControlKeyError> {
        let mut parts = text.splitn(3, '/');
        let (Some(tenant), Some(kind), Some(id)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(ControlKeyError);
        };
        let named = Kind::ALL.into_iter().find(|named| named.as_str() == kind);
        let kind = named.ok_or(ControlKeyError)?;
        let tenant = tenant.parse().map_err(|_| ControlKeyError)?;
        if id.is_empty() {
            return Err(ControlKeyError);
        }
        Ok(Self {
            tenant,
            kind,
            id: id.to_owned(),
        })
    }
}

/// A control record. Each field's meaning is in `avro/control.avsc`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the schema documents the fields")]
pub struct ControlRecord<'a> {
    pub version: i64,
    pub changed_at: EventTime,
    pub body: Option<Text<'a>>,
    pub mac: &'a [u8],
}

impl<'a> ControlRecord<'a> {
    /// Appends the framed record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame(out, SchemaId::Control);
        avro::put_long(out, self.version);
        avro::put_long(out, self.changed_at.as_us());
        avro::put_optional_text(out, self.body.map(Text::as_str));
        avro::put_bytes(out, self.mac);
    }

    /// Reads a framed record.
    ///
    /// # Errors
    /// Whatever the schema does not allow; never a panic, whatever the bytes.
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(unframe(value, SchemaId::Control)?);
        let r = &mut reader;
        let record = Self {
            version: r.long("version")?,
            changed_at: EventTime::from_us(r.long("changed_at")?),
            body: r.optional_text("body")?,
            mac: r.bytes("mac")?,
        };
        reader.end()?;
        Ok(record)
    }

    /// What the MAC is computed over: each part behind its length, so that none can flow into the
    /// next.
    pub fn signed_bytes(&self, key: &str) -> Vec<u8> {
        let mut out = vec![];
        avro::put_bytes(&mut out, key.as_bytes());
        avro::put_long(&mut out, self.version);
        avro::put_long(&mut out, self.changed_at.as_us());
        avro::put_optional_text(&mut out, self.body.map(Text::as_str));
        out
    }
}

/// A tenant and its limits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// The name that people read.
    pub name: String,
    /// Time and size limits of the tenant's streams.
    #[serde(default)]
    pub limits: Limits,
    /// What it may send.
    #[serde(default)]
    pub tier: Tier,
    /// What an operator has set instead of its tier's figures.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ingest: IngestOverrides,
    /// True when producers of the tenant's own may write straight to Kafka.
    #[serde(default, skip_serializing_if = "is_default")]
    pub direct_producers: bool,
}

impl Tenant {
    /// A tenant of that name, with everything else as it is unless somebody changes it.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            limits: Limits::default(),
            tier: Tier::default(),
            ingest: IngestOverrides::default(),
            direct_producers: false,
        }
    }

    /// What its events are held to.
    pub fn event_rules(&self) -> EventRules {
        EventRules {
            dates: self.limits.dates(),
            direct_producers: self.direct_producers,
        }
    }

    /// What is wrong with it, each fault with the field's name.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.limits.faults();
        faults.extend(self.ingest.faults());
        faults
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Limits of a tenant's streams; per tenant, never per meter, so that every resolution counts the
/// same events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How much disorder a subject's stream may have before its windows fire.
    pub bound_ms: i64,
    /// How long after it fired a window still takes events and is corrected.
    pub allowed_lateness_ms: i64,
    /// How far ahead of its append an event may be dated.
    pub future_max_ms: i64,
    /// How far behind its append an event may be dated.
    pub past_max_ms: i64,
    /// How long a subject may be silent before what it holds is dropped.
    pub silence_max_ms: i64,
    /// Event identities remembered per partition.
    pub dedup_ids_max: u64,
    /// Subjects with a clock of their own per partition.
    pub subjects_max: u64,
    /// Groups over all partitions of the tenant.
    pub groups_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bound_ms: 500,
            allowed_lateness_ms: 2 * 60_000,
            future_max_ms: 5 * 60_000,
            past_max_ms: 3_653 * 86_400_000,
            silence_max_ms: 86_400_000,
            dedup_ids_max: 4_000_000,
            subjects_max: 1_000_000,
            groups_max: 1_000_000,
        }
    }
}

impl Limits {
    /// How far from its append an event may be dated.
    pub fn dates(&self) -> DateLimits {
        DateLimits {
            future_max_ms: self.future_max_ms,
            past_max_ms: self.past_max_ms,
        }
    }

    /// What is wrong with them, each fault with the field's name.
    pub fn faults(&self) -> Vec<String> {
        let day = 86_400_000;
        let mut faults = vec![];
        let mut check = |name: &str, value: i64, least: i64, most: i64| {
            if value < least || value > most {
                faults.push(format!(
                    "{name} is {value}, and must lie in {least}..={most}"
                ));
            }
        };
        check("bound_ms", self.bound_ms, 0, day);
        check("allowed_lateness_ms", self.allowed_lateness_ms, 0, 31 * day);
        check("future_max_ms", self.future_max_ms, 0, 366 * day);
        check("past_max_ms", self.past_max_ms, 0, 100 * 366 * day);
        check("silence_max_ms", self.silence_max_ms, 60_000, 366 * day);
        let caps = [self.dedup_ids_max, self.subjects_max, self.groups_max];
        if caps.contains(&0) {
            faults.push("dedup_ids_max, subjects_max and groups_max are at least 1".into());
        }
        faults
    }
}

/// What a connector reads for a tenant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// Where from.
    pub exchange: Exchange,
    /// The exchange's own names of markets, for instance `BTC-USD`.
    pub products: Vec<String>,
    /// What of them.
    pub channels: Vec<Channel>,
    /// False pauses the feed.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

/// Products in one feed; more is a mistake in its definition.
pub const PRODUCTS_MAX: usize = 1_000;

impl Feed {
    /// What is wrong with it, each fault with the field's name.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = vec![];
        let count = self.products.len();
        if count == 0 || count > PRODUCTS_MAX {
            faults.push(format!(
                "products has {count} items, and must have 1 to {PRODUCTS_MAX}"
            ));
        }
        if self.channels.is_empty() {
            faults.push("channels is empty: name one or more of quotes, trades and depth".into());
        }
        for (at, product) in self.products.iter().enumerate() {
            if !is_product(product) {
                let shown: String = product.chars().take(80).collect();
                faults.push(format!(
                    "products[{at}] is {shown:?}, and a market's name is 1 to 64 of \
                     A-Z a-z 0-9 - . _ /, for instance BTC-USD"
                ));
            }
        }
        faults
    }
}

/// True for a name that a market can have: 1 to 64 of `A-Z a-z 0-9 - . _ /`.
pub fn is_product(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._/".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn enabled() -> bool {
    true
}

/// An exchange, by the protocol that its public feed speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exchange {
    /// Coinbase's Exchange feed.
    CoinbaseExchange,
    /// Coinbase's Advanced Trade feed.
    CoinbaseAdvanced,
}

impl Exchange {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::CoinbaseExchange, Self::CoinbaseAdvanced];

    /// The first part of a market's subject: both feeds show the same markets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CoinbaseExchange | Self::CoinbaseAdvanced => "coinbase",
        }
    }
}

/// What a feed carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Best bid and ask with the day's statistics, as `quote` events.
    Quotes,
    /// Trades, as `trade` events.
    Trades,
    /// Order-book depth, on `books`.
    Depth,
}

/// A definition by its kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Definition {
    /// A tenant and its limits.
    Tenant(Tenant),
    /// A feed from an exchange.
    Feed(Feed),
    /// A metric's definition.
    Meter(Meter),
    /// An API key, by its hash.
    Key(ApiKey),
    /// How much of its month a tenant has used.
    Usage(Usage),
}

impl Definition {
    /// Reads a body of the given kind.
    ///
    /// # Errors
    /// What JSON or the definition's own rules say, with the place.
    pub fn read(kind: Kind, body: &str) -> Result<Self, DefinitionError> {
        let (faults, definition) = match kind {
            Kind::Tenant => {
                let tenant: Tenant = serde_json::from_str(body)?;
                (tenant.faults(), Self::Tenant(tenant))
            }
            Kind::Feed => {
                let feed: Feed = serde_json::from_str(body)?;
                (feed.faults(), Self::Feed(feed))
            }
            Kind::Meter => {
                let meter: Meter = serde_json::from_str(body)?;
                (meter.faults(), Self::Meter(meter))
            }
            Kind::Key => {
                let key: ApiKey = serde_json::from_str(body)?;
                (key.faults(), Self::Key(key))
            }
            Kind::Usage => {
                let usage: Usage = serde_json::from_str(body)?;
                (usage.faults(), Self::Usage(usage))
            }
        };
        match faults.is_empty() {
            true => Ok(definition),
            false => Err(DefinitionError::Faults(faults)),
        }
    }

    /// The body as JSON.
    pub fn body(&self) -> String {
        match self {
            Self::Tenant(tenant) => serde_json::to_string(tenant),
            Self::Feed(feed) => serde_json::to_string(feed),
            Self::Meter(meter) => serde_json::to_string(meter),
            Self::Key(key) => serde_json::to_string(key),
            Self::Usage(usage) => serde_json::to_string(usage),
        }
        .expect("definitions hold nothing that JSON cannot say")
    }

    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Tenant(_) => Kind::Tenant,
            Self::Feed(_) => Kind::Feed,
            Self::Meter(_) => Kind::Meter,
            Self::Key(_) => Kind::Key,
            Self::Usage(_) => Kind::Usage,
        }
    }
}

/// Why a body is no definition.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// Not the JSON of such a definition.
    #[error("definition cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Breaks the definition's own rules.
    #[error("definition is invalid: {}", .0.join("; "))]
    Faults(Vec<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, body: &str, expect: &str) {
        let got = match Definition::read(kind, body) {
            Ok(_) => "sound".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(got.contains(expect), "{body}: {got}");
    }

    fn feed(products: &[&str], channels: &[&str]) -> String {
        serde_json::json!({
            "exchange": "coinbase_exchange", "products": products, "channels": channels,
        })
        .to_string()
    }

    #[test]
    fn a_feed_says_which_product_is_none_and_what_one_would_be() {
        let sound = feed(&["BTC-USD", "x/Y._9"], &["trades"]);
        check(Kind::Feed, &sound, "sound");
        let long = "A".repeat(65);
        for name in ["", "a b", "BTC\0", "x\"}", "é", &long] {
            let body = feed(&["BTC-USD", name], &["trades"]);
            check(Kind::Feed, &body, &format!("products[1] is {name:?}"));
            let right = "1 to 64 of A-Z a-z 0-9 - . _ /, for instance BTC-USD";
            check(Kind::Feed, &body, right);
        }
    }

    #[test]
    fn a_feed_has_a_bounded_number_of_products_and_a_channel() {
        let many = vec!["A"; PRODUCTS_MAX + 1];
        check(
            Kind::Feed,
            &feed(&many, &["trades"]),
            "products has 1001 items",
        );
        check(Kind::Feed, &feed(&[], &["trades"]), "products has 0 items");
        check(Kind::Feed, &feed(&["A"], &[]), "channels is empty");
    }

    #[test]
    fn what_breaks_a_kinds_own_rules_is_no_definition() {
        let tenant = r#"{"name":"a","limits":{"bound_ms":-1}}"#;
        check(Kind::Tenant, tenant, "bound_ms is -1");
        let meter = r#"{"group_by":["subject"],"aggregates":[{"name":"n","function":"count"}],
            "windows":[{"kind":"tumbling","width_ms":10},{"kind":"tumbling","width_ms":10}]}"#;
        check(Kind::Meter, meter, "windows[1].width_ms is 10");
    }
}
