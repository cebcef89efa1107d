//! A body's events, one after the other.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::draft::{Draft, Places, Room};
use super::fields::{self, Kind, Standing};
use super::prepared::{Identity, Prepared};
use super::scan::Scanner;
use super::{Form, Rules, cloudevents, quick};
use crate::problem::{ApiError, FieldFault};

/// Reads all events of a body.
pub(super) fn read(form: Form, body: &[u8], rules: &Rules<'_>) -> Result<Prepared, ApiError> {
    // Windows' own tools begin a file with a mark that says it is UTF-8.
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    if body.trim_ascii().is_empty() {
        return Err(ApiError::bad_request(
            "the body is empty: JSON was expected",
        ));
    }
    let mut batch = Batch {
        rules,
        prepared: Prepared::with_capacity(body.len() + 64),
        draft: Draft::default(),
        room: Room::new(rules),
    };
    match form {
        Form::Json => batch.json(whole(body)?)?,
        Form::Lines => batch.lines(body)?,
        Form::CloudEvent => batch.cloud_event(whole(body)?)?,
        Form::CloudEvents => batch.cloud_events(whole(body)?)?,
    }
    Ok(batch.prepared)
}

struct Batch<'b, 'r> {
    rules: &'b Rules<'r>,
    prepared: Prepared,
    draft: Draft<'b>,
    room: Room,
}

/// Reads the fields of one event of some form.
type ReadFields<'b> = fn(&'b RawValue, Standing, &mut Draft<'b>, &mut super::faults::Faults);

impl<'b> Batch<'b, '_> {
    fn json(&mut self, text: &'b str) -> Result<(), ApiError> {
        let mut scanner = Scanner::new(text, 0);
        scanner.skip_blanks();
        let end = match scanner.peek() {
            b'[' => self.array(text, scanner.at(), fields::read, &fields::PLACES)?,
            b'{' => self.object(text, scanner.at())?,
            _ => {
                let detail = "the body is JSON, and neither an event nor an array of events";
                raw_at(text, scanner.at())?;
                return Err(ApiError::bad_request(detail));
            }
        };
        expect_end(text, end)
    }

    /// An array of events; where it ends.
    fn array(
        &mut self,
        text: &'b str,
        at: usize,
        read: ReadFields<'b>,
        places: &Places,
    ) -> Result<usize, ApiError> {
        let mut scanner = Scanner::new(text, at + 1);
        scanner.skip_blanks();
        if scanner.eat(b']') {
            return Ok(scanner.at());
        }
        loop {
            self.make_place()?;
            let is_ours = std::ptr::eq(places, &fields::PLACES);
            let quick = is_ours.then(|| self.quick(text, scanner.at(), Standing::Among));
            let end = match quick.flatten() {
                Some(end) => end,
                None => {
                    let event = raw_at(text, scanner.at())?;
                    self.thorough(event, Standing::Among, read, places);
                    scanner.at() + event.get().len()
                }
            };
            scanner = Scanner::new(text, end);
            match scanner.goes_on(b']') {
                Some(true) => {}
                Some(false) => return Ok(scanner.at()),
                None => return Err(not_json(text)),
            }
        }
    }

    /// An event, or an object that holds events; where it ends.
    fn object(&mut self, text: &'b str, at: usize) -> Result<usize, ApiError> {
        if let Some(start) = events_first(text, at) {
            let end = self.array(text, start, fields::read, &fields::PLACES)?;
            let mut scanner = Scanner::new(text, end);
            if scanner.goes_on(b'}') == Some(false) {
                return Ok(scanner.at());
            }
            // Something follows the events: begin again, and look at all of it.
            self.prepared = Prepared::default();
        }
        self.make_place()?;
        if let Some(end) = self.quick(text, at, Standing::Alone) {
            return Ok(end);
        }
        let object = raw_at(text, at)?;
        if let Some(events) = events_of(object)? {
            let start = events.as_ptr().addr() - text.as_ptr().addr();
            self.array(text, start, fields::read, &fields::PLACES)?;
        } else {
            self.thorough(object, Standing::Alone, fields::read, &fields::PLACES);
        }
        Ok(at + object.get().len())
    }

    fn lines(&mut self, body: &'b [u8]) -> Result<(), ApiError> {
        let whole = str::from_utf8(body).ok();
        let mut first_fault = None;
        let mut start = 0;
        for (number, end) in line_ends(body).enumerate() {
            let range = start..end;
            start = end + 1;
            if body[range.clone()].trim_ascii().is_empty() {
                continue;
            }
            self.make_place()?;
            let line = match whole {
                Some(text) => Ok(&text[range]),
                None => str::from_utf8(&body[range]).map_err(|_| Cow::from("it is not UTF-8")),
            };
            if let Err(reason) = line.and_then(|line| self.line(line)) {
                let reason = format!("line {} is not JSON: {reason}", number + 1);
                first_fault.get_or_insert_with(|| reason.clone());
                self.prepared.reject(vec![FieldFault::new("", reason)]);
            } else {
                // One line of JSON is enough for the body to be what it says.
                first_fault = Some(String::new());
            }
        }
        match first_fault {
            Some(reason) if !reason.is_empty() => Err(ApiError::bad_request(reason)),
            _ => Ok(()),
        }
    }

    fn line(&mut self, line: &'b str) -> Result<(), Cow<'static, str>> {
        let mut scanner = Scanner::new(line, 0);
        scanner.skip_blanks();
        if self.quick_line(line, scanner.at()) {
            return Ok(());
        }
        let event: &RawValue = serde_json::from_str(line).map_err(|error| in_line(&error))?;
        self.thorough(event, Standing::Among, fields::read, &fields::PLACES);
        Ok(())
    }

    fn cloud_event(&mut self, text: &'b str) -> Result<(), ApiError> {
        let event: &RawValue = serde_json::from_str(text).map_err(|_| not_json(text))?;
        self.make_place()?;
        let read =
            |event, _, draft: &mut _, faults: &mut _| cloudevents::read(event, draft, faults);
        self.thorough(event, Standing::Alone, read, &cloudevents::PLACES);
        Ok(())
    }

    fn cloud_events(&mut self, text: &'b str) -> Result<(), ApiError> {
        let mut scanner = Scanner::new(text, 0);
        scanner.skip_blanks();
        if scanner.peek() != b'[' {
            raw_at(text, scanner.at())?;
            let detail = "a batch of CloudEvents is an array";
            return Err(ApiError::bad_request(detail));
        }
        let read =
            |event, _, draft: &mut _, faults: &mut _| cloudevents::read(event, draft, faults);
        let end = self.array(text, scanner.at(), read, &cloudevents::PLACES)?;
        expect_end(text, end)
    }

    /// # Errors
    /// 413, when the next event is one too many.
    fn make_place(&self) -> Result<(), ApiError> {
        let max = self.rules.batch_events_max;
        if self.prepared.len() < max {
            return Ok(());
        }
        Err(ApiError::too_large(format!(
            "a request of this tenant has at most {max} events"
        )))
    }

    /// The end of a sound event; nothing has happened where there is none.
    #[inline]
    fn quick(&mut self, text: &'b str, at: usize, standing: Standing) -> Option<usize> {
        self.draft.clear();
        let end = quick::read(text, at, standing, &mut self.draft)?;
        self.seal(standing, &fields::PLACES).then_some(end)
    }

    /// Whether a line is a sound event and nothing else; nothing has happened where it is not.
    #[inline]
    fn quick_line(&mut self, line: &'b str, at: usize) -> bool {
        self.draft.clear();
        let Some(end) = quick::read(line, at, Standing::Among, &mut self.draft) else {
            return false;
        };
        let mut scanner = Scanner::new(line, end);
        scanner.skip_blanks();
        scanner.at() == line.len() && self.seal(Standing::Among, &fields::PLACES)
    }

    /// Publishes the draft if it keeps to all rules.
    #[inline]
    fn seal(&mut self, standing: Standing, places: &Places) -> bool {
        let mut faults = self.prepared.no_faults();
        self.seal_unless(standing, places, &mut faults)
    }

    #[inline]
    fn seal_unless(
        &mut self,
        standing: Standing,
        places: &Places,
        faults: &mut super::faults::Faults,
    ) -> bool {
        let index = u32::try_from(self.prepared.len()).expect("batches have a bound");
        let draft = &self.draft;
        let Some(head) = draft.seal(index, self.rules, places, &mut self.room, faults) else {
            return false;
        };
        let tags = draft
            .tags
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()));
        let metrics = draft
            .metrics
            .iter()
            .map(|(name, value)| (name.as_ref(), *value));
        // Alone, it has nothing to repeat.
        let identity = match draft.event_id {
            Some(_) if standing == Standing::Among => Identity::Given,
            _ => Identity::Made,
        };
        self.prepared.push(&head, tags, metrics, identity);
        true
    }

    /// Reads an event in a way that names everything that is wrong with it.
    #[cold]
    fn thorough(
        &mut self,
        event: &'b RawValue,
        standing: Standing,
        read: ReadFields<'b>,
        places: &Places,
    ) {
        let mut faults = self.prepared.no_faults();
        if Kind::of(event) != Kind::Object {
            faults.push(FieldFault::new("", "is no object, and an event is one"));
            return self.prepared.reject(faults.into_list());
        }
        self.draft.clear();
        read(event, standing, &mut self.draft, &mut faults);
        if !self.seal_unless(standing, places, &mut faults) {
            self.prepared.reject(faults.into_list());
        }
    }
}

/// Where the lines end: at each line feed, and at the end.
fn line_ends(body: &[u8]) -> impl Iterator<Item = usize> {
    memchr::memchr_iter(b'\n', body).chain([body.len()])
}

/// Where the events begin, of an object that begins with them, or with a key and them.
fn events_first(text: &str, at: usize) -> Option<usize> {
    let mut scanner = Scanner::new(text, at + 1);
    let mut name = scanner.name()?;
    if name == "api_key" {
        scanner.text()?;
        if !scanner.goes_on(b'}')? {
            return None;
        }
        name = scanner.name()?;
    }
    (name == "events" && scanner.peek() == b'[').then_some(scanner.at())
}

/// The events of an object that holds some; `None` of an event.
///
/// # Errors
/// 422: it holds something else besides, or what it calls its events is no array.
fn events_of(object: &RawValue) -> Result<Option<&str>, ApiError> {
    let entries = fields::entries(object).unwrap_or_default();
    let Some((_, events)) = entries.iter().find(|(name, _)| name == "events") else {
        return Ok(None);
    };
    let mut faults = vec![];
    if Kind::of(events) != Kind::Array {
        faults.push(FieldFault::new("/events", "must be an array"));
    }
    for (name, _) in &entries {
        if name != "events" && name != "api_key" && faults.len() < super::faults::FAULTS_MAX {
            let place = super::faults::Place { parent: "", name };
            let fault = place.fault("is nothing that stands beside events");
            faults.push(fault.accepting(["events", "api_key"]));
        }
    }
    match faults.is_empty() {
        true => Ok(Some(events.get())),
        false => Err(ApiError::unprocessable(
            "the body has events, and something that is wrong",
            faults,
        )),
    }
}

/// The whole body as text.
fn whole(body: &[u8]) -> Result<&str, ApiError> {
    str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        let line = memchr::memchr_iter(b'\n', &body[..at]).count() + 1;
        let column = at - memchr::memrchr(b'\n', &body[..at]).map_or(0, |feed| feed + 1) + 1;
        ApiError::bad_request(format!(
            "the body is not UTF-8: line {line} column {column}"
        ))
    })
}

/// The value that begins at the byte `at`.
fn raw_at(text: &str, at: usize) -> Result<&RawValue, ApiError> {
    let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter();
    match values.next() {
        Some(Ok(value)) => Ok(value),
        _ => Err(not_json(text)),
    }
}

fn expect_end(text: &str, end: usize) -> Result<(), ApiError> {
    let mut scanner = Scanner::new(text, end);
    scanner.skip_blanks();
    if scanner.at() == text.len() {
        return Ok(());
    }
    Err(not_json(text))
}

/// What makes a text no JSON, with line and column.
#[cold]
fn not_json(text: &str) -> ApiError {
    let detail = match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => "the body is not JSON".into(),
        Err(error) if error.to_string().starts_with("trailing characters") => format!(
            "the body is not JSON: {error}; several values, one on each line, are \
             application/x-ndjson"
        ),
        Err(error) => format!("the body is not JSON: {error}"),
    };
    ApiError::bad_request(detail)
}

/// An error of a text that is one line: its line would be 1 always.
fn in_line(error: &serde_json::Error) -> Cow<'static, str> {
    let said = error.to_string();
    let reason = said.split(" at line ").next().unwrap_or_default();
    format!("{reason} at column {}", error.column()).into()
}
