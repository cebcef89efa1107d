//! Every key in force, by its hash.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use runtime::clock;
use runtime::control::{Control, ControlView, TenantControl};
use runtime::service::Shutdown;
use schemas::access::{ApiKey, KeyHash};
use schemas::ids::TenantId;

use super::{Caller, secret};
use crate::problem::ApiError;

/// The keys of all tenants. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Keyring {
    held: Arc<ArcSwap<HashMap<KeyHash, Caller>>>,
}

impl Keyring {
    /// The keys of these definitions, and of no others until [`Self::follow`] runs.
    pub fn of(control: &Control) -> Self {
        let keyring = Self::default();
        keyring.show(control);
        keyring
    }

    /// Keeps up with the definitions until the process stops.
    pub async fn follow(self, control: ControlView, shutdown: Shutdown) {
        let mut changes = control.changes();
        loop {
            changes.borrow_and_update();
            self.show(&control.snapshot());
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = shutdown.requested() => return,
            }
        }
    }

    /// Whoever holds this key, now.
    ///
    /// # Errors
    /// 401 for a text that is nobody's, or a key whose time is over; the same for both.
    pub fn caller(&self, key: &str) -> Result<Caller, ApiError> {
        if key.len() > secret::LENGTH_MAX {
            return Err(ApiError::unauthorized());
        }
        let held = self.held.load();
        let caller = held
            .get(&secret::hash(key))
            .ok_or_else(ApiError::unauthorized)?;
        match caller.key.expires_at_ms {
            Some(at) if at <= clock::now_ms() => Err(ApiError::unauthorized()),
            _ => Ok(caller.clone()),
        }
    }

    fn show(&self, control: &Control) {
        let mut held = HashMap::new();
        for (tenant, control) in control.tenants() {
            for (id, key) in &control.keys {
                let caller = caller(tenant, id, &key.value, control);
                held.insert(key.value.hash, caller);
            }
        }
        self.held.store(Arc::new(held));
    }
}

fn caller(tenant: &TenantId, id: &str, key: &ApiKey, control: &Arc<TenantControl>) -> Caller {
    Caller {
        tenant: tenant.clone(),
        key_id: id.into(),
        key: Arc::new(key.clone()),
        control: Arc::clone(control),
    }
}
