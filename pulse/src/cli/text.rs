//! Numbers, spans, times and tables as people read them in a terminal.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use ratatui::text::Span;
use schemas::time::EventTime;

/// Writes to standard output at once.
///
/// # Errors
/// [`io::ErrorKind::BrokenPipe`] when whoever read it is gone: the end, and no fault.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a value as indented JSON.
///
/// # Errors
/// As `print`.
pub fn print_json(value: &impl serde::Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    text.push('\n');
    print(&text)
}

/// A text of somebody else's for a terminal: what would move its cursor or change its title, and
/// what would begin another line, is written out.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match char.is_control() {
            true => written.extend(char.escape_default()),
            false => written.push(char),
        }
    }
    Cow::Owned(written)
}

/// `12,345`
pub fn count(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(&value.unsigned_abs().to_string()))
}

/// Digits with a comma before each three of the last ones.
pub fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `0.4`, `12`, `1,234`: per second.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate <= 0.0 => "0".to_owned(),
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate => count(rate.round() as i64),
    }
}

/// `3 ms`, `4.2 s`, `5 min`, `7 h 5 min`, `3 d 4 h`; a second part that is 0 is left out.
pub fn span(ms: i64) -> String {
    let (minutes, hours) = (ms / 60_000, ms / 3_600_000);
    let parts = |first: i64, unit, second: i64, lesser| match second {
        0 => format!("{first} {unit}"),
        second => format!("{first} {unit} {second} {lesser}"),
    };
    match ms {
        ms if ms < 1_000 => format!("{ms} ms"),
        ms if ms < 60_000 => match ms % 1_000 / 100 {
            0 => format!("{} s", ms / 1_000),
            tenths => format!("{}.{tenths} s", ms / 1_000),
        },
        ms if ms < 3_600_000 => format!("{minutes} min"),
        ms if ms < 86_400_000 => parts(hours, "h", minutes % 60, "min"),
        _ => parts(hours / 24, "d", hours % 24, "h"),
    }
}

/// `1.5 GB`
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ if value < 9.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// `2026-08-09T21:05:48.228Z`, whatever the digits behind.
pub fn instant(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => format!("{ms} ms"),
    }
}

/// `21:05:48.228`, UTC
pub fn clock_time(at: EventTime) -> String {
    instant(at.as_ms())
        .get(11..23)
        .unwrap_or("--:--:--.---")
        .to_owned()
}

/// `2026-08-09 21:05:48`, UTC
pub fn date_time(ms: i64) -> String {
    instant(ms)
        .get(..19)
        .unwrap_or("----------T--:--:--")
        .replace('T', " ")
}

/// How many columns of a terminal a text takes.
fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// On which side of its column a cell stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows in columns, as wide as what is in them.
pub struct Table {
    heads: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(heads: &[(&'static str, Align)]) -> Self {
        Self {
            heads: heads.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When it has another number of cells than the table has columns.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.heads.len(), "a cell for each column");
        self.rows.push(cells.into());
    }

    fn widths(&self) -> Vec<usize> {
        let widest = |at: usize| {
            let cells = self.rows.iter().map(|row| width(&row[at]));
            cells.chain([width(self.heads[at].0)]).max().unwrap_or(0)
        };
        (0..self.heads.len()).map(widest).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let heads: Vec<String> = self
            .heads
            .iter()
            .map(|(head, _)| (*head).to_owned())
            .collect();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate() {
                let room = " ".repeat(widths[at] - width(cell));
                match self.heads[at].1 {
                    Align::Left => line.extend([cell.as_str(), &room]),
                    Align::Right => line.extend([&room, cell.as_str()]),
                }
                line.push_str("  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let check = |got: String, expect: &str| assert_eq!(got, expect);
        check(count(0), "0");
        check(count(-1_234_567), "-1,234,567");
        check(count(i64::MIN), "-9,223,372,036,854,775,808");
        check(rate(0.04), "0.0");
        check(rate(9.94), "9.9");
        check(rate(1_234.5), "1,235");
        check(bytes(999), "999 B");
        check(bytes(1_500), "1.5 kB");
        check(bytes(999_999), "1.0 MB");
        check(bytes(178_000_000), "178 MB");
        check(bytes(u64::MAX), "18446744 TB");
    }

    #[test]
    fn spans_and_instants_read_well() {
        let check = |got: String, expect: &str| assert_eq!(got, expect);
        check(span(0), "0 ms");
        check(span(4_250), "4.2 s");
        check(span(5_099), "5 s");
        check(span(299_999), "4 min");
        check(span(3_600_000), "1 h");
        check(span(86_400_000), "1 d");
        check(span(25_500_000), "7 h 5 min");
        check(span(273_600_000), "3 d 4 h");
        check(instant(1_786_309_548_228), "2026-08-09T21:05:48.228Z");
        check(instant(i64::MAX), "9223372036854775807 ms");
        check(
            clock_time(EventTime::from_ms(1_786_309_548_228)),
            "21:05:48.228",
        );
        check(date_time(1_786_309_548_228), "2026-08-09 21:05:48");
    }

    #[test]
    fn tables_line_up_with_wide_letters_too() {
        let mut table = Table::new(&[("NAME", Align::Left), ("N", Align::Right)]);
        table.row(["é".into(), "1".into()]);
        table.row(["日本".into(), "1,000".into()]);
        assert_eq!(table.to_string(), "NAME      N\né         1\n日本  1,000\n");
    }
}
