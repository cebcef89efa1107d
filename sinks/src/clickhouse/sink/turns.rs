//! Whose turn it is: tenants one after another, however many partitions each has. Pure.

use std::ops::Range;

use schemas::ids::TenantId;

/// Where the next round of reading begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    /// Who was last; the next round begins behind.
    last: Option<TenantId>,
    round_count: usize,
}

impl Turns {
    /// The tenants' stretches of `owners`, which are in order, beginning behind the last one's; in
    /// each the place of the partition that is first this time.
    pub(super) fn round(&mut self, owners: &[&TenantId]) -> Vec<(Range<usize>, usize)> {
        self.round_count = self.round_count.wrapping_add(1);
        let mut stretches = vec![];
        let mut start = 0;
        for own in owners.chunk_by(|one, other| one == other) {
            let first = start + self.round_count % own.len();
            stretches.push((start..start + own.len(), first));
            start += own.len();
        }
        if let Some(last) = &self.last {
            let behind = stretches.partition_point(|(stretch, _)| owners[stretch.start] <= last);
            stretches.rotate_left(behind);
        }
        stretches
    }

    /// Notes that a tenant has had its turn.
    pub(super) fn had(&mut self, tenant: &TenantId) {
        if self.last.as_ref() != Some(tenant) {
            self.last = Some(tenant.clone());
        }
    }
}

/// The places of a stretch in their order, beginning with `first`.
pub(super) fn places((stretch, first): (Range<usize>, usize)) -> impl Iterator<Item = usize> {
    (first..stretch.end).chain(stretch.start..first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order in which lanes are read: the lane's owner and its place.
    fn order(turns: &mut Turns, owners: &[&TenantId]) -> String {
        let stretches = turns.round(owners);
        let places = stretches.into_iter().flat_map(places);
        let words: Vec<_> = places.map(|at| format!("{}{at}", owners[at])).collect();
        words.join(" ")
    }

    #[test]
    fn each_tenant_has_one_turn_a_round_and_each_partition_is_first_once() {
        let [a, b, c] = ["a", "b", "c"].map(|id| id.parse::<TenantId>().unwrap());
        let owners = [&a, &a, &a, &b, &c, &c];
        let mut turns = Turns::default();
        assert_eq!(order(&mut turns, &owners), "a1 a2 a0 b3 c5 c4");
        assert_eq!(order(&mut turns, &owners), "a2 a0 a1 b3 c4 c5");
        assert_eq!(order(&mut turns, &owners), "a0 a1 a2 b3 c5 c4");
        // A round that ended early goes on with whoever did not have a turn.
        turns.had(&a);
        assert_eq!(order(&mut turns, &owners), "b3 c4 c5 a1 a2 a0");
        turns.had(&b);
        assert_eq!(order(&mut turns, &owners), "c5 c4 a2 a0 a1 b3");
        turns.had(&c);
        assert_eq!(order(&mut turns, &owners), "a0 a1 a2 b3 c4 c5");
        // Whoever was last may be gone.
        turns.had(&b);
        assert_eq!(order(&mut turns, &[&a, &c]), "c1 a0");
        assert_eq!(order(&mut turns, &[]), "");
    }
}
