//! The released schemas and their fixed ids.
//!
//! An id, once given, names the same bytes for ever: a change of a schema is a new id beside the
//! old one, and old bytes stay readable.

use std::sync::LazyLock;

use serde_json::Value;

use super::canonical::{SchemaFault, canonical};

/// A released schema.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum SchemaId {
    /// `event.avsc`
    Event,
    /// `metric.avsc`
    Metric,
    /// `book.avsc`
    Book,
    /// `late.avsc`
    Late,
    /// `dead_letter.avsc`
    DeadLetter,
    /// `control.avsc`
    Control,
    /// `metric_detail.avsc`
    MetricDetail,
}

impl SchemaId {
    /// Every released schema.
    pub const ALL: [Self; 7] = [
        Self::Event,
        Self::Metric,
        Self::Book,
        Self::Late,
        Self::DeadLetter,
        Self::Control,
        Self::MetricDetail,
    ];

    /// The number in the frame.
    pub const fn number(self) -> u32 {
        match self {
            Self::Event => 1,
            Self::Metric => 2,
            Self::Book => 3,
            Self::Late => 4,
            Self::DeadLetter => 5,
            Self::Control => 6,
            Self::MetricDetail => 7,
        }
    }

    /// The five bytes before a body.
    pub const fn head(self) -> [u8; 5] {
        let [a, b, c, d] = self.number().to_be_bytes();
        [0, a, b, c, d]
    }

    /// The schema as JSON.
    pub const fn json(self) -> &'static str {
        match self {
            Self::Event => include_str!("../../avro/event.avsc"),
            Self::Metric => include_str!("../../avro/metric.avsc"),
            Self::Book => include_str!("../../avro/book.avsc"),
            Self::Late => include_str!("../../avro/late.avsc"),
            Self::DeadLetter => include_str!("../../avro/dead_letter.avsc"),
            Self::Control => include_str!("../../avro/control.avsc"),
            Self::MetricDetail => include_str!("../../avro/metric_detail.avsc"),
        }
    }

    /// The schema's full name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event => "pulse.Event",
            Self::Metric => "pulse.Metric",
            Self::Book => "pulse.Book",
            Self::Late => "pulse.Late",
            Self::DeadLetter => "pulse.DeadLetter",
            Self::Control => "pulse.Control",
            Self::MetricDetail => "pulse.MetricDetail",
        }
    }

    /// The released schema with this number.
    pub fn numbered(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|id| id.number() == number)
    }

    /// The released schema that a text of somebody's is, whatever it adds that changes no byte:
    /// `None` for a schema of his own.
    ///
    /// # Errors
    /// A text that is no schema.
    pub fn of_schema(text: &str) -> Result<Option<Self>, SchemaFault> {
        static FORMS: LazyLock<[Value; SchemaId::ALL.len()]> = LazyLock::new(|| {
            let form = |id: SchemaId| canonical(id.json());
            SchemaId::ALL.map(|id| form(id).expect("a released schema is one"))
        });
        let form = canonical(text)?;
        let found = Self::ALL
            .into_iter()
            .zip(FORMS.iter())
            .find(|(_, released)| **released == form);
        Ok(found.map(|(id, _)| id))
    }
}
