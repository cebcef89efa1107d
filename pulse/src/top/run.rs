//! `pulse top`.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use clap::Args;
use runtime::kafka::KafkaConfig;
use runtime::service::Shutdown;
use schemas::ids::TenantId;

use super::board::Board;
use super::figures::{self, SharedBoard, on};
use super::source::{self, Flow, Happening, SourceError};
use super::{lines, screen};
use crate::cli::text;
use crate::installation::Access;

/// What `pulse top` is told.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// Whose markets; the tenant that `pulse up` streams for when left out.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// One line per update, as when the output is no terminal.
    #[arg(long)]
    plain: bool,
}

/// Shows markets and pipeline until the user has seen enough.
///
/// # Errors
/// When nothing runs that could be watched, or the tenant has no events.
pub async fn top(args: &TopArgs, access: Access) -> anyhow::Result<()> {
    let kafka = access.kafka()?;
    let run = access.found.run_file();
    let running = run.and_then(|run| run.tenant.clone());
    let tenant = args.tenant.clone().or(running.clone());
    let tenant = tenant.context("whose markets? name a tenant with --tenant")?;
    let feed = run
        .and_then(|run| run.feed.as_ref())
        .filter(|_| running.as_ref() == Some(&tenant));
    let source = feed.map_or_else(|| "its feeds".to_owned(), |feed| feed.detail.clone());
    let board: SharedBoard = Arc::new(Mutex::new(Board::new(tenant.as_str(), &source)));
    let shutdown = Shutdown::default();
    shutdown.request_on_signal()?;
    match args.plain || !io::stdout().is_terminal() {
        true => blocking(move || plain(&kafka, &tenant, &board, &shutdown)).await,
        false => live(kafka, tenant, access, board, shutdown).await,
    }
}

async fn blocking(
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(work).await?
}

/// The last updates, and then each as it comes.
fn plain(
    kafka: &KafkaConfig,
    tenant: &TenantId,
    board: &SharedBoard,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let mut is_caught_up = false;
    let mut failed = None;
    source::follow(kafka, tenant, shutdown, |happening| {
        let text = on(board, |board| match happening {
            Happening::Event(event, seen_at_ms) => {
                let update = board.observe(event, seen_at_ms);
                update
                    .filter(|_| is_caught_up)
                    .map(|update| lines::line(&update))
            }
            Happening::CaughtUp if is_caught_up => None,
            Happening::CaughtUp => {
                is_caught_up = true;
                let mut last: Vec<_> = board.updates().map(lines::line).collect();
                last.reverse();
                Some(last.concat())
            }
            Happening::Trouble(trouble) => {
                eprintln!("pulse: {trouble}");
                None
            }
        });
        match text.map_or(Ok(()), |text| text::print(&text)) {
            Ok(()) => Flow::More,
            Err(error) => {
                failed = Some(error);
                Flow::Enough
            }
        }
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// The screen on this task's thread; events and figures come by others.
async fn live(
    kafka: KafkaConfig,
    tenant: TenantId,
    access: Access,
    board: SharedBoard,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let figures = figures::keep(access, tenant.clone(), board.clone(), shutdown.clone());
    let figures = tokio::spawn(figures);
    let (seen, stop) = (board.clone(), shutdown.clone());
    let reader = std::thread::Builder::new()
        .name("events".into())
        .spawn(move || {
            let ended = watch(&kafka, &tenant, &seen, &stop);
            // What will not mend ends the view, and is told behind it.
            stop.request();
            ended
        })?;
    let (drawn, stop) = (board, shutdown.clone());
    let shown = blocking(move || Ok(screen::show(&drawn, &stop)?)).await;
    shutdown.request();
    figures.abort();
    let read = reader
        .join()
        .map_err(|_| anyhow::anyhow!("the reader panicked"))?;
    shown?;
    Ok(read?)
}

fn watch(
    kafka: &KafkaConfig,
    tenant: &TenantId,
    board: &SharedBoard,
    shutdown: &Shutdown,
) -> Result<(), SourceError> {
    source::follow(kafka, tenant, shutdown, |happening| {
        on(board, |board| match happening {
            Happening::Event(event, seen_at_ms) => {
                board.trouble = None;
                board.observe(event, seen_at_ms);
            }
            Happening::CaughtUp => board.trouble = None,
            Happening::Trouble(trouble) => board.trouble = Some(trouble),
        });
        Flow::More
    })
}
