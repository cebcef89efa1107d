//! A group's windows: for each of the meter's windows a run of entries in the order of their start.

use std::collections::{BTreeMap, VecDeque};

use schemas::meter::{Condition, Field, Meter, Window};
use schemas::time::{BrokerTime, EventTime};

use super::definitions::NamedMeter;
use super::layout::{Layout, Number, gates, texts};
use super::panes::{Kind, Slot};

/// A meter in force, compiled.
#[derive(Debug)]
pub struct CompiledMeter {
    /// Its id.
    pub id: Box<str>,
    /// Counts its changes.
    pub version: i64,
    /// What it computes.
    pub meter: Meter,
    /// The names of its group-by, in its order.
    pub label_names: Box<[Box<str>]>,
    /// Per window: its sizes and the cells of its panes.
    pub runs: Box<[RunSpec]>,
    /// True when some cell adds up value × weight.
    pub needs_product: bool,
    /// True when some cell adds up squares of the value; of the weight.
    pub needs_squares: (bool, bool),
    /// The conditions that its aggregates have, each set once.
    pub gates: Box<[Box<[Condition]>]>,
    /// The texts that its aggregates are distinct of, each once.
    pub texts: Box<[Field]>,
    /// The names of its sketches.
    pub sketch_names: Box<[Box<str>]>,
    /// True when a group is a subject and nothing else.
    pub is_by_subject: bool,
    /// The shortest of its windows, where longer ones take over what lies in it.
    pub shortest: Option<u8>,
    /// What was there before it.
    pub beginning: Beginning,
}

/// Where a meter began: what came before lies in none of its windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beginning {
    /// Subjects below this id were there before the meter.
    pub subject_count: u32,
    /// The partition's clock.
    pub at: BrokerTime,
}

impl Beginning {
    /// Windows that start at or before this may lack events of a subject whose stream has come to
    /// `seen`: no event counted before the meter began is dated later, but for events that were
    /// dated ahead of their append.
    pub fn partial_until(&self, subject: u32, seen: EventTime) -> EventTime {
        if subject < self.subject_count {
            seen.min(self.at.as_event_time())
        } else {
            EventTime::MIN
        }
    }
}

/// One of a meter's windows.
#[derive(Debug)]
pub struct RunSpec {
    /// The window's length.
    pub width_us: i64,
    /// The length of its panes; the same for a tumbling window.
    pub pane_us: i64,
    /// The cells of its panes.
    pub layout: Layout,
    /// Which memory its panes lie in.
    pub panes: usize,
    /// For sessions, whose gap is the width: where they are cut, at whole multiples of this.
    pub cut_us: Option<i64>,
    /// True when it takes over what lies in the meter's shortest windows ([`super::takeover`]).
    pub takes_over: bool,
}

impl CompiledMeter {
    /// Compiles a meter; `memory` gives the index of the memory for windows of a kind.
    pub fn new(
        named: &NamedMeter,
        beginning: Beginning,
        mut memory: impl FnMut(Kind) -> usize,
    ) -> Self {
        let meter = named.meter.clone();
        let run = |window: &Window| {
            let layout = Layout::new(&meter, window.length_max_ms());
            let is_session = matches!(window, Window::Session { .. });
            RunSpec {
                width_us: window.width_ms() * 1_000,
                pane_us: window.pane_ms() * 1_000,
                panes: memory(layout.kind()),
                layout,
                cut_us: is_session.then(|| window.length_max_ms() * 1_000),
                takes_over: false,
            }
        };
        let mut runs: Box<[RunSpec]> = meter.windows.iter().map(run).collect();
        let shortest = find_shortest(&mut runs);
        let needs = |test: &dyn Fn(&Layout) -> bool| runs.iter().any(|run| test(&run.layout));
        Self {
            id: named.id.as_str().into(),
            version: named.version,
            label_names: meter
                .group_by
                .iter()
                .map(|f| f.to_string().into())
                .collect(),
            needs_product: needs(&|layout| layout.needs_product()),
            needs_squares: (
                needs(&|layout| layout.needs_squares(Number::Value)),
                needs(&|layout| layout.needs_squares(Number::Weight)),
            ),
            texts: texts(&meter).into_iter().cloned().collect(),
            sketch_names: meter
                .sketches()
                .into_iter()
                .map(|first| first.name.as_str().into())
                .collect(),
            gates: gates(&meter).into_iter().map(Into::into).collect(),
            is_by_subject: meter.group_by == [Field::Subject],
            shortest,
            beginning,
            runs,
            meter,
        }
    }

    /// By what the ends of one of its groups' windows are found; `None` where that is the subject's
    /// own.
    #[inline]
    pub fn group_run(&self, series: u32, run: usize) -> Option<(u32, u8)> {
        (!self.is_by_subject).then_some((series, run as u8))
    }
}

/// Finds the shortest tumbling windows, and those that consist of a number of them.
fn find_shortest(runs: &mut [RunSpec]) -> Option<u8> {
    let tumbling = (0..runs.len()).filter(|at| runs[*at].is_tumbling());
    let shortest = tumbling.min_by_key(|at| runs[*at].width_us)?;
    let width_us = runs[shortest].width_us;
    for spec in runs.iter_mut() {
        let is_longer = spec.is_tumbling() && spec.width_us > width_us;
        spec.takes_over = is_longer && spec.width_us % width_us == 0;
    }
    let is_used = runs.iter().any(|spec| spec.takes_over);
    u8::try_from(shortest).ok().filter(|_| is_used)
}

impl RunSpec {
    /// True when windows follow one another, each as long as the others.
    pub fn is_tumbling(&self) -> bool {
        !self.is_hopping() && !self.is_session()
    }

    /// True for sessions.
    #[inline]
    pub fn is_session(&self) -> bool {
        self.cut_us.is_some()
    }

    /// The first instant behind a window.
    #[inline]
    pub fn end_us(&self, lasts: &Lasts, start_us: i64) -> i64 {
        match self.cut_us {
            None => start_us.saturating_add(self.width_us),
            Some(cut_us) => self.session_end(lasts, start_us, cut_us),
        }
    }

    #[cold]
    fn session_end(&self, lasts: &Lasts, start_us: i64, cut_us: i64) -> i64 {
        let last_us = lasts.get(start_us).unwrap_or(start_us);
        let cut_end_us = start_us.saturating_sub(start_us.rem_euclid(cut_us));
        let cut_end_us = cut_end_us.saturating_add(cut_us);
        last_us.saturating_add(self.width_us).min(cut_end_us)
    }

    /// True when windows overlap, so that panes and windows are not the same.
    pub fn is_hopping(&self) -> bool {
        self.width_us != self.pane_us
    }

    /// True when the pane that starts there holds an instant.
    #[inline]
    pub fn holds(&self, start_us: i64, time_us: i64) -> bool {
        time_us >= start_us && time_us.saturating_sub(start_us) < self.pane_us
    }

    /// The start of the pane that holds an instant.
    #[inline]
    pub fn pane_start(&self, time_us: i64) -> i64 {
        time_us.saturating_sub(time_us.rem_euclid(self.pane_us))
    }
}

/// A window, or a pane of one.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its first instant.
    pub start_us: i64,
    /// Where its cells lie; [`NO_SLOT`] for a hopping window, whose cells are its panes'.
    pub slot: Slot,
    flags: u32,
}

/// Of an entry without cells of its own.
pub const NO_SLOT: Slot = Slot::MAX;

const PARTIAL: u32 = 1 << 31;
const CHANGED: u32 = 1 << 30;
const STORED: u32 = 1 << 29;
const TOUCHED: u32 = 1 << 28;
const REVISION: u32 = TOUCHED - 1;

impl Entry {
    /// A new one.
    pub fn new(start_us: i64, slot: Slot, partial: bool) -> Self {
        Self {
            start_us,
            slot,
            flags: if partial { PARTIAL } else { 0 },
        }
    }

    /// Put back from a state record.
    pub fn restored(start_us: i64, slot: Slot, revision: u32, partial: bool) -> Self {
        let partial = if partial { PARTIAL } else { 0 };
        Self {
            start_us,
            slot,
            flags: STORED | partial | revision & REVISION,
        }
    }

    /// How often it has fired.
    pub fn revision(&self) -> u32 {
        self.flags & REVISION
    }

    /// True once it has fired.
    pub fn has_fired(&self) -> bool {
        self.revision() > 0
    }

    /// True when it may lack events from before its meter.
    pub fn is_partial(&self) -> bool {
        self.flags & PARTIAL != 0
    }

    /// Counts a firing.
    pub fn fire(&mut self) {
        // 2²⁸ corrections of one window: the number stays, and readers still see the last.
        if self.revision() < REVISION {
            self.flags += 1;
        }
    }

    /// Notes a change since the last flush; true for the first.
    #[inline]
    pub fn mark_changed(&mut self) -> bool {
        let first = self.flags & CHANGED == 0;
        self.flags |= CHANGED;
        first
    }

    /// Notes that the state topic has it as it is.
    pub fn mark_stored(&mut self) {
        self.flags = self.flags & !CHANGED | STORED;
    }

    /// True when the state topic has a record of it.
    pub fn is_stored(&self) -> bool {
        self.flags & STORED != 0
    }

    /// Notes a change since open windows were last told of; true for the first.
    #[inline]
    pub fn mark_touched(&mut self) -> bool {
        let first = self.flags & TOUCHED == 0;
        self.flags |= TOUCHED;
        first
    }

    /// True when its open value changed since it was told.
    pub fn is_touched(&self) -> bool {
        self.flags & TOUCHED != 0
    }

    /// True when a change of it would be noted twice.
    #[inline]
    pub fn is_marked(&self) -> bool {
        self.flags & (CHANGED | TOUCHED) == CHANGED | TOUCHED
    }

    /// Notes that it may lack events from before its meter.
    pub fn mark_partial(&mut self) {
        self.flags |= PARTIAL;
    }

    /// Notes that its open value has been told.
    pub fn mark_told(&mut self) {
        self.flags &= !TOUCHED;
    }
}

/// When the last event of each session was, by its start; takes no memory where there are none.
#[derive(Debug, Default)]
#[expect(
    clippy::box_collection,
    reason = "a word in every run, and not three: most are of no sessions"
)]
pub struct Lasts(Option<Box<BTreeMap<i64, i64>>>);

impl Lasts {
    /// The session's last event.
    pub fn get(&self, start_us: i64) -> Option<i64> {
        self.0.as_ref()?.get(&start_us).copied()
    }

    /// Notes a session's last event.
    pub fn set(&mut self, start_us: i64, last_us: i64) {
        self.0.get_or_insert_default().insert(start_us, last_us);
    }

    /// Forgets a session.
    pub fn remove(&mut self, start_us: i64) {
        if let Some(lasts) = &mut self.0 {
            lasts.remove(&start_us);
        }
    }
}

/// Entries of one of a meter's windows, by start.
#[derive(Debug)]
pub struct Run {
    /// The windows.
    pub windows: VecDeque<Entry>,
    /// The panes of hopping windows; a tumbling window is its own pane.
    pub panes: VecDeque<Entry>,
    /// The last events of sessions.
    pub lasts: Lasts,
    /// Windows that have not fired.
    pub unfired_count: u32,
    /// The latest start of a window that has fired; the least there is for none.
    pub last_fired_us: i64,
    /// While restoring: the memory that the cells lie in.
    pub memory: Option<u16>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            windows: VecDeque::new(),
            panes: VecDeque::new(),
            lasts: Lasts::default(),
            unfired_count: 0,
            last_fired_us: i64::MIN,
            memory: None,
        }
    }
}

impl Run {
    /// Room for a window, and for the first one alone: long windows are alone for long, and there
    /// may be many subjects.
    pub fn make_room(&mut self) {
        if self.windows.is_empty() {
            self.windows.reserve_exact(1);
        }
    }
}

/// Where an entry stands, or would.
#[inline]
pub fn position(entries: &VecDeque<Entry>, start_us: i64) -> Result<usize, usize> {
    // The last one nearly always.
    match entries.back() {
        None => Err(0),
        Some(last) if last.start_us == start_us => Ok(entries.len() - 1),
        Some(last) if last.start_us < start_us => Err(entries.len()),
        Some(_) => entries.binary_search_by_key(&start_us, |entry| entry.start_us),
    }
}

/// A group of a meter.
#[derive(Debug)]
pub struct Series {
    /// Index of the meter in force, or until a restore has ended, of its name among those that the
    /// state has; `None` for a place that is free, or not restored yet.
    pub meter: Option<u16>,
    /// Whose clock it runs on.
    pub subject: u32,
    /// The group's canonical text.
    pub group: Box<str>,
    /// The values of the meter's group-by, in its order.
    pub values: Box<[Box<str>]>,
    /// Entries per window of the meter.
    pub runs: Vec<Run>,
    /// Windows that start at or before this lack events from before their meter.
    pub partial_until: EventTime,
    /// The start of the shortest window that longer ones have not taken over; [`NO_LEAD`] for none.
    pub lead_us: i64,
    /// True when the state topic has a record of it.
    pub is_stored: bool,
}

/// Of a group whose longer windows have taken over all there is.
pub const NO_LEAD: i64 = i64::MIN;

impl Series {
    /// A place that nothing is known of.
    pub fn vacant() -> Self {
        Self {
            meter: None,
            subject: u32::MAX,
            group: "".into(),
            values: [].into(),
            runs: vec![],
            partial_until: EventTime::MIN,
            lead_us: NO_LEAD,
            is_stored: false,
        }
    }

    /// The run of that index, made when there is none, with room for so many.
    pub fn run_mut(&mut self, at: usize, room: usize) -> &mut Run {
        if self.runs.len() <= at {
            self.runs.reserve_exact(room.max(at + 1) - self.runs.len());
            self.runs.resize_with(at + 1, Run::default);
        }
        &mut self.runs[at]
    }

    /// True when no window is held.
    pub fn is_empty(&self) -> bool {
        self.runs
            .iter()
            .all(|run| run.windows.is_empty() && run.panes.is_empty())
    }
}
