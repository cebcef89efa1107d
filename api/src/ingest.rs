//! Events over HTTP: from a body to records, with an outcome for each event.
//!
//! In: a decoded body, its form, and what its tenant may send. Out: [`Prepared`], the records to
//! publish and what each event comes to, and the answer that says so. What an event looks like is
//! in `docs/ingest.md`.
//!
//! Nothing here does I/O or reads a clock: when a body came is one of the [`Rules`]. What can never
//! happen: an event is lost because its neighbour is wrong; an event is answered as accepted before
//! somebody said that it was acknowledged; a number goes through a float.
//!
//! Each event is read in one of two ways, which agree. [`quick`] reads sound events in one pass,
//! without a tree, and gives up at the first thing that is odd. Then [`fields`] reads the event
//! again, as what `serde_json` takes it for, and finds all that is wrong with it. Both fill a
//! [`draft::Draft`], which holds the rules that concern more than one field.
//!
//! Read in this order: [`form`], [`batch`], [`fields`], [`draft`], [`prepared`]; then [`scan`] and
//! [`quick`]; then [`cloudevents`].

mod form;

mod batch;

mod cloudevents;
mod fields;
mod quick;
mod scan;

mod draft;
mod faults;
mod identity;
mod number;
mod reserved;
mod timestamp;

mod answer;
mod prepared;

use schemas::refusal::DateLimits;
use schemas::time::EventTime;

use crate::problem::ApiError;

pub use answer::Answer;
pub use form::{Form, key_in_body};
pub use identity::Idempotency;
pub use prepared::{Delivery, Outcome, Prepared};

/// What a request's events have to keep to.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'r> {
    /// When the request came; events without a timestamp happened then.
    pub received_at: EventTime,
    /// How far from their append the tenant's events may be dated. At the door they have a little
    /// less room, so that what is accepted here is not refused later.
    pub dates: DateLimits,
    /// Events in one request.
    pub batch_events_max: usize,
    /// Who sends this again means the same events.
    pub idempotency: Option<Idempotency<'r>>,
}

/// Reads all events of a body.
///
/// What is wrong with single events is in their outcomes; an error is about the whole body, and
/// then nothing of it may be published.
///
/// # Errors
/// 400: not JSON, with line and column. 413: more than [`Rules::batch_events_max`] events.
/// 422: JSON that is no form of events.
pub fn prepare(form: Form, body: &[u8], rules: &Rules<'_>) -> Result<Prepared, ApiError> {
    batch::read(form, body, rules)
}

#[cfg(test)]
mod tests;
