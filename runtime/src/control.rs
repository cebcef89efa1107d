//! The operator's definitions as every process sees them: a view in memory of `pulse.control`.
//!
//! In: signed records of one compacted topic. Out: a [`Control`], replaced as a whole at each
//! change, with the offset up to which it is true. A record whose MAC is not this installation's,
//! or that is older than what the view holds, is ignored, counted and logged; nothing on the topic
//! can make the view smaller but a signed deletion.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use schemas::control::ControlRecord;
use schemas::ids::TenantId;
use schemas::origin::OriginKey;
use sha2::Sha256;

use crate::config::{Environment, Key, Secret, Settings};
use crate::telemetry::Metric;

mod kept;
mod snapshot;
mod view;
mod writer;

pub use snapshot::{Control, Defined, Refusal, TenantControl};
pub use view::{ControlError, ControlView};
pub use writer::{Change, ControlWriter, Published, Stopped, WriteError, Written};

const SECRET: Key = Key {
    name: "PULSE_CONTROL_SECRET",
    default: None,
    doc: "The installation's secret of 16 characters or more, or `PULSE_CONTROL_SECRET_FILE`; \
          required; it signs control records, and one that can be guessed is refused.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[SECRET];

const REJECTED: Metric = Metric {
    name: "pulse_control_rejected_total",
    doc: "Control records that were ignored: unsigned, stale or unreadable. Alarm when it grows.",
};
const OFFSET: Metric = Metric {
    name: "pulse_control_offset",
    doc: "The control offset that the view has reached.",
};

/// All of this part's metrics.
pub const METRICS: &[Metric] = &[REJECTED, OFFSET];

/// What signs and checks control records.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    secret: Secret,
}

impl Settings for ControlConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let secret = env.strong_secret(&SECRET)?;
        Some(Self { secret })
    }
}

impl ControlConfig {
    /// With this secret, whatever it is worth.
    pub fn new(secret: Secret) -> Self {
        Self { secret }
    }

    fn mac(&self, key: &str, record: &ControlRecord<'_>) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.reveal().as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(&record.signed_bytes(key));
        mac
    }

    /// The MAC of a record under this key.
    pub fn sign(&self, key: &str, record: &ControlRecord<'_>) -> Vec<u8> {
        self.mac(key, record).finalize().into_bytes().to_vec()
    }

    /// A secret of its own for another use of the installation's secret, 64 hexadecimal digits. The
    /// label is at most 32 bytes, so it is the text of no record that is signed.
    pub fn derive(&self, label: &'static str) -> Secret {
        debug_assert!(label.is_ascii() && label.len() <= 32, "a short label");
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.reveal().as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(label.as_bytes());
        let digits = mac.finalize().into_bytes();
        Secret::new(
            digits
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>(),
        )
    }

    /// The key of what this installation's own processes write to a tenant's `events`.
    pub fn origin_key(&self, tenant: &TenantId) -> OriginKey {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.reveal().as_bytes())
            .expect("HMAC takes keys of any length");
        // No control record's signed bytes begin like this: a zero byte is a key without a text.
        mac.update(b"\0pulse-origin\0");
        mac.update(tenant.as_str().as_bytes());
        let bytes = mac.finalize().into_bytes();
        let (half, _) = bytes
            .split_first_chunk::<16>()
            .expect("a SHA-256 has 32 bytes");
        OriginKey::new(*half)
    }

    /// True when the record carries this installation's MAC; takes the same time for all that do
    /// not.
    pub fn is_signed(&self, key: &str, record: &ControlRecord<'_>) -> bool {
        self.mac(key, record).verify_slice(record.mac).is_ok()
    }
}

/// A view that holds what it is given, for tests and simulations.
pub fn fixed(control: Control) -> ControlView {
    ControlView::fixed(Arc::new(control))
}
