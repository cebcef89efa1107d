//! What was said of a trouble that lasts, so that each round does not say it again.

use std::collections::BTreeMap;

use crate::step::Place;

/// The last words on each trouble: of a partition, or of none in particular.
#[derive(Default)]
pub(super) struct Said(BTreeMap<Option<Place>, String>);

impl Said {
    /// True when this was not the last word on it.
    pub(super) fn is_news(&mut self, of: Option<&Place>, words: String) -> bool {
        self.0.insert(of.cloned(), words.clone()) != Some(words)
    }

    /// It is over; true when there was one.
    pub(super) fn settle(&mut self, of: Option<&Place>) -> bool {
        // Nearly always there is none, and the key need not be made.
        !self.0.is_empty() && self.0.remove(&of.cloned()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_news_once_until_the_trouble_is_over() {
        let place = Place {
            tenant: "demo".parse().unwrap(),
            partition: 3,
        };
        let mut said = Said::default();
        let mut say = |of, words: &str| said.is_news(of, words.into());
        assert!(say(None, "away"));
        assert!(!say(None, "away"));
        assert!(say(Some(&place), "away"));
        assert!(say(None, "still away"));
        assert!(said.settle(None));
        assert!(!said.settle(None));
        assert!(said.is_news(None, "away".into()));
        assert!(!said.is_news(Some(&place), "away".into()));
    }
}
