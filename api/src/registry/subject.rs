//! What a subject's name says of the schema under it. Nobody is asked whether it exists.

use schemas::wire::SchemaId;

use super::RegistryError;

/// A subject's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject<'a>(&'a str);

/// What the subject of a stream's records ends in. The tenant before it may be any, also none.
const STREAMS: [(&str, SchemaId); 7] = [
    (".events-value", SchemaId::Event),
    (".metrics-value", SchemaId::Metric),
    (".metrics.open-value", SchemaId::Metric),
    (".books-value", SchemaId::Book),
    (".late-value", SchemaId::Late),
    (".dead-letters-value", SchemaId::DeadLetter),
    ("pulse.control-value", SchemaId::Control),
];

impl<'a> Subject<'a> {
    /// A subject, whatever it is called.
    pub fn new(name: &'a str) -> Self {
        Self(name)
    }

    /// The schema that records under it must have, where its name says that.
    pub fn expects(self) -> Option<SchemaId> {
        let stream = STREAMS.iter().find(|(end, _)| self.0.ends_with(end));
        let named = || SchemaId::ALL.into_iter().find(|id| self.is_about(*id));
        stream.map(|(_, id)| *id).or_else(named)
    }

    /// Its latest schema: an event's where its name says nothing, since that is what producers
    /// write.
    ///
    /// # Errors
    /// A key has none: keys are texts.
    pub fn latest(self) -> Result<SchemaId, RegistryError> {
        match self.is_key() {
            true => Err(RegistryError::Key),
            false => Ok(self.expects().unwrap_or(SchemaId::Event)),
        }
    }

    /// The released schema that a posted text is, if it belongs under this subject.
    ///
    /// # Errors
    /// A text that is no schema, and any schema for a key.
    pub fn released(self, schema: &str) -> Result<Option<SchemaId>, RegistryError> {
        if self.is_key() {
            return Err(RegistryError::Key);
        }
        let found = SchemaId::of_schema(schema).map_err(RegistryError::Schema)?;
        Ok(found.filter(|id| self.expects().is_none_or(|expected| expected == *id)))
    }

    fn is_key(self) -> bool {
        self.0.ends_with("-key")
    }

    /// True for a subject named by the record's name, with or without the topic before it.
    fn is_about(self, id: SchemaId) -> bool {
        let before = self.0.strip_suffix(id.name());
        before.is_some_and(|before| before.is_empty() || before.ends_with('-'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(subject: &str, expect: Option<SchemaId>) {
        assert_eq!(Subject::new(subject).latest().ok(), expect, "{subject}");
    }

    #[test]
    fn the_stream_decides_and_the_tenant_does_not() {
        for tenant in ["acme", "nobody", "a b", ""] {
            let subject = |stream: &str| format!("pulse.{tenant}.{stream}-value");
            check(&subject("events"), Some(SchemaId::Event));
            check(&subject("metrics"), Some(SchemaId::Metric));
            check(&subject("metrics.open"), Some(SchemaId::Metric));
            check(&subject("books"), Some(SchemaId::Book));
            check(&subject("late"), Some(SchemaId::Late));
            check(&subject("dead-letters"), Some(SchemaId::DeadLetter));
        }
        check("pulse.control-value", Some(SchemaId::Control));
    }

    #[test]
    fn other_strategies_and_unknown_names_find_a_schema_too() {
        check("pulse.Metric", Some(SchemaId::Metric));
        check("pulse.acme.metrics-pulse.Metric", Some(SchemaId::Metric));
        check("orders-value", Some(SchemaId::Event));
        check("", Some(SchemaId::Event));
        check("pulse.acme.events-key", None);
    }

    #[test]
    fn a_schema_belongs_under_its_own_stream() {
        let released = |subject: &str, id: SchemaId| Subject::new(subject).released(id.json());
        let (event, metric) = (SchemaId::Event, SchemaId::Metric);
        let on_events = "pulse.acme.events-value";
        assert_eq!(released(on_events, event), Ok(Some(event)));
        assert_eq!(released(on_events, metric), Ok(None));
        assert_eq!(released("orders-value", metric), Ok(Some(metric)));
        let key = released("pulse.acme.events-key", event);
        assert_eq!(key, Err(RegistryError::Key));
    }
}
