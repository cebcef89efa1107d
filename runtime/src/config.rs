//! Configuration: the environment, read once, with every fault reported together.
//!
//! Each part owns its settings and the [`Key`]s that they come from; a process's settings are a
//! struct of its parts' settings. Nothing opens a socket before [`Environment::finish`] has agreed,
//! and nothing reads the environment after it.
//!
//! A key without a doc cannot be made, and `docs/configuration.md` is compared with [`table`] by a
//! test, so no key is undocumented.

mod strength;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use strength::weakness;

/// One variable of the environment.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The variable's name, `PULSE_…`, unit last; a standard's own, `OTEL_…`, where there is one.
    pub name: &'static str,
    /// What holds when the variable is absent; `None` when it must be set or may be left out.
    pub default: Option<&'static str>,
    /// What it means, in one sentence.
    pub doc: &'static str,
}

/// A text that must not be seen: no formatter prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that must send or use it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Settings that can be read from the environment.
pub trait Settings: Sized {
    /// Reads all of the part's keys. `None` when one of them has a fault, which is recorded in
    /// `env`; so ask for every field before the first `?`, and all faults show at once.
    fn read(env: &mut Environment) -> Option<Self>;
}

/// What is wrong with one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The variable.
    pub name: &'static str,
    /// Why its value cannot be used; never the value.
    pub reason: String,
}

/// All that is wrong with the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// In the order in which the keys were read.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} setting(s) cannot be used", self.faults.len())?;
        for fault in &self.faults {
            write!(f, "\n  {}: {}", fault.name, fault.reason)?;
        }
        Ok(())
    }
}

/// The variables of a process, and the faults found so far.
pub struct Environment {
    values: HashMap<String, String>,
    faults: Vec<Fault>,
}

impl Environment {
    /// The process's own variables. One that is no text is none of ours: it counts as absent, and
    /// a key of ours that must be set says so.
    pub fn of_process() -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::of(std::env::vars_os().filter_map(text))
    }

    /// Chosen variables, for tests and for starting parts inside another program.
    pub fn of<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = pairs
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        Self {
            values,
            faults: Vec::new(),
        }
    }

    /// The same with values for variables that are absent: what a caller knows by other means.
    #[must_use]
    pub fn or<K: Into<String>, V: Into<String>>(
        mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        for (name, value) in pairs {
            let name = name.into();
            if !self.has(&name) {
                self.values.insert(name, value.into());
            }
        }
        self
    }

    /// The same with these values, whatever the variables were.
    #[must_use]
    pub fn with<K: Into<String>, V: Into<String>>(
        mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let pairs = pairs.into_iter().map(|(k, v)| (k.into(), v.into()));
        self.values.extend(pairs);
        self
    }

    /// True when a variable is there and not empty.
    pub fn has(&self, name: &str) -> bool {
        self.present(name).is_some()
    }

    /// The value of a key, or its default; a fault when there is neither or it cannot be read.
    pub fn parse<T>(&mut self, key: &Key) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        match self.value(key) {
            Some(text) => self.parsed(key, &text),
            None => self.refuse(key, "must be set"),
        }
    }

    /// The value of a key that may be left out: `Some(None)` when it is.
    pub fn optional<T>(&mut self, key: &Key) -> Option<Option<T>>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        match self.value(key) {
            Some(text) => self.parsed(key, &text).map(Some),
            None => Some(None),
        }
    }

    /// The text of a key, or its default.
    pub fn text(&mut self, key: &Key) -> Option<String> {
        self.parse(key)
    }

    /// A number within `range`, ends included.
    pub fn number<T>(&mut self, key: &Key, range: std::ops::RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
        T::Err: fmt::Display,
    {
        let value = self.parse::<T>(key)?;
        if range.contains(&value) {
            return Some(value);
        }
        self.refuse(
            key,
            format!("must be from {} to {}", range.start(), range.end()),
        )
    }

    /// A secret, from the variable itself or from the file that `<NAME>_FILE` names.
    pub fn secret(&mut self, key: &Key) -> Option<Secret> {
        match self.optional_secret(key)? {
            Some(secret) => Some(secret),
            None => self.refuse(key, format!("must be set, or {}_FILE", key.name)),
        }
    }

    /// A secret that nobody guesses, from the variable itself or from its file.
    pub fn strong_secret(&mut self, key: &Key) -> Option<Secret> {
        let secret = self.secret(key)?;
        match weakness(secret.reveal()) {
            None => Some(secret),
            Some(weakness) => self.refuse(
                key,
                format!(
                    "{weakness}, so it can be guessed: `pulse init --env FILE` writes a file with \
                     a new one, and `openssl rand -hex 32` makes one; all processes of an \
                     installation need the same"
                ),
            ),
        }
    }

    /// A secret that may be left out: `Some(None)` when it is.
    pub fn optional_secret(&mut self, key: &Key) -> Option<Option<Secret>> {
        let file = format!("{}_FILE", key.name);
        let path = match (self.value(key), self.present(&file)) {
            (Some(_), Some(_)) => {
                return self.refuse(key, format!("is set and {file} too: leave one of them out"));
            }
            (Some(text), None) => return Some(Some(Secret::new(text))),
            (None, None) => return Some(None),
            (None, Some(path)) => path,
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(Some(Secret::new(text.trim_end_matches(['\r', '\n'])))),
            Err(error) => self.refuse(key, format!("its file cannot be read: {}", error.kind())),
        }
    }

    /// The path of a file that must exist, where one is named at all.
    pub fn optional_file(&mut self, key: &Key) -> Option<Option<PathBuf>> {
        let Some(text) = self.value(key) else {
            return Some(None);
        };
        let path = PathBuf::from(text);
        match path.is_file() {
            true => Some(Some(path)),
            false => self.refuse(key, "names no file"),
        }
    }

    /// Records a fault; for rules between settings, which only their part knows.
    pub fn refuse<T>(&mut self, key: &Key, reason: impl Into<String>) -> Option<T> {
        self.faults.push(Fault {
            name: key.name,
            reason: reason.into(),
        });
        None
    }

    /// Records a fault for each of `keys` that is set, itself or by its file, where another setting
    /// makes it meaningless: who set it believes that it does something.
    pub fn refuse_ignored(&mut self, keys: &[Key], reason: &str) -> Option<()> {
        let mut is_fine = Some(());
        for key in keys {
            let what = match key.name {
                name if self.has(name) => "would be ignored",
                name if self.has(&format!("{name}_FILE")) => "its file would be ignored",
                _ => continue,
            };
            is_fine = self.refuse(key, format!("{what}: {reason}"));
        }
        is_fine
    }

    /// The settings, when no key had a fault.
    ///
    /// # Errors
    /// All faults, in the order in which the keys were read.
    ///
    /// # Panics
    /// When settings are missing although no fault was recorded: a [`Settings::read`] that gives
    /// up without saying why.
    pub fn finish<T>(self, settings: Option<T>) -> Result<T, ConfigError> {
        if !self.faults.is_empty() {
            return Err(ConfigError {
                faults: self.faults,
            });
        }
        Ok(settings.expect("settings without a fault are complete"))
    }

    fn value(&self, key: &Key) -> Option<String> {
        self.present(key.name)
            .or_else(|| key.default.map(str::to_owned))
    }

    /// An empty variable counts as absent: that is what `KEY=` in a compose file means.
    fn present(&self, name: &str) -> Option<String> {
        self.values
            .get(name)
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
            .map(Into::into)
    }

    fn parsed<T>(&mut self, key: &Key, text: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => self.refuse(key, format!("{error}")),
        }
    }
}

/// Every key of this crate, by part; other crates add their own to the documentation's test.
pub fn table() -> Vec<(&'static str, &'static [Key])> {
    vec![
        ("Every process", crate::service::KEYS),
        ("Logs and traces", crate::telemetry::KEYS),
        ("Kafka", crate::kafka::KEYS),
        ("ClickHouse", crate::clickhouse::KEYS),
        ("Control", crate::control::KEYS),
    ]
}

/// The keys as a Markdown table, one row each, as `docs/configuration.md` holds them.
pub fn markdown(keys: &[Key]) -> String {
    let mut text = String::from("| variable | default | meaning |\n|---|---|---|\n");
    for key in keys {
        let default = key
            .default
            .map_or(String::new(), |value| format!("`{value}`"));
        text.push_str(&format!("| `{}` | {default} | {} |\n", key.name, key.doc));
    }
    text
}

#[cfg(test)]
mod tests;
