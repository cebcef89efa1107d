//! Recorded frames, served as they were recorded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use schemas::control::Exchange;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::words::{stamp, time};

/// Frames that are replayed at most: a recording is held in memory.
const FRAMES_MAX: usize = 5_000_000;

/// What is replayed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayOptions {
    /// A file of lines `{"at": <unix seconds>, "frame": "<the raw frame>"}`, compressed with zstd
    /// or not.
    pub file: PathBuf,
    /// How many of the last frames a client gets again after a planned disconnect.
    pub overlap: usize,
}

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A line is not of the form that a recording has.
    #[error("{file}: line {line} is not {{\"at\": seconds, \"frame\": text}}")]
    Line {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// Too long, or empty.
    #[error("{file}: has {count} frames, and must have 1 to {FRAMES_MAX}")]
    Count {
        /// Which file.
        file: PathBuf,
        /// How many.
        count: usize,
    },
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    at: &'a RawValue,
    frame: String,
}

/// A recorded frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Recorded {
    /// When it was received, in microseconds since 1970.
    pub(super) at_us: i64,
    pub(super) text: String,
}

/// A recording, and where the next client begins in it.
pub(super) struct Replay {
    pub(super) frames: Vec<Recorded>,
    pub(super) feed: Exchange,
    overlap: usize,
    /// Where a client that was cut off by plan goes on; any other begins at the start.
    resume: Mutex<Option<usize>>,
}

/// What zstd's files begin with.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A recording's lines, whether it is compressed with zstd or not.
///
/// # Errors
/// When the file cannot be opened.
pub(crate) fn lines(path: &Path) -> io::Result<impl Iterator<Item = io::Result<String>> + use<>> {
    let mut file = BufReader::new(File::open(path)?);
    let is_compressed = file.fill_buf()?.starts_with(&ZSTD_MAGIC);
    let text: Box<dyn BufRead> = match is_compressed {
        true => Box::new(BufReader::new(zstd::Decoder::with_buffer(file)?)),
        false => Box::new(file),
    };
    Ok(text.lines())
}

impl Replay {
    /// Reads a recording.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn read(options: &ReplayOptions) -> Result<Self, ReplayError> {
        let file = &options.file;
        let read = |error| ReplayError::Read {
            file: file.clone(),
            error,
        };
        let lines = lines(file).map_err(read)?;
        let mut frames = vec![];
        for (at, line) in lines.enumerate() {
            let line = line.map_err(read)?;
            frames.push(recorded(&line).ok_or_else(|| malformed(file, at))?);
            if frames.len() > FRAMES_MAX {
                break;
            }
        }
        if frames.is_empty() || frames.len() > FRAMES_MAX {
            return Err(ReplayError::Count {
                file: file.clone(),
                count: frames.len(),
            });
        }
        let feed = match frames[0].text.contains(r#""channel":"#) {
            true => Exchange::CoinbaseAdvanced,
            false => Exchange::CoinbaseExchange,
        };
        Ok(Self {
            frames,
            feed,
            overlap: options.overlap,
            resume: Mutex::new(None),
        })
    }

    /// Where the next client begins.
    pub(super) fn begin(&self) -> usize {
        let mut resume = self.resume.lock().unwrap_or_else(PoisonError::into_inner);
        resume.take().unwrap_or(0)
    }

    /// A client was cut off by plan after the frame at `index`.
    pub(super) fn cut_off(&self, index: usize) {
        let mut resume = self.resume.lock().unwrap_or_else(PoisonError::into_inner);
        *resume = Some((index + 1).saturating_sub(self.overlap));
    }

    /// Signs of life after the last frame, as the feed would send them.
    pub(super) fn heart(&self) -> Heart {
        let last = &self.frames[self.frames.len() - 1];
        let mut heart = Heart {
            feed: self.feed,
            at_us: last.at_us,
            number: 0,
            last: BTreeMap::new(),
        };
        for frame in &self.frames {
            heart.learn(&frame.text);
        }
        heart
    }
}

fn malformed(file: &Path, at: usize) -> ReplayError {
    ReplayError::Line {
        file: file.to_owned(),
        line: at + 1,
    }
}

fn recorded(line: &str) -> Option<Recorded> {
    let line: Line<'_> = serde_json::from_str(line).ok()?;
    let at: schemas::decimal::Decimal = line.at.get().parse().ok()?;
    let at_us = i64::try_from(at.units() / 1_000_000_000_000).ok()?;
    Some(Recorded {
        at_us,
        text: line.frame,
    })
}

/// What the feed would say once a second after the recording's end.
#[derive(Clone, Debug)]
pub(super) struct Heart {
    feed: Exchange,
    at_us: i64,
    number: i64,
    /// The Exchange feed's last trade id and sequence, by product.
    last: BTreeMap<Arc<str>, (i64, i64)>,
}

#[derive(Deserialize)]
struct Traded {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    product_id: String,
    #[serde(default)]
    trade_id: serde_json::Value,
    #[serde(default)]
    sequence: serde_json::Value,
    #[serde(default)]
    sequence_num: serde_json::Value,
}

impl Heart {
    fn learn(&mut self, text: &str) {
        let Ok(frame) = serde_json::from_str::<Traded>(text) else {
            return;
        };
        if let Some(number) = frame.sequence_num.as_i64() {
            self.number = self.number.max(number);
        }
        let ids = frame.trade_id.as_i64().zip(frame.sequence.as_i64());
        if let Some(ids) = ids.filter(|_| frame.kind.ends_with("match")) {
            let held = self.last.entry(frame.product_id.into()).or_insert(ids);
            *held = ids.max(*held);
        }
    }

    /// The next second's frames.
    pub(super) fn beat(&mut self) -> Vec<String> {
        self.at_us += 1_000_000;
        self.number += 1;
        match self.feed {
            Exchange::CoinbaseExchange => {
                let at = time(self.at_us);
                let beats = self.last.iter().map(|(product, (trade_id, sequence))| {
                    format!(
                        r#"{{"type":"heartbeat","last_trade_id":{trade_id},"product_id":"{product}","sequence":{sequence},"time":"{at}"}}"#
                    )
                });
                beats.collect()
            }
            Exchange::CoinbaseAdvanced => {
                let at = stamp(self.at_us, "%Y-%m-%dT%H:%M:%S.%9fZ");
                let number = self.number;
                let current = stamp(self.at_us, "%Y-%m-%d %H:%M:%S.%9f +0000 UTC");
                vec![format!(
                    r#"{{"channel":"heartbeats","timestamp":"{at}","sequence_num":{number},"events":[{{"current_time":"{current} m=+{number}.0","heartbeat_counter":{number}}}]}}"#
                )]
            }
        }
    }
}
