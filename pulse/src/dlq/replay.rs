//! Puts records back on the topic that they came from, once what refused them has been mended.
//!
//! **Once.** A letter whose record was put back is marked ([`super::mark`]), and another run leaves
//! it alone, unless it is told to do it again.
//!
//! **The loop guard.** A record that is refused again becomes another letter, which could be put
//! back again, for ever. So each record that is put back carries in a header how often it has been;
//! before a letter is replayed, the record that it is about is looked up on its topic, and its
//! header says how many rounds it has made already. At [`ROUNDS_MAX`] it is left alone, unless it
//! is forced.
//!
//! **Whose it is.** A record of our own goes back with the header that says so, where it can still
//! be looked up: nothing is signed here that was not signed before.
//!
//! A key is what the record's own subject says, where it can be read: a record that lay in a wrong
//! partition lands in the right one. Events are counted once whatever the number of replays, since
//! their identity is their own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use runtime::kafka::publisher::PublisherError;
use runtime::kafka::reader::ReadError;
use runtime::kafka::{
    Admin, Isolation, KafkaConfig, Outgoing, Partition, Publisher, PublisherSettings, Reader, Start,
};
use schemas::dead_letter::DeadLetter;
use schemas::event::EventView;
use schemas::ids::{Stream, TenantId, Topic};
use schemas::origin;
use serde::Serialize;

use super::filter::Filter;
use super::letters::{Letters, LettersError};
use super::mark::Mark;

/// The header that says how often a record has been put back.
pub const HEADER: &str = "pulse-replay-count";
/// How often a record is put back at most.
pub const ROUNDS_MAX: i32 = 3;

/// How long the brokers may take to answer, and how long reading may make no progress.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(20);
/// Letters that are looked at in one reading at least.
const LOOK_MIN: usize = 10_000;
/// Bytes of records that are put back in one go at most.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why nothing, or not everything, was put back.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The letters cannot be read.
    #[error(transparent)]
    Letters(#[from] LettersError),
    /// The records that they are about cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The edges of their topics cannot be learnt.
    #[error(transparent)]
    Admin(#[from] runtime::kafka::admin::AdminError),
    /// There is no publisher.
    #[error(transparent)]
    Publisher(#[from] PublisherError),
}

/// What becomes of a letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// It goes back to this topic.
    Back(String),
    /// It stays.
    Stays(&'static str),
}

const NO_RECORD: &str = "it was a frame of a connector, and no record";
const FOREIGN: &str = "it did not come from a topic of this tenant";
const INTERNAL: &str = "processors alone write to its topic";
const EMPTY: &str = "it has no value";
const PUT_BACK: &str = "it was put back already: --again does it once more";
const TOO_OFTEN: &str = "it was put back too often: mend what refuses it, or use --force";

/// A letter that goes back.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Going {
    number: i64,
    /// Where the record lay, where it was one.
    place: Option<(Partition, i64)>,
    /// Rounds that it has made, as far as the letter knows.
    rounds: i32,
}

impl Going {
    fn of(number: i64, letter: &DeadLetter) -> Self {
        Self {
            number,
            place: place(letter),
            rounds: letter.replay_count,
        }
    }
}

/// What a replay would do, or did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Outcome {
    /// Letters by what becomes of them.
    pub verdicts: BTreeMap<String, u64>,
    /// Records that are on their topics again; 0 for a dry run.
    pub put_back_count: u64,
    /// Records that the brokers refused.
    pub refused_count: u64,
    /// Records that were put back and not marked, so that another run puts them back again.
    pub unmarked_count: u64,
    /// Why the first of them was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Why the first mark was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark_refusal: Option<String>,
}

/// How a replay is done.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Where the log is.
    pub kafka: KafkaConfig,
    /// Whose letters.
    pub tenant: TenantId,
    /// Which of them.
    pub filter: Filter,
    /// How many at most, the oldest first.
    pub limit: usize,
    /// True to put back what has been put back already.
    pub is_again: bool,
    /// True to put back what has been put back too often.
    pub is_forced: bool,
    /// When it is now, in ms since the epoch.
    pub now_ms: i64,
}

/// What the headers of a letter's record say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Headers {
    /// Rounds that it has made.
    rounds: i32,
    /// What says that it is one of our own.
    origin: Option<Vec<u8>>,
}

impl Headers {
    fn of(record: runtime::kafka::Record<'_>) -> Self {
        Self {
            rounds: count(record.header(HEADER)),
            origin: record.header(origin::HEADER).map(<[u8]>::to_vec),
        }
    }
}

/// The letters that go back, and the verdicts on all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    going: BTreeMap<i64, Headers>,
    outcome: Outcome,
}

impl Plan {
    /// What would be done.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    fn note(&mut self, verdict: &Verdict) {
        let words = match verdict {
            Verdict::Back(topic) => format!("back to {topic}"),
            Verdict::Stays(why) => format!("stays: {why}"),
        };
        *self.outcome.verdicts.entry(words).or_default() += 1;
    }
}

impl Replay {
    /// Decides on each letter. Blocks.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn plan(&self) -> Result<Plan, ReplayError> {
        let letters = Letters::open(&self.kafka, &self.tenant)?;
        let put_back = match self.is_again {
            true => BTreeSet::new(),
            false => letters.put_back()?,
        };
        let mut plan = Plan::default();
        let mut judged = None;
        // Those that were put back too often take up no room, however many come first.
        loop {
            let room = self.limit.max(LOOK_MIN);
            let (begin, mut going) = (judged, Vec::new());
            letters.each(|found| {
                let is_known = begin.is_some_and(|last| found.number <= last);
                let is_meant = self
                    .filter
                    .takes(&found.letter, found.written_at_ms, self.now_ms);
                if is_known || !is_meant || going.len() >= room {
                    return;
                }
                judged = Some(found.number);
                match judge(&found.letter, &self.tenant) {
                    Verdict::Back(_) if put_back.contains(&found.number) => {
                        plan.note(&Verdict::Stays(PUT_BACK));
                    }
                    Verdict::Back(topic) => {
                        going.push((topic, Going::of(found.number, &found.letter)))
                    }
                    stays => plan.note(&stays),
                }
            })?;
            let was_full = going.len() >= room;
            self.fill(&mut plan, going)?;
            if !was_full || plan.going.len() >= self.limit {
                return Ok(plan);
            }
        }
    }

    /// Takes as many into the plan as it has room for, but for those that have made their rounds.
    fn fill(&self, plan: &mut Plan, going: Vec<(String, Going)>) -> Result<(), ReplayError> {
        let mut headers = self.headers(going.iter().map(|(_, going)| going))?;
        for (topic, letter) in going {
            if plan.going.len() >= self.limit {
                break;
            }
            let mut known = headers.remove(&letter.number).unwrap_or_default();
            known.rounds = known.rounds.max(letter.rounds);
            if known.rounds >= ROUNDS_MAX && !self.is_forced {
                plan.note(&Verdict::Stays(TOO_OFTEN));
                continue;
            }
            plan.note(&Verdict::Back(topic));
            plan.going.insert(letter.number, known);
        }
        Ok(())
    }

    /// The headers of the records that the letters are about.
    fn headers<'a>(
        &self,
        going: impl Iterator<Item = &'a Going>,
    ) -> Result<BTreeMap<i64, Headers>, ReplayError> {
        let mut by_partition: BTreeMap<Partition, BTreeMap<i64, i64>> = BTreeMap::new();
        for letter in going {
            if let Some((partition, offset)) = &letter.place {
                let offsets = by_partition.entry(partition.clone()).or_default();
                offsets.insert(*offset, letter.number);
            }
        }
        let mut headers = BTreeMap::new();
        let admin = Admin::new(&self.kafka)?;
        for (partition, offsets) in by_partition {
            let asked = std::slice::from_ref(&partition);
            let edges = admin.watermarks(asked, Isolation::Uncommitted, ANSWER_MAX)?;
            // What retention has taken cannot be looked up; its letter's own count holds then.
            let mut held = offsets.range(edges[0].low..edges[0].high);
            let (Some(first), last) = (held.next(), held.next_back()) else {
                continue;
            };
            let end = last.unwrap_or(first).0 + 1;
            let spans = [(partition.clone(), Start::At(*first.0))];
            let reader = Reader::open(&self.kafka, "pulse-dlq", Isolation::Uncommitted, &spans)?;
            reader.read_until(&[end], PATIENCE, |_, record| {
                if let Some(number) = offsets.get(&record.offset()) {
                    headers.insert(*number, Headers::of(record));
                }
            })?;
        }
        Ok(headers)
    }

    /// Puts the planned ones back, so many a second. Blocks.
    ///
    /// # Errors
    /// When the letters cannot be read; what was put back until then stays.
    pub fn execute(&self, plan: Plan, rate: u32) -> Result<Outcome, ReplayError> {
        let publisher = Publisher::new(&self.kafka, &PublisherSettings::new("pulse-dlq"))?;
        let letters = Letters::open(&self.kafka, &self.tenant)?;
        let Plan { going, mut outcome } = plan;
        let mut batch = Batch::new(publisher, rate);
        letters.each(|found| {
            if let (Some(headers), Verdict::Back(topic)) =
                (going.get(&found.number), judge(&found.letter, &self.tenant))
            {
                let letters = self.tenant.topic(Stream::DeadLetters).to_string();
                let mark = Mark {
                    letters,
                    number: found.number,
                    written_at_ms: found.written_at_ms,
                    topic,
                    rounds: headers.rounds.saturating_add(1),
                };
                let record = Record::of(mark, &found.letter, headers.origin.clone());
                batch.add(record, &mut outcome);
            }
        })?;
        batch.send(&mut outcome);
        Ok(outcome)
    }
}

/// Whether a letter can go back at all, and where to.
fn judge(letter: &DeadLetter<'_>, tenant: &TenantId) -> Verdict {
    let (Some(_), Some(_)) = (letter.partition, letter.offset) else {
        return Verdict::Stays(NO_RECORD);
    };
    let Ok(topic) = letter.source.as_str().parse::<Topic>() else {
        return Verdict::Stays(FOREIGN);
    };
    match topic.stream {
        _ if topic.tenant != *tenant => Verdict::Stays(FOREIGN),
        Stream::Events | Stream::Books if letter.value.is_none() => Verdict::Stays(EMPTY),
        Stream::Events | Stream::Books => Verdict::Back(topic.to_string()),
        _ => Verdict::Stays(INTERNAL),
    }
}

fn place(letter: &DeadLetter<'_>) -> Option<(Partition, i64)> {
    Some((
        Partition::new(letter.source.as_str(), letter.partition?),
        letter.offset?,
    ))
}

/// What a header says; a record without one has not been put back.
fn count(header: Option<&[u8]>) -> i32 {
    let text = header.and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A record on its way back.
struct Record {
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    rounds: String,
    /// What says that it is one of our own.
    origin: Option<Vec<u8>>,
    /// What will be said of it once it is there.
    mark: Mark,
}

impl Record {
    fn of(mark: Mark, letter: &DeadLetter<'_>, origin: Option<Vec<u8>>) -> Self {
        let value = letter.value.unwrap_or_default();
        let subject = EventView::decode(value)
            .ok()
            .map(|event| event.subject.as_bytes());
        Self {
            key: subject.or(letter.key).map(<[u8]>::to_vec),
            value: value.to_vec(),
            rounds: mark.rounds.to_string(),
            origin,
            mark,
        }
    }
}

/// Records that go back together: a tenth of a second's worth.
struct Batch {
    publisher: Publisher,
    records: Vec<Record>,
    count_max: usize,
    pause: Duration,
}

impl Batch {
    fn new(publisher: Publisher, rate: u32) -> Self {
        let rate = rate.max(1);
        let count_max = (rate / 10).max(1);
        let pause = Duration::from_secs_f64(f64::from(count_max) / f64::from(rate));
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        Self {
            publisher,
            records: Vec::new(),
            count_max,
            pause,
        }
    }

    fn add(&mut self, record: Record, outcome: &mut Outcome) {
        self.records.push(record);
        let bytes: usize = self.records.iter().map(|record| record.value.len()).sum();
        if self.records.len() >= self.count_max || bytes >= BATCH_BYTES_MAX {
            self.send(outcome);
            std::thread::sleep(self.pause);
        }
    }

    fn send(&mut self, outcome: &mut Outcome) {
        let records = std::mem::take(&mut self.records);
        let headers: Vec<_> = records
            .iter()
            .map(|record| {
                let origin = record.origin.as_deref();
                let origin = origin.map(|origin| (origin::HEADER, origin));
                let rounds = (HEADER, record.rounds.as_bytes());
                [rounds].into_iter().chain(origin).collect::<Vec<_>>()
            })
            .collect();
        let outgoing: Vec<_> = records
            .iter()
            .zip(&headers)
            .map(|(record, headers)| Outgoing {
                topic: &record.mark.topic,
                partition: None,
                key: record.key.as_deref(),
                value: Some(&record.value),
                headers,
            })
            .collect();
        let undelivered = self.publisher.publish_blocking(&outgoing);
        outcome.put_back_count += (outgoing.len() - undelivered.len()) as u64;
        outcome.refused_count += undelivered.len() as u64;
        if let Some(first) = undelivered.first() {
            outcome
                .refusal
                .get_or_insert_with(|| first.failure.to_string());
        }
        let refused: BTreeSet<usize> = undelivered.iter().map(|record| record.index).collect();
        let there = records.iter().enumerate();
        let there = there.filter(|(index, _)| !refused.contains(index));
        self.mark(there.map(|(_, record)| &record.mark), outcome);
    }

    /// Marks what is on its topic again.
    fn mark<'a>(&self, marks: impl Iterator<Item = &'a Mark>, outcome: &mut Outcome) {
        let records: Vec<_> = marks.map(|mark| (mark, mark.record())).collect();
        let outgoing: Vec<_> = records
            .iter()
            .map(|(mark, (key, value))| Outgoing::keyed(&mark.letters, key.as_bytes(), value))
            .collect();
        let unmarked = self.publisher.publish_blocking(&outgoing);
        outcome.unmarked_count += unmarked.len() as u64;
        if let Some(first) = unmarked.first() {
            outcome
                .mark_refusal
                .get_or_insert_with(|| first.failure.to_string());
        }
    }
}

#[cfg(test)]
mod tests;
