//! Definitions come into force: meters are compiled, and what belongs to meters that are no longer
//! goes at once.
//!
//! A changed meter is a new version with windows of its own. A window that was open under the old
//! version never fires: it would lack the events after the change, and nothing would say so.

use super::definitions::{Definitions, NamedMeter};
use super::firing::let_go;
use super::panes::{Kind, Panes};
use super::series::{Beginning, CompiledMeter, Series};
use super::step::{Gone, MetricsStep, WindowKey, is_short};
use schemas::time::EventTime;

impl MetricsStep {
    /// Takes definitions into force, beside or instead of those that are.
    pub(super) fn install(&mut self, definitions: &Definitions) {
        let keeps = |meter: &CompiledMeter| {
            let same = |m: &NamedMeter| *m.id == *meter.id && m.version == meter.version;
            definitions.one_step().any(same)
        };
        let meters = self.meters.iter();
        let dropped = meters.filter_map(|(at, meter)| (!keeps(meter)).then_some(at));
        for at in dropped.collect::<Vec<_>>() {
            self.drop_meter(at);
        }
        for named in definitions.one_step() {
            if self.meters.find(&named.id, named.version).is_none() {
                let subject_count = self.subjects.len() as u32;
                let at = self.now;
                self.add_meter(named, Beginning { subject_count, at });
            }
        }
        let seen = || self.subjects.clocks.iter().map(|clock| clock.seen).max();
        let now = self.now.as_event_time();
        self.split.install(definitions, || {
            seen().map_or(EventTime::MIN, |seen| seen.min(now))
        });
        self.definitions = definitions.clone();
        self.index_meters();
    }

    /// Compiles a meter into the first free place.
    pub(super) fn add_meter(&mut self, named: &NamedMeter, beginning: Beginning) {
        let panes = &mut self.panes;
        let memory = |kind: Kind| {
            let known = panes.iter().position(|panes| panes.kind() == kind);
            known.unwrap_or_else(|| {
                panes.push(Panes::for_kind(kind));
                panes.len() - 1
            })
        };
        let meter = CompiledMeter::new(named, beginning, memory);
        self.new_meters.push(self.meters.add(meter));
    }

    /// Each event goes to its meters in the order of their ids, whatever places they have: who
    /// comes first may take the last place that is left for a group, and a restore gives other
    /// places.
    fn index_meters(&mut self) {
        self.by_type = Default::default();
        let mut in_order: Vec<_> = self.meters.iter().collect();
        in_order.sort_unstable_by(|(_, a), (_, b)| a.id.cmp(&b.id));
        for (at, meter) in in_order {
            for (event_type, index) in self.by_type.iter_mut().enumerate() {
                let only = meter.meter.filter.event_type;
                if only.is_none_or(|only| only as usize == event_type) {
                    index.push(at);
                }
            }
        }
    }

    fn drop_meter(&mut self, at: u16) {
        self.new_meters.retain(|new| *new != at);
        let id = self.meters.in_force(at).id.clone();
        self.gone.push(Gone::Meter(id));
        for id in 0..self.series.len() as u32 {
            if self.series[id as usize].meter == Some(at) {
                self.drop_windows(id);
                self.free(id);
            }
        }
        self.meters.remove(at);
        for subject in 0..self.subjects.len() as u32 {
            self.subjects.own[subject as usize].retain(|(meter, _)| *meter != at);
            let series = &self.series;
            self.subjects
                .retain_ends(subject, |id| series[id as usize].meter.is_some());
            self.find_ends(subject);
        }
    }

    /// Forgets all windows of a group.
    fn drop_windows(&mut self, id: u32) {
        let Self {
            meters,
            series,
            panes,
            gone,
            ..
        } = self;
        let series = &mut series[id as usize];
        let meter = meters.of(series);
        let meter = meter.expect("a series' meter is in force until its windows are dropped");
        for (at, run) in series.runs.iter_mut().enumerate() {
            let spec = &meter.runs[at];
            for (is_pane, entries) in [(false, &mut run.windows), (true, &mut run.panes)] {
                for entry in entries.drain(..) {
                    if !is_pane {
                        self.window_count -= 1;
                        self.open_short_count -= u64::from(is_short(spec) && !entry.has_fired());
                    }
                    let key = WindowKey {
                        series: id,
                        run: at as u8,
                        is_pane,
                        start_us: entry.start_us,
                    };
                    let_go(gone, &mut panes[spec.panes], key, &entry);
                }
            }
            run.unfired_count = 0;
            run.lasts = Default::default();
        }
    }

    /// Gives the place of a group back that holds no window. What its subject knows of it is the
    /// caller's to mend.
    pub(super) fn free(&mut self, id: u32) {
        let series = std::mem::replace(&mut self.series[id as usize], Series::vacant());
        let meter = series.meter.expect("a group that is freed has a meter");
        self.groups.remove(&(series.subject, meter, series.group));
        if series.is_stored {
            self.gone.push(Gone::Series(id));
        }
        self.free_series.push(id);
    }
}
