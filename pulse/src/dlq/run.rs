//! `pulse dlq`.

use anyhow::Context;
use clap::{Args, Subcommand};
use runtime::clock;
use schemas::ids::TenantId;

use super::filter::Filter;
use super::letters::Letters;
use super::list::{self, Listing};
use super::replay::{Outcome, ROUNDS_MAX, Replay};
use crate::cli::exit::Exit;
use crate::cli::text;
use crate::installation::Access;

/// What `pulse dlq` says at the end of its help.
pub const HELP: &str = "\
Examples:
  pulse dlq list --since 1h
  pulse dlq show 17
  pulse dlq replay --reason future              what would be done, and nothing else
  pulse dlq replay --reason future --execute --rate 50

A letter whose record was put back is marked and left alone from then on; --again puts it back once
more. A record that was put back three times and refused each time is left alone, unless it is
--force'd.";

/// What is to be done with dead letters.
#[derive(Subcommand, Clone, Debug)]
pub enum DlqCommand {
    /// The latest of them, and how many there are of each reason.
    List {
        /// Which of them.
        #[command(flatten)]
        filter: Filter,
        /// How many are shown one by one.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Whose; the tenant that `pulse up` streams for when left out.
        #[arg(long)]
        tenant: Option<TenantId>,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// One of them, with the bytes that nobody could use.
    Show {
        /// Its number, as `list` shows it.
        number: i64,
        /// How many bytes of key and value are shown.
        #[arg(long, default_value_t = 1024)]
        bytes: usize,
        /// Whose; the tenant that `pulse up` streams for when left out.
        #[arg(long)]
        tenant: Option<TenantId>,
    },
    /// Put them back on the topic that they came from; a dry run unless told to --execute.
    Replay(ReplayArgs),
}

/// What `pulse dlq replay` is told.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// Which of them.
    #[command(flatten)]
    filter: Filter,
    /// Do it; without this, say what would be done.
    #[arg(long)]
    execute: bool,
    /// Records per second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How many at most, the oldest first.
    #[arg(long, default_value_t = 10_000)]
    limit: usize,
    /// Also those that were put back already.
    #[arg(long)]
    again: bool,
    /// Also those that were put back too often.
    #[arg(long)]
    force: bool,
    /// Whose; the tenant that `pulse up` streams for when left out.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

/// Does it.
///
/// # Errors
/// When the log cannot be read or written.
pub async fn run(command: DlqCommand, access: &Access) -> anyhow::Result<Exit> {
    let kafka = access.kafka()?;
    let asked = match &command {
        DlqCommand::List { tenant, .. } | DlqCommand::Show { tenant, .. } => tenant.clone(),
        DlqCommand::Replay(args) => args.tenant.clone(),
    };
    let running = access.found.run_file().and_then(|run| run.tenant.clone());
    let tenant = asked
        .or(running)
        .context("whose? name a tenant with --tenant")?;
    // Reading the log blocks.
    let work = move || match command {
        DlqCommand::List {
            filter,
            limit,
            json,
            ..
        } => {
            let letters = Letters::open(&kafka, &tenant)?;
            let listing = Listing::read(&letters, &filter, limit, clock::now_ms())?;
            match json {
                true => text::print_json(&listing)?,
                false => text::print(&listing.to_text())?,
            }
            Ok(Exit::Done)
        }
        DlqCommand::Show { number, bytes, .. } => {
            let letters = Letters::open(&kafka, &tenant)?;
            let whole = letters.one(number, |found| list::whole(&found, bytes))?;
            text::print(&whole)?;
            Ok(Exit::Done)
        }
        DlqCommand::Replay(args) => {
            let replay = Replay {
                kafka,
                tenant,
                filter: args.filter.clone(),
                limit: args.limit,
                is_again: args.again,
                is_forced: args.force,
                now_ms: clock::now_ms(),
            };
            put_back(&replay, &args)
        }
    };
    tokio::task::spawn_blocking(work).await?
}

fn put_back(replay: &Replay, args: &ReplayArgs) -> anyhow::Result<Exit> {
    let plan = replay.plan()?;
    let outcome = match args.execute {
        true => replay.execute(plan, args.rate)?,
        false => plan.outcome().clone(),
    };
    match args.json {
        true => text::print_json(&outcome)?,
        false => text::print(&to_text(&outcome, args.execute))?,
    }
    Ok(Exit::when(
        outcome.refused_count + outcome.unmarked_count == 0,
    ))
}

fn to_text(outcome: &Outcome, is_done: bool) -> String {
    let mut text = String::new();
    if outcome.verdicts.is_empty() {
        text.push_str("no letter is meant\n");
    }
    for (verdict, count) in &outcome.verdicts {
        let count = text::count(i64::try_from(*count).unwrap_or(i64::MAX));
        text.push_str(&format!("{count:>8}  {verdict}\n"));
    }
    match is_done {
        true => {
            text.push_str(&format!("{} put back\n", outcome.put_back_count));
            if let Some(refusal) = &outcome.refusal {
                let count = outcome.refused_count;
                text.push_str(&format!("{count} refused by the brokers: {refusal}\n"));
            }
            if outcome.unmarked_count > 0 {
                let count = outcome.unmarked_count;
                let why = outcome
                    .mark_refusal
                    .as_deref()
                    .unwrap_or("no reason is known");
                text.push_str(&format!(
                    "{count} put back and not marked ({why}): another run repeats them\n"
                ));
            }
        }
        false => text.push_str(&format!(
            "nothing was done: --execute does it (at most {ROUNDS_MAX} rounds for a record)\n"
        )),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_says_that_it_was_one() {
        let mut outcome = Outcome::default();
        assert!(to_text(&outcome, false).starts_with("no letter is meant\n"));
        outcome
            .verdicts
            .insert("back to pulse.demo.events".into(), 1_200);
        let dry = to_text(&outcome, false);
        assert!(
            dry.starts_with("   1,200  back to pulse.demo.events\n"),
            "{dry}"
        );
        assert!(dry.contains("nothing was done"), "{dry}");
        outcome.put_back_count = 1_199;
        outcome.refused_count = 1;
        outcome.refusal = Some("too large".into());
        let done = to_text(&outcome, true);
        assert!(
            done.ends_with("1199 put back\n1 refused by the brokers: too large\n"),
            "{done}"
        );
        outcome.unmarked_count = 2;
        outcome.mark_refusal = Some("not allowed".into());
        let done = to_text(&outcome, true);
        let last = "2 put back and not marked (not allowed): another run repeats them\n";
        assert!(done.ends_with(last), "{done}");
    }
}
