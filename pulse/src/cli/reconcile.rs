//! `pulse reconcile`: is ClickHouse what the log says?

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use runtime::control::ControlWriter;
use schemas::ids::TenantId;
use schemas::refusal::EventRules;
use sinks::reconcile::{Reconciliation, Report, TableReport};

use super::exit::Exit;
use super::text::{self, Align, Table};
use crate::installation::Access;

/// What `pulse reconcile` says at the end of its help.
pub const HELP: &str = "\
It fixes the ends of all partitions, waits until the sink has passed them, and compares the log from
the first offset that it still holds with what a reader of ClickHouse sees, contents included. It
ends with 0 when they are equal, and with 1 when a row is missing, extra, different or doubled.

  pulse reconcile --tenant demo --json | jq '.tenants[].tables[] | {table, equal_count}'";

/// What `pulse reconcile` is told.
#[derive(Args, Clone, Debug)]
pub struct ReconcileArgs {
    /// One tenant; all of them when left out.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// How many seconds the sink, the log or ClickHouse may make no progress.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

/// Compares, and ends with 1 when there is a difference.
///
/// # Errors
/// When there is no report to give.
pub async fn run(args: &ReconcileArgs, access: &Access) -> anyhow::Result<Exit> {
    let (kafka, clickhouse) = (access.kafka()?, access.clickhouse()?);
    let tenants = tenants(args, access).await?;
    let mut reconciliation = Reconciliation::new(kafka, clickhouse, access.control()?);
    reconciliation.patience = Duration::from_secs(args.patience);
    let report = reconciliation.run(&tenants).await?;
    match args.json {
        true => text::print_json(&report)?,
        false => text::print(&to_text(&report))?,
    }
    Ok(Exit::when(report.is_equal()))
}

async fn tenants(
    args: &ReconcileArgs,
    access: &Access,
) -> anyhow::Result<BTreeMap<TenantId, EventRules>> {
    let writer = ControlWriter::new(&access.kafka()?, &access.control()?)?;
    let control = writer.read().await?;
    let is_meant = |tenant: &TenantId| args.tenant.as_ref().is_none_or(|asked| asked == tenant);
    let mut tenants = BTreeMap::new();
    for (id, held) in control.tenants().filter(|(id, _)| is_meant(id)) {
        if let Some(tenant) = &held.tenant {
            tenants.insert(id.clone(), tenant.value.event_rules());
        }
    }
    match (&args.tenant, tenants.is_empty()) {
        (Some(asked), true) => anyhow::bail!("there is no tenant {asked}"),
        (None, true) => anyhow::bail!("there is no tenant: `pulse up` or `pulse init` makes one"),
        _ => Ok(tenants),
    }
}

fn to_text(report: &Report) -> String {
    let columns = [
        "IN LOG",
        "IN CLICKHOUSE",
        "EQUAL",
        "MISSING",
        "EXTRA",
        "DIFFERENT",
        "DOUBLED",
    ];
    let mut heads = vec![("TENANT", Align::Left), ("TABLE", Align::Left)];
    heads.extend(columns.map(|column| (column, Align::Right)));
    let mut table = Table::new(&heads);
    let count = |count: u64| text::count(i64::try_from(count).unwrap_or(i64::MAX));
    let mut faults = String::new();
    for tenant in &report.tenants {
        for of in &tenant.tables {
            table.row([
                tenant.tenant.clone(),
                of.table.to_owned(),
                count(of.log_count),
                count(of.row_count),
                count(of.equal_count),
                count(of.missing_count),
                count(of.extra_count),
                count(of.different_count),
                count(of.doubled_count),
            ]);
            faults.push_str(&examples(&tenant.tenant, of));
        }
    }
    let verdict = match report.is_equal() {
        true => "ClickHouse is what the log says",
        false => "ClickHouse is NOT what the log says",
    };
    format!("{table}\n{faults}{verdict}\n")
}

fn examples(tenant: &str, table: &TableReport) -> String {
    let mut text = String::new();
    for example in &table.examples {
        let (fault, identity) = (example.fault, text::harmless(&example.identity));
        let record = example.record.as_ref().map_or(String::new(), |place| {
            format!(" at {}[{}]@{}", place.topic, place.partition, place.offset)
        });
        text.push_str(&format!(
            "  {tenant}.{}: {fault:?}: {identity}{record}\n",
            table.table
        ));
    }
    for range in &table.expired {
        text.push_str(&format!(
            "  {tenant}.{}: {} rows of {}[{}] offsets {} to {} are past their retention\n",
            table.table,
            range.count,
            range.topic,
            range.partition,
            range.first_offset,
            range.last_offset,
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinks::reconcile::report::{Example, Place};
    use sinks::reconcile::{Fault, TenantReport};

    fn table(missing_count: u64) -> TableReport {
        TableReport {
            log_count: 1_000,
            row_count: 1_000 - missing_count,
            equal_count: 1_000 - missing_count,
            missing_count,
            examples: (0..missing_count)
                .map(|offset| Example {
                    fault: Fault::Missing,
                    identity: "trade 7".into(),
                    record: Some(Place {
                        topic: "pulse.demo.events".into(),
                        partition: 2,
                        offset: offset as i64,
                    }),
                    row: None,
                })
                .collect(),
            ..TableReport::new("events", Some(90))
        }
    }

    fn report(missing_count: u64) -> Report {
        let tenant = TenantReport {
            tenant: "demo".into(),
            extents: vec![],
            refused_event_count: 0,
            tables: vec![table(missing_count)],
        };
        Report {
            at_ms: 0,
            tenants: vec![tenant],
        }
    }

    #[test]
    fn differences_are_named_and_equality_is_said() {
        assert!(to_text(&report(0)).ends_with("ClickHouse is what the log says\n"));
        let text = to_text(&report(1));
        assert!(
            text.contains("demo.events: Missing: trade 7 at pulse.demo.events[2]@0"),
            "{text}"
        );
        assert!(text.ends_with("ClickHouse is NOT what the log says\n"));
    }
}
