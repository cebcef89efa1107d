//! The quick way to read a JSON event: one pass, nothing copied, and `None` at the first thing that
//! is odd, whether that is a fault or not.
//!
//! What it takes it reads as [`super::fields`] does, which is what its tests are about.

use std::borrow::Cow;

use schemas::event::EventType;
use schemas::refusal::{EVENT_ID_BYTES_MAX, PAYLOAD_BYTES_MAX, SUBJECT_BYTES_MAX, TEXT_BYTES_MAX};
use schemas::time::EventTime;

use super::draft::Draft;
use super::fields::{Standing, is_item_name, severity_named};
use super::scan::Scanner;
use super::{number, timestamp};

/// Reads the event that begins at the byte `at` into `draft`, and says where it ends.
///
/// What is in `draft` afterwards is of use only where this is not `None`.
#[inline]
pub(super) fn read<'a>(
    text: &'a str,
    at: usize,
    standing: Standing,
    draft: &mut Draft<'a>,
) -> Option<usize> {
    let mut reader = Reader {
        scanner: Scanner::new(text, at),
        draft,
        seen: 0,
    };
    reader.event(standing)?;
    Some(reader.scanner.at())
}

struct Reader<'d, 'a> {
    scanner: Scanner<'a>,
    draft: &'d mut Draft<'a>,
    /// A bit for each field that was there, so that one that comes twice is odd.
    seen: u32,
}

impl<'a> Reader<'_, 'a> {
    fn event(&mut self, standing: Standing) -> Option<()> {
        self.scanner.expect(b'{')?;
        loop {
            let name = self.scanner.name()?;
            self.field(name, standing)?;
            if !self.scanner.goes_on(b'}')? {
                return Some(());
            }
        }
    }

    #[inline]
    fn field(&mut self, name: &str, standing: Standing) -> Option<()> {
        match name {
            "event_id" => {
                self.first(1 << 0)?;
                self.draft.event_id = self.text(1, EVENT_ID_BYTES_MAX)?;
            }
            "event_type" => {
                self.first(1 << 1)?;
                self.draft.event_type = self.event_type()?;
            }
            "timestamp" => {
                self.first(1 << 2)?;
                self.draft.occurred_at = self.timestamp()?;
            }
            "subject" => {
                self.first(1 << 3)?;
                self.draft.subject = self.text(1, SUBJECT_BYTES_MAX)?;
            }
            "source" => {
                self.first(1 << 4)?;
                self.parts(Self::source)?;
            }
            "context" => {
                self.first(1 << 5)?;
                self.parts(Self::context)?;
            }
            "metrics" => {
                self.first(1 << 6)?;
                self.parts(Self::metric)?;
            }
            "payload" => {
                self.first(1 << 7)?;
                self.draft.payload = self.payload()?;
            }
            _ => self.rare_field(name, standing)?,
        }
        Some(())
    }

    #[inline]
    fn rare_field(&mut self, name: &str, standing: Standing) -> Option<()> {
        match name {
            "name" => {
                self.first(1 << 8)?;
                self.draft.name = self.text(0, TEXT_BYTES_MAX)?;
            }
            "severity" => {
                self.first(1 << 9)?;
                if let Some(name) = self.text(0, TEXT_BYTES_MAX)? {
                    self.draft.severity = severity_named(&name)?;
                }
            }
            "title" => {
                self.first(1 << 10)?;
                self.draft.title = self.text(0, TEXT_BYTES_MAX)?;
            }
            "sequence" => {
                self.first(1 << 11)?;
                if !self.null()? {
                    self.draft.sequence = Some(self.scanner.number()?.parse().ok()?);
                }
            }
            "api_key" if standing == Standing::Alone => drop(self.scanner.value()?),
            _ => return None,
        }
        Some(())
    }

    /// The parts of an object, or of null, which has none.
    #[inline]
    fn parts(&mut self, part: impl Fn(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        if self.null()? {
            return Some(());
        }
        self.scanner.expect(b'{')?;
        self.scanner.skip_blanks();
        if self.scanner.eat(b'}') {
            return Some(());
        }
        loop {
            let name = self.scanner.name()?;
            part(self, name)?;
            if !self.scanner.goes_on(b'}')? {
                return Some(());
            }
        }
    }

    #[inline]
    fn source(&mut self, name: &'a str) -> Option<()> {
        match name {
            "service" => {
                self.first(1 << 12)?;
                self.draft.service = self.text(1, TEXT_BYTES_MAX)?;
            }
            "host" => {
                self.first(1 << 13)?;
                self.draft.host = self.text(0, TEXT_BYTES_MAX)?;
            }
            "method" => {
                self.first(1 << 14)?;
                self.draft.method = self.text(0, TEXT_BYTES_MAX)?;
            }
            "endpoint" => {
                self.first(1 << 15)?;
                self.draft.endpoint = self.text(0, TEXT_BYTES_MAX)?;
            }
            "version" => {
                self.first(1 << 16)?;
                self.draft.version = self.text(0, TEXT_BYTES_MAX)?;
            }
            _ => self.tag(format!("source.{name}").into())?,
        }
        Some(())
    }

    #[inline]
    fn context(&mut self, name: &'a str) -> Option<()> {
        match name {
            "tags" => {
                self.first(1 << 17)?;
                self.parts(|reader, name| reader.tag(name.into()))?;
            }
            "user_id" => {
                self.first(1 << 18)?;
                self.draft.user_id = self.text(0, TEXT_BYTES_MAX)?;
            }
            "trace_id" => {
                self.first(1 << 19)?;
                self.draft.trace_id = self.text(0, TEXT_BYTES_MAX)?;
            }
            _ => self.tag(name.into())?,
        }
        Some(())
    }

    #[inline]
    fn tag(&mut self, name: Cow<'a, str>) -> Option<()> {
        let value = match self.scanner.peek() {
            b'"' => self.scanner.text()?,
            b't' => self.scanner.word("true")?.into(),
            b'f' => self.scanner.word("false")?.into(),
            // Null is as good as absent; but then its name may come again.
            b'n' => return None,
            _ => self.scanner.number()?.into(),
        };
        if !is_item_name(&name) || value.len() > TEXT_BYTES_MAX {
            return None;
        }
        self.draft.add_tag(name, value).ok()
    }

    #[inline]
    fn metric(&mut self, name: &'a str) -> Option<()> {
        let number = number::read(self.scanner.number()?).ok()?;
        if !is_item_name(name) {
            return None;
        }
        self.draft.add_metric(name.into(), number).ok()
    }

    #[inline]
    fn event_type(&mut self) -> Option<Option<EventType>> {
        match self.text(0, TEXT_BYTES_MAX)? {
            Some(name) => EventType::from_bytes(name.as_bytes()).map(Some),
            None => Some(None),
        }
    }

    #[inline]
    fn timestamp(&mut self) -> Option<Option<EventTime>> {
        if self.null()? {
            return Some(None);
        }
        match self.scanner.peek() {
            b'"' => timestamp::from_text(&self.scanner.text()?).map(Some),
            _ => timestamp::from_number(self.scanner.number()?).map(Some),
        }
    }

    #[inline]
    fn payload(&mut self) -> Option<Option<Cow<'a, str>>> {
        if self.null()? {
            return Some(None);
        }
        let text = self.scanner.value()?;
        (text.len() <= PAYLOAD_BYTES_MAX).then_some(Some(text.into()))
    }

    /// A text of so many bytes, or null.
    #[inline]
    fn text(&mut self, least: usize, most: usize) -> Option<Option<Cow<'a, str>>> {
        if self.null()? {
            return Some(None);
        }
        let text = self.scanner.text()?;
        (least..=most).contains(&text.len()).then_some(Some(text))
    }

    /// Whether null comes next; then it is behind us.
    #[inline]
    fn null(&mut self) -> Option<bool> {
        if self.scanner.peek() != b'n' {
            return Some(false);
        }
        self.scanner.word("null").map(|_| true)
    }

    /// Notes that a field is there; `None` when it was there before.
    #[inline]
    fn first(&mut self, bit: u32) -> Option<()> {
        let is_first = self.seen & bit == 0;
        self.seen |= bit;
        is_first.then_some(())
    }
}
