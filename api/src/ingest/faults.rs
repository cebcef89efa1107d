//! What is wrong with one event, up to a bound.

use std::borrow::Cow;

use schemas::refusal::TEXT_BYTES_MAX;

use crate::problem::FieldFault;

/// Faults of one event that are told.
pub(super) const FAULTS_MAX: usize = 20;
/// Faults of one request behind which each event tells of its first one alone, so that an answer
/// stays in proportion to its request.
pub(super) const FAULTS_OF_REQUEST_MAX: usize = 2_000;

/// The faults found so far.
pub(super) struct Faults {
    list: Vec<FieldFault>,
    count: usize,
    told_max: usize,
}

impl Faults {
    /// None yet; the first `told_max` will be told.
    pub(super) fn telling(told_max: usize) -> Self {
        Self {
            list: vec![],
            count: 0,
            told_max,
        }
    }

    /// One more.
    #[cold]
    pub(super) fn push(&mut self, fault: FieldFault) {
        self.count += 1;
        if self.list.len() < self.told_max {
            self.list.push(fault);
        }
    }

    /// How many there are, told or not.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Those that are told.
    pub(super) fn into_list(self) -> Vec<FieldFault> {
        self.list
    }
}

/// Where a field stands: the pointer to what it stands in, and its name.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    pub(super) parent: &'static str,
    pub(super) name: &'p str,
}

impl Place<'_> {
    /// A fault of the field there.
    pub(super) fn fault(self, reason: impl Into<Cow<'static, str>>) -> FieldFault {
        FieldFault::new(self.pointer(), reason)
    }

    /// The JSON pointer (RFC 6901); of a field with a name of absurd length, that of its parent.
    fn pointer(self) -> String {
        let mut pointer = String::from(self.parent);
        if self.name.len() > TEXT_BYTES_MAX {
            return pointer;
        }
        pointer.push('/');
        for character in self.name.chars() {
            match character {
                '~' => pointer.push_str("~0"),
                '/' => pointer.push_str("~1"),
                other => pointer.push(other),
            }
        }
        pointer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expect: &str) {
        let parent = "/metrics";
        assert_eq!(Place { parent, name }.pointer(), expect);
    }

    #[test]
    fn pointers_escape_what_means_something_in_them() {
        check("price", "/metrics/price");
        check("a/b~c", "/metrics/a~1b~0c");
        check("", "/metrics/");
        check(&"x".repeat(TEXT_BYTES_MAX + 1), "/metrics");
    }

    #[test]
    fn faults_beyond_the_bound_are_counted_and_not_told() {
        let mut faults = Faults::telling(2);
        for _ in 0..5 {
            faults.push(FieldFault::new("/a", "is wrong"));
        }
        assert_eq!(faults.count(), 5);
        assert_eq!(faults.into_list().len(), 2);
    }
}
