//! The released schemas and their fixed ids.
//!
//! An id, once given, names the same bytes for ever: a change of a schema is a new id beside the
//! old one, and old bytes stay readable.

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
}
