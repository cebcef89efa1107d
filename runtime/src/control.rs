//! The operator's definitions as every process sees them: a view in memory of `pulse.control`.
//!
//! In: signed records of one compacted topic. Out: a [`Control`], replaced as a whole at each
//! change, with the offset up to which it is true. A record whose MAC is not this installation's,
//! or that is older than what the view holds, is ignored, counted and logged; nothing on the topic
//! can make the view smaller but a signed deletion.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use schemas::control::ControlRecord;
use sha2::Sha256;

use crate::config::{Environment, Key, Secret, Settings};
use crate::telemetry::Metric;

mod snapshot;
mod view;
mod writer;

pub use snapshot::{Control, Defined, Refusal, TenantControl};
pub use view::{ControlError, ControlView};
pub use writer::{ControlWriter, WriteError, Written};

const SECRET: Key = Key {
    name: "PULSE_CONTROL_SECRET",
    default: None,
    doc: "The installation's secret of 16 characters or more, or `PULSE_CONTROL_SECRET_FILE`; \
          required; it signs control records.",
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

/// Shorter secrets can be guessed.
const SECRET_LENGTH_MIN: usize = 16;

/// What signs and checks control records.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    secret: Secret,
}

impl Settings for ControlConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let secret = env.secret(&SECRET)?;
        match secret.reveal().len() >= SECRET_LENGTH_MIN {
            true => Some(Self { secret }),
            false => env.refuse(
                &SECRET,
                format!("must have {SECRET_LENGTH_MIN} characters or more"),
            ),
        }
    }
}

impl ControlConfig {
    /// With this secret, of at least 16 characters.
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
