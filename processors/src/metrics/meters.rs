//! The meters of a step, each in a place that stays its own while it is in force.

use super::series::{CompiledMeter, Series};

/// A meter's place.
pub type MeterAt = u16;

/// Meters by place.
#[derive(Debug, Default)]
pub struct Meters(Vec<Option<CompiledMeter>>);

impl Meters {
    /// The meter in that place.
    #[inline]
    pub fn get(&self, at: MeterAt) -> Option<&CompiledMeter> {
        self.0[usize::from(at)].as_ref()
    }

    /// The meter in a place that is known to hold one.
    ///
    /// # Panics
    /// When it holds none.
    #[inline]
    pub fn in_force(&self, at: MeterAt) -> &CompiledMeter {
        self.get(at).expect("the meter is in force")
    }

    /// A group's meter; `None` for a group that is gone.
    #[inline]
    pub fn of(&self, series: &Series) -> Option<&CompiledMeter> {
        self.get(series.meter?)
    }

    /// All that are in force, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (MeterAt, &CompiledMeter)> {
        let places = self.0.iter().enumerate();
        places.filter_map(|(at, meter)| Some((at as MeterAt, meter.as_ref()?)))
    }

    /// Where the meter of that id and version is.
    pub fn find(&self, id: &str, version: i64) -> Option<MeterAt> {
        let is_it =
            |(_, meter): &(MeterAt, &CompiledMeter)| *meter.id == *id && meter.version == version;
        self.iter().find(is_it).map(|(at, _)| at)
    }

    /// Takes a meter into the first free place.
    pub fn add(&mut self, meter: CompiledMeter) -> MeterAt {
        let at = match self.0.iter().position(Option::is_none) {
            Some(at) => at,
            None => {
                self.0.push(None);
                self.0.len() - 1
            }
        };
        self.0[at] = Some(meter);
        at as MeterAt
    }

    /// Takes a meter out of force.
    pub fn remove(&mut self, at: MeterAt) {
        self.0[usize::from(at)] = None;
    }
}
