//! What the writer, the drain and those who ask share: which segments there are, how far they are
//! safe, how far they are settled, and who is on the way. All of it is under one lock, held for
//! moments.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use runtime::clock;
use tokio::sync::Notify;

use super::locked;
use super::position::Position;
use super::settings::DiskLogConfig;

/// How long [`admit`](super::DiskLog::admit) may hold a request back.
pub const HANDOVER_MAX: Duration = Duration::from_secs(1);
/// How few records must be left for a handover: about what one round publishes.
pub(super) const HANDOVER_COUNT: u64 = 2_000;
/// How long nobody is held back after a handover that came to nothing.
const HANDOVER_REST: Duration = Duration::from_secs(10);

/// Which way a request goes.
#[must_use = "whoever is behind must append before he lets go"]
pub enum Admission {
    /// Everything that was stored is settled: to the brokers, and to the log what they do not take.
    Through,
    /// To the log: something that came earlier is in it.
    Behind(Behind),
}

/// A place in the log's line. While it is held, and until what is appended meanwhile is settled,
/// nobody else is let through.
pub struct Behind {
    _going: Going,
}

/// Somebody on the way into the log.
pub(super) struct Going {
    shelf: Arc<Shelf>,
}

impl Drop for Going {
    fn drop(&mut self) {
        let mut state = self.shelf.locked();
        state.going_count -= 1;
        self.shelf.let_through_if_empty(&mut state);
        drop(state);
        self.shelf.appended.notify_one();
    }
}

/// What waits to be published.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Depth {
    /// Records that are stored and not settled.
    pub entry_count: u64,
    /// Bytes of the segments that are stored and not settled.
    pub bytes: u64,
    /// Bytes that all segments take on the disk.
    pub used_bytes: u64,
    /// When the oldest of the records was stored, in ms since the epoch.
    pub oldest_at_ms: Option<i64>,
    /// True when the last request was refused for want of room, and none was made since.
    pub is_full: bool,
    /// Why the last request could not be stored, while none could be stored since.
    pub failure: Option<String>,
}

/// A segment as far as it is safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    pub(super) index: u64,
    /// Bytes that an fsync made safe.
    pub(super) bytes: u64,
    pub(super) first_number: u64,
    /// The number behind its last entry.
    pub(super) next_number: u64,
}

/// A segment and the one behind it; where there is one behind it, nothing more comes into it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    pub(super) this: Option<Segment>,
    pub(super) next: Option<Segment>,
}

pub(super) struct Shelf {
    state: Mutex<State>,
    /// Rung when something was appended or given up.
    pub(super) appended: Notify,
    /// Rung when who is held back may look again.
    looked: Notify,
}

struct State {
    segments: VecDeque<Segment>,
    position: Position,
    /// The number behind the last entry that is safe.
    next_number: u64,
    /// Requests that will append or are appending.
    going_count: u64,
    /// Until when new requests are held back.
    handover_until: Option<Instant>,
    /// Before this nobody is held back.
    handover_from: Option<Instant>,
    oldest_at_ms: Option<i64>,
    is_full: bool,
    failure: Option<String>,
}

impl State {
    fn is_settled(&self) -> bool {
        self.position.number >= self.next_number
    }

    fn used_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

impl Shelf {
    pub(super) fn new(config: &DiskLogConfig, segments: Vec<Segment>, position: Position) -> Self {
        let next_number = segments
            .last()
            .map_or(0, |last| last.next_number)
            .max(position.number);
        let state = State {
            segments: segments.into(),
            position,
            next_number,
            going_count: 0,
            handover_until: None,
            handover_from: None,
            oldest_at_ms: None,
            is_full: false,
            failure: None,
        };
        let entry_count = next_number - position.number;
        tracing::info!(folder = %config.folder.display(), entry_count, "disk log opened");
        Self {
            state: Mutex::new(state),
            appended: Notify::new(),
            looked: Notify::new(),
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    pub(super) async fn admit(self: Arc<Self>) -> Admission {
        loop {
            // Made before the look: whoever rings behind it is heard.
            let looked = self.looked.notified();
            let left = {
                let mut state = self.locked();
                if state.is_settled() && state.going_count == 0 {
                    return Admission::Through;
                }
                let now = clock::monotonic();
                match state.handover_until {
                    Some(until) if until > now => until - now,
                    Some(_) => {
                        self.give_up_handover(&mut state);
                        continue;
                    }
                    None => {
                        state.going_count += 1;
                        let shelf = Arc::clone(&self);
                        return Admission::Behind(Behind {
                            _going: Going { shelf },
                        });
                    }
                }
            };
            let _ = tokio::time::timeout(left, looked).await;
        }
    }

    /// Nobody passes by while this is held.
    pub(super) fn going(self: Arc<Self>) -> Going {
        self.locked().going_count += 1;
        Going { shelf: self }
    }

    pub(super) fn is_empty(&self) -> bool {
        let state = self.locked();
        state.is_settled() && state.going_count == 0
    }

    pub(super) fn depth(&self) -> Depth {
        let state = self.locked();
        let used_bytes = state.used_bytes();
        let settled = match state.segments.front() {
            Some(first) if first.index == state.position.index => state.position.offset,
            _ => 0,
        };
        let is_settled = state.is_settled();
        Depth {
            entry_count: state.next_number.saturating_sub(state.position.number),
            bytes: if is_settled {
                0
            } else {
                used_bytes.saturating_sub(settled)
            },
            used_bytes,
            oldest_at_ms: state.oldest_at_ms.filter(|_| !is_settled),
            is_full: state.is_full,
            failure: state.failure.clone(),
        }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.locked().used_bytes()
    }

    /// True when nothing that is safe waits.
    pub(super) fn is_settled(&self) -> bool {
        self.locked().is_settled()
    }

    /// The number behind the last entry that is safe.
    pub(super) fn next_number(&self) -> u64 {
        self.locked().next_number
    }

    /// A segment was begun: its head is safe.
    pub(super) fn begin(&self, segment: Segment) {
        self.locked().segments.push_back(segment);
    }

    /// The last segment is safe up to here.
    pub(super) fn extend(&self, bytes: u64, next_number: u64) {
        let mut state = self.locked();
        if let Some(last) = state.segments.back_mut() {
            last.bytes = bytes;
            last.next_number = next_number;
        }
        state.next_number = next_number;
        state.is_full = false;
        state.failure = None;
    }

    /// The last segment is gone; nothing was in it.
    pub(super) fn abandon(&self, index: u64) {
        self.locked()
            .segments
            .retain(|segment| segment.index != index);
    }

    /// A request was refused: for want of room, or for this.
    pub(super) fn refuse(&self, failure: Option<String>) {
        let mut state = self.locked();
        match failure {
            None => state.is_full = true,
            Some(failure) => state.failure = Some(failure),
        }
    }

    pub(super) fn forget_failure(&self) {
        self.locked().failure = None;
    }

    /// Whether there is room again, where there was none.
    pub(super) fn look_for_room(&self, has_room: bool) {
        let mut state = self.locked();
        state.is_full &= !has_room;
    }

    pub(super) fn around(&self, index: u64) -> Around {
        let state = self.locked();
        let at = |wanted: &dyn Fn(u64) -> bool| {
            let found = state.segments.iter().find(|segment| wanted(segment.index));
            found.copied()
        };
        Around {
            this: at(&|other| other == index),
            next: at(&|other| other > index),
        }
    }

    pub(super) fn position(&self) -> Position {
        self.locked().position
    }

    /// The oldest record that waits was stored then.
    pub(super) fn found_oldest(&self, at_ms: i64) {
        self.locked().oldest_at_ms = Some(at_ms);
    }

    /// Everything before `position` is settled; gives the segments that nobody needs any more.
    pub(super) fn advance(&self, position: Position) -> Vec<u64> {
        let mut state = self.locked();
        state.position = position;
        let mut passed = vec![];
        while let Some(first) = state.segments.front()
            && first.index < position.index
        {
            passed.push(first.index);
            state.segments.pop_front();
        }
        state.is_full &= passed.is_empty();
        self.let_through_if_empty(&mut state);
        passed
    }

    /// Holds new requests back where little is left, so that the log can become empty.
    pub(super) fn hand_over_if_near(&self) {
        let mut state = self.locked();
        let left = state.next_number.saturating_sub(state.position.number);
        let now = clock::monotonic();
        let may = state.handover_from.is_none_or(|from| from <= now);
        let is_empty = state.is_settled() && state.going_count == 0;
        if left <= HANDOVER_COUNT && may && !is_empty && state.handover_until.is_none() {
            state.handover_until = Some(now + HANDOVER_MAX);
        }
    }

    /// The brokers do not take what is left: whoever is held back goes behind it.
    pub(super) fn break_handover(&self) {
        let mut state = self.locked();
        if state.handover_until.is_some() {
            self.give_up_handover(&mut state);
        }
    }

    fn give_up_handover(&self, state: &mut State) {
        state.handover_until = None;
        state.handover_from = Some(clock::monotonic() + HANDOVER_REST);
        self.looked.notify_waiters();
    }

    fn let_through_if_empty(&self, state: &mut State) {
        if state.is_settled() && state.going_count == 0 {
            state.handover_until = None;
            state.oldest_at_ms = None;
            self.looked.notify_waiters();
        }
    }
}
