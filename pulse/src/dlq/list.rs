//! The latest letters, in a table; and one of them, whole.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;

use super::filter::Filter;
use super::hex;
use super::letters::{Found, Letters, LettersError};
use crate::cli::text::{self, Align, Table};

/// Characters of a letter's detail in the table.
const DETAIL_LENGTH: usize = 60;

/// What a letter says, without the bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Summary {
    /// Its number.
    pub number: i64,
    /// When it was written, in ms since the epoch.
    pub written_at_ms: i64,
    /// Where it came from: a topic, or a connector's feed.
    pub source: String,
    /// Its partition there.
    pub partition: Option<i32>,
    /// Its offset there.
    pub offset: Option<i64>,
    /// When the broker appended it there, in ms since the epoch.
    pub appended_at_ms: i64,
    /// A stable word.
    pub reason: String,
    /// What was wrong, where, and what would be right.
    pub detail: String,
    /// How often its record had been put back when it was written.
    pub replay_count: i32,
    /// True when its record has been put back since: the topic holds a mark that says so.
    pub is_put_back: bool,
    /// Bytes of its key.
    pub key_bytes: Option<usize>,
    /// Bytes of its value.
    pub value_bytes: Option<usize>,
}

impl Summary {
    fn of(found: &Found<'_>) -> Self {
        let letter = &found.letter;
        Self {
            number: found.number,
            written_at_ms: found.written_at_ms,
            source: letter.source.as_str().to_owned(),
            partition: letter.partition,
            offset: letter.offset,
            appended_at_ms: letter.appended_at.as_ms(),
            reason: letter.reason.as_str().to_owned(),
            detail: letter.detail.as_str().to_owned(),
            replay_count: letter.replay_count,
            is_put_back: false,
            key_bytes: letter.key.map(<[u8]>::len),
            value_bytes: letter.value.map(<[u8]>::len),
        }
    }

    /// `pulse.demo.events[2]@17`
    pub fn place(&self) -> String {
        match (self.partition, self.offset) {
            (Some(partition), Some(offset)) => format!("{}[{partition}]@{offset}", self.source),
            _ => self.source.clone(),
        }
    }
}

/// The letters that were found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Listing {
    /// The latest of them, the oldest first.
    pub letters: VecDeque<Summary>,
    /// How many there are in all.
    pub count: u64,
    /// How many there are of each reason.
    pub by_reason: BTreeMap<String, u64>,
    /// Records of the topic that are no letters.
    pub unreadable_count: u64,
}

impl Listing {
    /// The letters that the filter takes; the latest `limit` of them one by one.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read(
        letters: &Letters,
        filter: &Filter,
        limit: usize,
        now_ms: i64,
    ) -> Result<Self, LettersError> {
        let mut listing = Self::default();
        let besides = letters.each(|found| {
            if filter.takes(&found.letter, found.written_at_ms, now_ms) {
                listing.add(Summary::of(&found), limit);
            }
        })?;
        listing.unreadable_count = besides.unreadable_count;
        listing.note_put_back(&besides.put_back);
        Ok(listing)
    }

    /// Marks come after their letters, so this is known last.
    fn note_put_back(&mut self, put_back: &BTreeSet<i64>) {
        for letter in &mut self.letters {
            letter.is_put_back = put_back.contains(&letter.number);
        }
    }

    fn add(&mut self, summary: Summary, limit: usize) {
        self.count += 1;
        *self.by_reason.entry(summary.reason.clone()).or_default() += 1;
        self.letters.push_back(summary);
        if self.letters.len() > limit {
            self.letters.pop_front();
        }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        if self.count == 0 {
            return format!("no dead letters\n{}", self.unreadable());
        }
        let mut table = Table::new(&[
            ("NUMBER", Align::Right),
            ("WRITTEN", Align::Left),
            ("FROM", Align::Left),
            ("REASON", Align::Left),
            ("BYTES", Align::Right),
            ("REPLAYED", Align::Right),
            ("PUT BACK", Align::Left),
            ("DETAIL", Align::Left),
        ]);
        for letter in &self.letters {
            let bytes = letter.value_bytes.unwrap_or(0);
            table.row([
                letter.number.to_string(),
                text::date_time(letter.written_at_ms),
                letter.place(),
                letter.reason.clone(),
                text::count(i64::try_from(bytes).unwrap_or(i64::MAX)),
                letter.replay_count.to_string(),
                if letter.is_put_back { "yes" } else { "no" }.into(),
                letter.detail.chars().take(DETAIL_LENGTH).collect(),
            ]);
        }
        let reasons = self
            .by_reason
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"));
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        let shown = self.letters.len() as u64;
        let all = match shown == self.count {
            true => format!("{} in all", self.count),
            false => format!("the latest {shown} of {}; --limit shows more", self.count),
        };
        format!("{table}\n{all}: {reasons}\n{}", self.unreadable())
    }

    /// What there is to say of records that somebody else put on the topic.
    fn unreadable(&self) -> String {
        match self.unreadable_count {
            0 => String::new(),
            count => format!("{count} records of the topic are no dead letters\n"),
        }
    }
}

/// One letter, whole, with its first bytes.
pub fn whole(found: &Found<'_>, byte_count_max: usize) -> String {
    let summary = Summary::of(found);
    let letter = &found.letter;
    let mut text = format!(
        "number    {}\nwritten   {}\nfrom      {}\nappended  {}\nreason    {}\ndetail    {}\n\
         replayed  {} times\n",
        summary.number,
        text::instant(summary.written_at_ms),
        summary.place(),
        text::instant(summary.appended_at_ms),
        summary.reason,
        summary.detail,
        summary.replay_count,
    );
    for (name, bytes) in [("key", letter.key), ("value", letter.value)] {
        match bytes {
            None => text.push_str(&format!("\n{name}: none\n")),
            Some(bytes) => {
                let dump = hex::dump(bytes, byte_count_max);
                text.push_str(&format!("\n{name}: {} bytes\n{dump}", bytes.len()));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::dead_letter::DeadLetter;
    use schemas::time::BrokerTime;
    use schemas::wire::Text;

    fn found(number: i64, reason: &'static str) -> Found<'static> {
        Found {
            number,
            written_at_ms: 1_786_309_548_228,
            letter: DeadLetter {
                source: Text::new("pulse.demo.events"),
                partition: Some(2),
                offset: Some(17),
                appended_at: BrokerTime::from_ms(1_786_309_548_100),
                reason: Text::new(reason),
                detail: Text::new("body ends inside field subject"),
                replay_count: 1,
                key: None,
                value: Some(b"\0\0\0\0\x01abc"),
            },
        }
    }

    #[test]
    fn the_latest_are_shown_and_all_are_counted() {
        let mut listing = Listing::default();
        for (number, reason) in [(4, "truncated"), (7, "wrong_magic"), (9, "truncated")] {
            listing.add(Summary::of(&found(number, reason)), 2);
        }
        listing.note_put_back(&[4, 9].into());
        insta::assert_snapshot!(listing.to_text(), @r"
        NUMBER  WRITTEN              FROM                     REASON       BYTES  REPLAYED  PUT BACK  DETAIL
             7  2026-08-09 21:05:48  pulse.demo.events[2]@17  wrong_magic      8         1  no        body ends inside field subject
             9  2026-08-09 21:05:48  pulse.demo.events[2]@17  truncated        8         1  yes       body ends inside field subject

        the latest 2 of 3; --limit shows more: truncated 2, wrong_magic 1
        ");
        assert_eq!(Listing::default().to_text(), "no dead letters\n");
    }

    #[test]
    fn a_letter_is_shown_with_its_bytes() {
        insta::assert_snapshot!(whole(&found(4, "truncated"), 100), @r"
        number    4
        written   2026-08-09T21:05:48.228Z
        from      pulse.demo.events[2]@17
        appended  2026-08-09T21:05:48.100Z
        reason    truncated
        detail    body ends inside field subject
        replayed  1 times

        key: none

        value: 8 bytes
        00000000  00 00 00 00 01 61 62 63                           |.....abc|
        ");
    }
}
