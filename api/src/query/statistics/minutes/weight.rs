//! What kept counts weigh, of one tenant and of all: names are as long as tenants make them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a tenant's minutes and names, and of all tenants'. What made it more is kept no longer.
const BYTES_MAX: usize = 32 * 1_048_576;
const BYTES_MAX_OF_ALL: usize = 256 * 1_048_576;

/// Bytes that are kept of a tenant, among those of all.
pub(super) struct Weight {
    own: usize,
    all: Arc<AtomicUsize>,
}

impl Weight {
    pub(super) fn none(all: Arc<AtomicUsize>) -> Self {
        Self { own: 0, all }
    }

    /// That of all.
    pub(super) fn all(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.all)
    }

    /// So many bytes are kept from now on.
    pub(super) fn set(&mut self, bytes: usize) {
        self.all.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_sub(self.own, Ordering::Relaxed);
        self.own = bytes;
    }

    /// True when this tenant's are not to be kept.
    pub(super) fn is_too_much(&self) -> bool {
        self.own > BYTES_MAX || self.all.load(Ordering::Relaxed) > BYTES_MAX_OF_ALL
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_a_bound_and_all_have_one() {
        let all = Arc::<AtomicUsize>::default();
        let of = |bytes| {
            let mut weight = Weight::none(Arc::clone(&all));
            weight.set(bytes / 2);
            weight.set(bytes);
            weight
        };
        assert!(of(BYTES_MAX + 1).is_too_much());
        assert_eq!(all.load(Ordering::Relaxed), 0, "it is gone");
        let mut many: Vec<Weight> = (0..8).map(|_| of(BYTES_MAX)).collect();
        assert!(!many[0].is_too_much());
        many.push(of(1));
        assert!(many[8].is_too_much() && many[0].is_too_much());
    }
}
