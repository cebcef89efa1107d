//! Where a search goes on: the event that it came to, and the question that it belongs to.
//!
//! A cursor holds nothing but what its own answer had, and is looked at only where its tenant and
//! its question are those that it was made for. It is not secret and needs no signature: whoever
//! makes one up asks about rows of its own, from another place on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::ids::TenantId;
use schemas::time::EventTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::filter::Filter;
use crate::query::range::{Asked, Range};

/// The place of an event in the order of a search, newest first. What comes behind it is less.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Position {
    pub(super) occurred_at: EventTime,
    pub(super) event_type: String,
    pub(super) subject: String,
    pub(super) event_id: String,
}

impl Position {
    /// Before all events that happened before `at`, and behind all others.
    pub(super) fn before(at: EventTime) -> Self {
        Self {
            occurred_at: at,
            event_type: String::new(),
            subject: String::new(),
            event_id: String::new(),
        }
    }
}

/// Where a search goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cursor {
    /// The stretch that the first page was of: it does not move while new events come in.
    pub(super) range: Range,
    /// The last event that was given.
    pub(super) position: Position,
}

/// A text that is no cursor of this tenant and question; it does not say which.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cursor is none of this question's")]
pub(super) struct NotOurs;

#[derive(Serialize, Deserialize)]
struct Written {
    check: String,
    from_us: i64,
    to_us: i64,
    at_us: i64,
    of: [String; 3],
}

impl Cursor {
    /// The text that a client is given.
    pub(super) fn text(&self, tenant: &TenantId, filter: &Filter, asked: Asked) -> String {
        let Position {
            event_type,
            subject,
            event_id,
            occurred_at,
        } = self.position.clone();
        let mut written = Written {
            check: String::new(),
            from_us: self.range.from.as_us(),
            to_us: self.range.to.as_us(),
            at_us: occurred_at.as_us(),
            of: [event_type, subject, event_id],
        };
        written.check = check(&written, tenant, filter, asked);
        URL_SAFE_NO_PAD.encode(json(&written))
    }

    /// Reads a client's text.
    ///
    /// # Errors
    /// When it was made for another tenant or question, or by somebody else.
    pub(super) fn read(
        text: &str,
        tenant: &TenantId,
        filter: &Filter,
        asked: Asked,
    ) -> Result<Self, NotOurs> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotOurs)?;
        let mut written: Written = serde_json::from_slice(&bytes).map_err(|_| NotOurs)?;
        let found = std::mem::take(&mut written.check);
        if found != check(&written, tenant, filter, asked) {
            return Err(NotOurs);
        }
        let [event_type, subject, event_id] = written.of;
        Ok(Self {
            range: Range {
                from: EventTime::from_us(written.from_us),
                to: EventTime::from_us(written.to_us),
            },
            position: Position {
                occurred_at: EventTime::from_us(written.at_us),
                event_type,
                subject,
                event_id,
            },
        })
    }
}

/// Ties a cursor to whoever asks, and what.
fn check(written: &Written, tenant: &TenantId, filter: &Filter, asked: Asked) -> String {
    let ends = [asked.from, asked.to].map(|end| end.map(EventTime::as_us));
    let mut hash = Sha256::new();
    for part in [json(written), json(tenant), json(filter), json(&ends)] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    URL_SAFE_NO_PAD.encode(&hash.finalize()[..12])
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers can be said in JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        Cursor {
            range: Range {
                from: EventTime::from_us(1),
                to: EventTime::from_us(9),
            },
            position: Position {
                occurred_at: EventTime::from_us(5),
                event_type: "trade".into(),
                subject: "ü'\\\0".into(),
                event_id: "1".into(),
            },
        }
    }

    #[test]
    fn a_cursor_is_read_by_its_own_tenant_and_question_alone() {
        let (acme, other): (TenantId, TenantId) =
            ("acme".parse().unwrap(), "other".parse().unwrap());
        let (filter, asked) = (Filter::default(), Asked::default());
        let text = cursor().text(&acme, &filter, asked);
        assert_eq!(Cursor::read(&text, &acme, &filter, asked), Ok(cursor()));
        assert_eq!(Cursor::read(&text, &other, &filter, asked), Err(NotOurs));
        let later = Asked {
            from: Some(EventTime::from_us(2)),
            ..asked
        };
        assert_eq!(Cursor::read(&text, &acme, &filter, later), Err(NotOurs));
        for bad in ["", "x", "e30", &text[1..], &text.to_uppercase()] {
            assert_eq!(
                Cursor::read(bad, &acme, &filter, asked),
                Err(NotOurs),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_position_before_an_instant_has_all_earlier_events_behind_it() {
        let position = Position::before(EventTime::from_us(5));
        assert!(cursor().position > position);
        let earlier = Position {
            occurred_at: EventTime::from_us(4),
            ..cursor().position
        };
        assert!(earlier < position);
    }
}
