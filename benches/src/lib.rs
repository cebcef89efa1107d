//! What the benches share: arguments, trades, servers with our programs on them, and what a process
//! has used.
//!
//! A bench prints figures and asserts none: machines differ, and only ratios of one run compare.

pub mod digest;
pub mod http;
pub mod installation;
pub mod process;
pub mod step;
pub mod trades;

/// `--name value` pairs of the command line.
pub struct Args(Vec<String>);

impl Args {
    /// This process's.
    pub fn read() -> Self {
        Self(std::env::args().collect())
    }

    /// The text of that name.
    pub fn text(&self, name: &str) -> Option<&str> {
        let name = format!("--{name}");
        let at = self.0.iter().position(|argument| *argument == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    /// The number of that name, or `default`.
    ///
    /// # Panics
    /// When something else than a number is given.
    pub fn number(&self, name: &str, default: i64) -> i64 {
        self.text(name).map_or(default, |text| {
            text.parse().expect("the argument is a number")
        })
    }

    /// The number of that name, which counts something.
    ///
    /// # Panics
    /// When something else than a number is given.
    pub fn count(&self, name: &str, default: u32) -> u64 {
        self.number(name, i64::from(default)).unsigned_abs()
    }
}

/// The value below which `share` of the values lie; 0 for none.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len().saturating_sub(1)) as f64 * share;
    values.get(at as usize).copied().unwrap_or(0.0)
}
