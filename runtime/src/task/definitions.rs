//! Where a step's definitions come from.

use std::collections::BTreeSet;

use schemas::ids::{Offset, TenantId};

/// The definitions in force, as the control view knows them.
pub trait DefinitionSource<D> {
    /// The control offset reached; nothing changes while it stays.
    fn offset(&self) -> Offset;

    /// The tenants that there are.
    fn tenants(&self) -> BTreeSet<TenantId>;

    /// A tenant's definitions; `None` when there is no such tenant.
    fn of(&self, tenant: &TenantId) -> Option<D>;
}

/// A tenant's definitions and the control offset that they are of: the view may move on between
/// two questions, and definitions under an earlier offset would let a successor go back.
pub(super) fn definitions_of<D>(
    source: &impl DefinitionSource<D>,
    tenant: &TenantId,
) -> (Offset, Option<D>) {
    loop {
        let offset = source.offset();
        let definitions = source.of(tenant);
        if source.offset() == offset {
            return (offset, definitions);
        }
    }
}
