//! `pulse meter` and `pulse feed`: definitions from a file to `pulse.control`, and back.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use runtime::control::{Control, Defined, Written};
use schemas::control::{ControlKey, Definition, Feed, Kind};
use schemas::ids::TenantId;
use schemas::meter::Meter;
use serde_json::json;

use super::exit::Exit;
use super::text::{self, Align, Table};
use crate::definer::Definer;
use crate::installation::Access;

/// What `pulse meter` says at the end of its help.
pub const METER_HELP: &str = r#"Examples:
  pulse meter list
  pulse meter show candles > mine.json
  pulse meter set buys mine.json
  echo '{"filter": {"event_type": "trade", "all": [{"field": "tags.side", "eq": "buy"}]},
         "value": "metrics.price", "weight": "metrics.size", "group_by": ["subject"],
         "windows": [{"kind": "hopping", "width_ms": 60000, "hop_ms": 10000}],
         "aggregates": [{"name": "bought", "function": "sum", "of": "weight"},
                        {"name": "vwap", "function": "vwap"}]}' | pulse meter set buys -
  pulse meter remove buys

A changed meter is a new version and begins anew. What has fired stays in ClickHouse under the old
version, windows that are still open are dropped, and the first new window of each group that was
there before is marked partial. `remove` drops open windows too. docs/meters.md has the language."#;

/// What `pulse feed` says at the end of its help.
pub const FEED_HELP: &str = r#"Examples:
  pulse feed list
  echo '{"exchange": "coinbase_exchange", "products": ["BTC-USD", "SOL-USD"],
         "channels": ["quotes", "trades"]}' | pulse feed set coinbase -
  pulse feed remove coinbase

exchange is coinbase_exchange or coinbase_advanced; channels are quotes, trades and depth;
"enabled": false pauses a feed. The connector follows within a second."#;

/// Which kind of definition is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A meter.
    Meter,
    /// A feed.
    Feed,
}

/// What is to be done with definitions.
#[derive(Subcommand, Clone, Debug)]
pub enum DefinitionCommand {
    /// All of them.
    List {
        /// One tenant's; every tenant's when left out.
        #[arg(long)]
        tenant: Option<TenantId>,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// One of them, as JSON that `set` takes.
    Show {
        /// Which.
        id: String,
        /// Whose; the one that `pulse up` streams for when left out.
        #[arg(long)]
        tenant: Option<TenantId>,
    },
    /// Define or change one.
    Set {
        /// Which.
        id: String,
        /// A file with its JSON, or - for standard input.
        file: PathBuf,
        /// Whose; the one that `pulse up` streams for when left out.
        #[arg(long)]
        tenant: Option<TenantId>,
    },
    /// Remove one.
    Remove {
        /// Which.
        id: String,
        /// Whose; the one that `pulse up` streams for when left out.
        #[arg(long)]
        tenant: Option<TenantId>,
    },
}

impl What {
    fn kind(self) -> Kind {
        match self {
            Self::Meter => Kind::Meter,
            Self::Feed => Kind::Feed,
        }
    }
}

/// Does it.
///
/// # Errors
/// When the definition is not one, with what would be right; when the brokers refuse.
pub async fn run(command: &DefinitionCommand, what: What, access: &Access) -> anyhow::Result<Exit> {
    // What is wrong with a file shows before a broker is asked.
    let definition = match command {
        DefinitionCommand::Set { id, file, .. } => {
            check_id(id)?;
            Some(read(what, file)?)
        }
        _ => None,
    };
    let definer = Definer::of(access)?;
    let control = definer.read().await?;
    match command {
        DefinitionCommand::List { tenant, json } => list(what, &control, tenant.as_ref(), *json),
        DefinitionCommand::Show { id, tenant } => {
            let key = key(what, id, tenant.as_ref(), access, &control)?;
            let definition = control
                .definition(&key)
                .with_context(|| format!("no {key}"))?;
            let body: serde_json::Value = serde_json::from_str(&definition.body())?;
            text::print_json(&body)?;
            Ok(Exit::Done)
        }
        DefinitionCommand::Set { id, tenant, .. } => {
            let key = key(what, id, tenant.as_ref(), access, &control)?;
            let definition = definition.context("`set` has read one")?;
            let written = definer.put(&key, &definition).await?;
            tell(&key, written, "defined")
        }
        DefinitionCommand::Remove { id, tenant } => {
            let key = key(what, id, tenant.as_ref(), access, &control)?;
            let written = definer.delete(&key).await?;
            tell(&key, written, "removed")
        }
    }
}

fn tell(key: &ControlKey, written: Written, done: &str) -> anyhow::Result<Exit> {
    let said = match written {
        Written::Version(version) => format!("{key}: {done}, version {version}\n"),
        Written::Unchanged => format!("{key}: it was so already\n"),
    };
    text::print(&said)?;
    Ok(Exit::Done)
}

/// The tenant that was named, or the one that runs, with its definition's id.
fn key(
    what: What,
    id: &str,
    tenant: Option<&TenantId>,
    access: &Access,
    control: &Control,
) -> anyhow::Result<ControlKey> {
    let running = access.found.run_file().and_then(|run| run.tenant.as_ref());
    let tenant = tenant
        .or(running)
        .context("whose? name a tenant with --tenant")?;
    anyhow::ensure!(
        control.tenant(tenant).is_some(),
        "there is no tenant {tenant}: `pulse init --tenant {tenant}` makes it"
    );
    Ok(ControlKey {
        tenant: tenant.clone(),
        kind: what.kind(),
        id: id.to_owned(),
    })
}

/// An id becomes part of a key and of a row; slashes and blanks there would confuse.
fn check_id(id: &str) -> anyhow::Result<()> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    anyhow::ensure!(
        (1..=64).contains(&id.len()) && id.bytes().all(is_plain),
        "{id:?} is no id: it has 1 to 64 letters, digits, `-`, `_` or `.`"
    );
    Ok(())
}

fn read(what: What, file: &Path) -> anyhow::Result<Definition> {
    let (name, body) = match file == Path::new("-") {
        true => {
            let mut body = String::new();
            std::io::stdin()
                .read_to_string(&mut body)
                .context("standard input")?;
            ("standard input".to_owned(), body)
        }
        false => {
            let name = file.display().to_string();
            let body = std::fs::read_to_string(file).with_context(|| name.clone())?;
            (name, body)
        }
    };
    Definition::read(what.kind(), &body).with_context(|| name)
}

fn list(
    what: What,
    control: &Control,
    tenant: Option<&TenantId>,
    json: bool,
) -> anyhow::Result<Exit> {
    let mut rows = Vec::new();
    for (id, held) in control.tenants() {
        if tenant.is_some_and(|asked| asked != id) {
            continue;
        }
        match what {
            What::Meter => rows.extend(held.meters.iter().map(|(name, m)| row(id, name, m))),
            What::Feed => rows.extend(held.feeds.iter().map(|(name, f)| row(id, name, f))),
        }
    }
    match json {
        true => {
            let rows: Vec<_> = rows.into_iter().map(|row| row.json).collect();
            text::print_json(&rows)?;
        }
        false => text::print(&table(&rows))?,
    }
    Ok(Exit::Done)
}

struct Row {
    tenant: String,
    id: String,
    version: i64,
    changed_at_ms: i64,
    summary: String,
    json: serde_json::Value,
}

fn row<T: Summary>(tenant: &TenantId, id: &str, defined: &Defined<T>) -> Row {
    let changed_at_ms = defined.changed_at.as_ms();
    Row {
        tenant: tenant.to_string(),
        id: id.to_owned(),
        version: defined.version,
        changed_at_ms,
        summary: defined.value.summary(),
        json: json!({
            "tenant": tenant,
            "id": id,
            "version": defined.version,
            "changed_at_ms": changed_at_ms,
            "definition": defined.value,
        }),
    }
}

/// A definition in a line.
trait Summary: serde::Serialize {
    fn summary(&self) -> String;
}

impl Summary for Meter {
    fn summary(&self) -> String {
        let of = self
            .filter
            .event_type
            .map_or("all events", |of| of.as_str());
        let names: Vec<_> = self.aggregates.iter().map(|a| a.name.as_str()).collect();
        let widths = self
            .windows
            .iter()
            .map(|window| text::span(window.width_ms()));
        let widths: Vec<_> = widths.collect();
        format!("{} of {of} per {}", names.join(", "), widths.join(", "))
    }
}

impl Summary for Feed {
    fn summary(&self) -> String {
        let state = if self.enabled { "" } else { "paused: " };
        let channels: Vec<_> = self
            .channels
            .iter()
            .map(|channel| format!("{channel:?}").to_lowercase())
            .collect();
        format!(
            "{state}{} ({})",
            self.products.join(", "),
            channels.join(", ")
        )
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new(&[
        ("TENANT", Align::Left),
        ("ID", Align::Left),
        ("VERSION", Align::Right),
        ("CHANGED", Align::Left),
        ("WHAT", Align::Left),
    ]);
    for row in rows {
        table.row([
            row.tenant.clone(),
            row.id.clone(),
            row.version.to_string(),
            text::date_time(row.changed_at_ms),
            row.summary.clone(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(what: What, body: &str, expect: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.json");
        std::fs::write(&path, body).unwrap();
        let got = match read(what, &path) {
            Ok(definition) => definition.body(),
            Err(error) => format!("{error:#}"),
        };
        assert!(got.contains(expect), "{got}: {expect}");
    }

    #[test]
    fn faults_of_a_file_say_where_and_what_would_be_right() {
        check(What::Meter, "{", "it.json: definition cannot be read: EOF");
        check(
            What::Meter,
            "{\"group_by\": [],\n \"x\": 1}",
            "at line 2 column 4",
        );
        let meter = r#"{"group_by":["subject"],"windows":[],"aggregates":[]}"#;
        check(
            What::Meter,
            meter,
            "windows has 0 items, and must have 1 to 8",
        );
        let feed = |products: &str, channels: &str| {
            format!(
                r#"{{"exchange":"coinbase_exchange","products":{products},"channels":{channels}}}"#
            )
        };
        check(
            What::Feed,
            &feed("[]", r#"["trades"]"#),
            "products has 0 items",
        );
        check(
            What::Feed,
            &feed(r#"["A B"]"#, r#"["trades"]"#),
            "products[0] is \"A B\", and a market's name is",
        );
        check(What::Feed, &feed(r#"["A"]"#, "[]"), "channels is empty");
        check(
            What::Feed,
            &feed(r#"["A"]"#, r#"["prices"]"#),
            "unknown variant `prices`",
        );
        check(
            What::Feed,
            &feed(r#"["A"]"#, r#"["trades"]"#),
            "\"products\":[\"A\"]",
        );
        assert!(read(What::Feed, Path::new("/nowhere.json")).is_err());
    }

    #[test]
    fn ids_are_plain() {
        for id in ["candles", "a.b_c-d"] {
            check_id(id).unwrap();
        }
        for id in ["", "a/b", "a b", "é"] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn the_examples_in_the_help_are_definitions() {
        for (what, help) in [(What::Meter, METER_HELP), (What::Feed, FEED_HELP)] {
            let start = help.find("echo '").unwrap() + 6;
            let end = start + help[start..].find('\'').unwrap();
            check(what, &help[start..end], "\"");
        }
    }

    #[test]
    fn summaries_fit_a_line() {
        let meter = schemas::meter::candles().summary();
        assert!(
            meter.starts_with("open, high, low, close")
                && meter.contains("of trade per 1 s, 1 min, 5 min, 1 h, 1 d")
        );
    }
}
