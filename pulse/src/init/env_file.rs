//! A file for `docker compose` or a service manager: secrets that nobody else has, and a commented
//! line for each setting.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use runtime::config::Key;

/// What is generated, and what each is for.
const SECRETS: [(&str, &str); 4] = [
    (
        "PULSE_CONTROL_SECRET",
        "Signs the operator's definitions on the control topic.",
    ),
    ("PULSE_CLICKHOUSE_PASSWORD", "ClickHouse's writer, `pulse`."),
    (
        "PULSE_READER_PASSWORD",
        "ClickHouse's reader, `reader`, which Grafana uses.",
    ),
    ("PULSE_GRAFANA_PASSWORD", "Grafana's `admin`."),
];

/// Every setting of every program, by part.
pub fn settings() -> Vec<(&'static str, &'static [Key])> {
    let mut parts = runtime::config::table();
    parts.extend([
        ("Coinbase", connectors::coinbase::KEYS),
        ("Metrics", processors::metrics::service::KEYS),
        ("ClickHouse sink", sinks::clickhouse::settings::KEYS),
    ]);
    parts.extend(api::settings());
    parts.extend([
        ("The operator's tool", crate::installation::KEYS),
        ("The local stack", crate::stack::KEYS),
    ]);
    parts
}

/// Writes the file, for its owner's eyes alone, where there is none yet.
///
/// # Errors
/// When it is there already, or cannot be written.
pub fn write(path: &Path) -> io::Result<()> {
    let secrets = SECRETS.iter().map(|_| secret());
    let text = text(secrets.collect::<io::Result<Vec<_>>>()?);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// 256 random bits, as hexadecimal digits.
fn secret() -> io::Result<String> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn text(secrets: Vec<String>) -> String {
    let mut text = String::from(
        "# PulseStream's settings: the secrets are generated and of this file alone.\n\
         # A line without `#` is in force; docs/configuration.md says the same.\n",
    );
    for ((name, what), secret) in SECRETS.iter().zip(secrets) {
        text.push_str(&format!("\n# {what}\n{name}={secret}\n"));
    }
    for (part, keys) in settings() {
        text.push_str(&format!("\n## {part}\n"));
        for key in keys.iter().filter(|key| !is_secret(key.name)) {
            let default = key.default.unwrap_or_default();
            text.push_str(&format!("\n# {}\n# {}={default}\n", key.doc, key.name));
        }
    }
    text
}

fn is_secret(name: &str) -> bool {
    SECRETS.iter().any(|(secret, _)| *secret == name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_setting_has_a_commented_line_and_every_secret_a_value_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for (_, keys) in settings() {
            for key in keys {
                let line = match is_secret(key.name) {
                    true => format!("\n{}=", key.name),
                    false => format!("\n# {}=", key.name),
                };
                assert!(text.contains(&line), "{line}");
            }
        }
        let set: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("PULSE"))
            .collect();
        let values: std::collections::BTreeSet<_> = set
            .iter()
            .filter_map(|line| line.split_once('='))
            .map(|(_, value)| value)
            .collect();
        assert_eq!((set.len(), values.len()), (SECRETS.len(), SECRETS.len()));
        assert!(values.iter().all(|value| value.len() == 64));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        std::fs::write(&path, "mine").unwrap();
        let error = write(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
