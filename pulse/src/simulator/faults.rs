//! What goes wrong on purpose between a market and its client.
//!
//! Pure and seeded: a frame goes in, what to do with it comes out. Frames that a subscription rests
//! on, signs of life, and each market's last trade pass unharmed, so that every loss can be seen
//! from what follows it.

use std::time::Duration;

use fastrand::Rng;

use super::words::OutFrame;

/// Which faults, how often (a share of the data frames, 0 to 1) and how.
#[derive(Clone, PartialEq, Debug)]
pub struct FaultOptions {
    /// Frames that are never sent.
    pub drop: f64,
    /// Frames that are sent twice.
    pub duplicate: f64,
    /// Frames that others overtake.
    pub reorder: f64,
    /// By how many frames one is overtaken at most.
    pub reorder_span: usize,
    /// Frames that are spoilt: cut off, broken JSON, no numbers.
    pub malformed: f64,
    /// Frames that trickle.
    pub slow: f64,
    /// Frames before which nothing is sent for [`Self::stall_for`].
    pub stall: f64,
    /// How long a stall takes.
    pub stall_for: Duration,
    /// Frames after which the connection breaks without a word.
    pub disconnect: f64,
    /// Frames before which one comes that is larger than any client takes.
    pub oversized: f64,
    /// Breaks after so many frames in all connections together, each once.
    pub disconnect_after: Vec<u64>,
    /// How much of the market's time passes before a client that was cut off is served again.
    pub outage: Duration,
}

impl Default for FaultOptions {
    /// None.
    fn default() -> Self {
        Self {
            drop: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_span: 8,
            malformed: 0.0,
            slow: 0.0,
            stall: 0.0,
            stall_for: Duration::from_secs(5),
            disconnect: 0.0,
            oversized: 0.0,
            disconnect_after: vec![],
            outage: Duration::from_millis(500),
        }
    }
}

/// What to do next on a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// Send a frame.
    Send(String),
    /// Send it a few bytes at a time.
    Trickle(String),
    /// Send nothing at all for a while.
    Stall,
    /// Send more than any client takes.
    Oversize,
    /// Break the connection.
    Break,
}

/// The faults of one connection.
pub(super) struct Faults {
    options: FaultOptions,
    random: Rng,
    /// Frames that others are overtaking, with how many still may.
    overtaken: Vec<(usize, OutFrame)>,
}

/// What became of a frame.
#[derive(Default, Debug)]
pub(super) struct Passed {
    pub(super) actions: Vec<Action>,
    /// Trades that were in frames dropped or spoilt.
    pub(super) withheld: Vec<(usize, i64)>,
}

/// What strikes one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Drop,
    Duplicate,
    Reorder,
    Malformed,
    Slow,
    Stall,
    Disconnect,
    Oversized,
}

impl Faults {
    pub(super) fn new(options: FaultOptions, seed: u64) -> Self {
        Self {
            options,
            random: Rng::with_seed(seed),
            overtaken: vec![],
        }
    }

    /// Lets a frame pass, or not.
    pub(super) fn pass(&mut self, frame: OutFrame) -> Passed {
        let mut passed = Passed::default();
        let fault = if frame.is_sound { None } else { self.strike() };
        match fault {
            None => passed.actions.push(Action::Send(frame.text)),
            Some(Fault::Drop) => passed.withheld.extend(frame.trades),
            Some(Fault::Duplicate) => {
                passed.actions.push(Action::Send(frame.text.clone()));
                passed.actions.push(Action::Send(frame.text));
            }
            Some(Fault::Reorder) => {
                let by = self.random.usize(1..=self.options.reorder_span.max(1));
                self.overtaken.push((by + 1, frame));
            }
            Some(Fault::Malformed) => {
                passed.actions.push(Action::Send(self.spoil(&frame.text)));
                passed.withheld.extend(frame.trades);
            }
            Some(Fault::Slow) => passed.actions.push(Action::Trickle(frame.text)),
            Some(Fault::Stall) => {
                passed.actions.push(Action::Stall);
                passed.actions.push(Action::Send(frame.text));
            }
            Some(Fault::Disconnect) => {
                passed.actions.push(Action::Send(frame.text));
                passed.actions.push(Action::Break);
            }
            Some(Fault::Oversized) => {
                passed.actions.push(Action::Oversize);
                passed.actions.push(Action::Send(frame.text));
            }
        }
        self.catch_up(&mut passed.actions);
        passed
    }

    /// Sends what was held back, because nothing will overtake it any more.
    pub(super) fn release(&mut self) -> Vec<Action> {
        let overtaken = self.overtaken.drain(..);
        overtaken
            .map(|(_, frame)| Action::Send(frame.text))
            .collect()
    }

    fn catch_up(&mut self, actions: &mut Vec<Action>) {
        for (left, _) in &mut self.overtaken {
            *left -= 1;
        }
        while let Some(at) = self.overtaken.iter().position(|(left, _)| *left == 0) {
            let (_, frame) = self.overtaken.remove(at);
            actions.push(Action::Send(frame.text));
        }
    }

    fn strike(&mut self) -> Option<Fault> {
        let o = &self.options;
        let shares = [
            (Fault::Drop, o.drop),
            (Fault::Duplicate, o.duplicate),
            (Fault::Reorder, o.reorder),
            (Fault::Malformed, o.malformed),
            (Fault::Slow, o.slow),
            (Fault::Stall, o.stall),
            (Fault::Disconnect, o.disconnect),
            (Fault::Oversized, o.oversized),
        ];
        let mut drawn = self.random.f64();
        for (fault, share) in shares {
            if drawn < share {
                return Some(fault);
            }
            drawn -= share;
        }
        None
    }

    /// A frame that nobody can read.
    fn spoil(&mut self, text: &str) -> String {
        match self.random.u8(..4) {
            0 => text.replacen(':', ";", 1),
            1 => format!("[{text}]"),
            2 if text.contains(r#""price":""#) => text.replace(r#""price":""#, r#""price":"not "#),
            _ => {
                let cut = self.random.usize(1..text.len().max(2));
                let end = (0..=cut.min(text.len()))
                    .rev()
                    .find(|at| text.is_char_boundary(*at));
                text[..end.unwrap_or(0)].to_owned()
            }
        }
    }
}
