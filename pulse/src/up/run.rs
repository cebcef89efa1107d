//! `pulse up`, from its lock to its last line.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use connectors::coinbase::CoinbaseConfig;
use runtime::clock;
use runtime::config::{Environment, Settings};
use runtime::service::Shutdown;
use schemas::control::Exchange;
use schemas::ids::TenantId;

use super::crew::Crew;
use super::define::{self, Wish};
use super::feed::{self, DEMO_PRODUCTS, FeedChoice, Origin};
use super::ledger::Ledger;
use super::recording::Recording;
use super::roles::{self, Simulation, Source};
use super::servers::{self, Own};
use super::{detach, down, reach};
use crate::cli::hints;
use crate::definer::Definer;
use crate::doctor;
use crate::installation::access::CONTROL_SECRET;
use crate::installation::run_file::Found;
use crate::installation::{
    Access, DataFolder, FeedEntry, FolderError, Lock, RunFile, RunState, secret,
};
use crate::simulator::Speed;
use crate::status::{Survey, report};
use crate::tenant::guard::{self, Guarded};

/// What `pulse up` is told.
#[derive(Args, Clone, Debug)]
pub struct UpArgs {
    /// Where events come from: `live`, `sim` or `replay:FILE`.
    ///
    /// live: BTC-USD and ETH-USD from Coinbase, or from the simulator where Coinbase cannot be
    /// reached. sim: the built-in simulator of an exchange. replay:FILE: recorded frames, one JSON
    /// object `{"at": <unix seconds>, "frame": "<text>"}` a line, compressed with zstd or not; they
    /// go into a tenant of their own.
    #[arg(long, value_name = "FEED", default_value = "live")]
    pub feed: FeedChoice,
    /// How fast the simulator serves: a number of times as fast as time, or `max`.
    #[arg(long, value_name = "N|max", default_value = "1")]
    pub speed: Speed,
    /// The tenant that gets the data; `demo`, or one named after the replayed file, when left out.
    #[arg(long)]
    pub tenant: Option<TenantId>,
    /// Leave it running in the background; `pulse down` stops it.
    #[arg(long)]
    pub detach: bool,
}

/// How `pulse up` came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// All was up, and was stopped in order; or goes on in the background.
    WasUp,
    /// It was stopped before all was up.
    Interrupted,
    /// Another one works in the folder.
    Taken,
}

/// Brings everything up and keeps it until it is told to stop.
///
/// # Errors
/// What stood in the way; whatever was started is stopped by then.
pub async fn up(folder: &DataFolder, args: &UpArgs) -> anyhow::Result<Ended> {
    folder.make()?;
    let lock = match folder.lock() {
        Err(FolderError::Taken { path }) => {
            eprintln!("pulse: another `pulse up` works in {}:", path.display());
            eprintln!(
                "  `{}` shows it, `{}` stops it",
                hints::of(folder, "status"),
                hints::of(folder, "down")
            );
            return Ok(Ended::Taken);
        }
        lock => lock?,
    };
    if args.detach {
        // The one in the background takes it.
        drop(lock);
        detach::detach(folder, &background_arguments(folder, args)).await?;
        return Ok(Ended::WasUp);
    }
    keep(folder, args, lock).await
}

fn background_arguments(folder: &DataFolder, args: &UpArgs) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["up".into(), "--data".into(), folder.path().into()];
    arguments.extend(["--feed".into(), args.feed.to_string().into()]);
    arguments.extend(["--speed".into(), feed::speed_text(args.speed).into()]);
    if let Some(tenant) = &args.tenant {
        arguments.extend(["--tenant".into(), tenant.to_string().into()]);
    }
    arguments
}

async fn keep(folder: &DataFolder, args: &UpArgs, lock: Lock) -> anyhow::Result<Ended> {
    let shutdown = Shutdown::default();
    shutdown.request_on_signal()?;
    clear_leftovers(folder).await?;
    let ledger = Ledger::new(folder.clone(), RunFile::begin(clock::now_ms())?);
    ledger.change(|_| {});
    let mut crew = Crew::new(ledger.clone());
    let brought = tokio::select! {
        brought = bring_up(&mut crew, &ledger, args) => Some(brought),
        () = shutdown.requested() => None,
    };
    let ended = match brought {
        Some(Ok(())) => {
            ledger.change(|run| run.state = RunState::Running);
            shutdown.requested().await;
            Ok(Ended::WasUp)
        }
        Some(Err(error)) => Err(error),
        None => Ok(Ended::Interrupted),
    };
    if ended.is_ok() {
        ledger.say("stops");
    }
    ledger.change(|run| run.state = RunState::Stopping);
    crew.stop().await;
    RunFile::remove(folder)?;
    drop(lock);
    ended
}

/// What a `pulse up` left behind that was killed; its servers end with it, but not at once.
async fn clear_leftovers(folder: &DataFolder) -> anyhow::Result<()> {
    if let Found::Stale(run) = RunFile::find(folder)? {
        down::clear(folder, &run).await?;
    }
    Ok(())
}

async fn bring_up(crew: &mut Crew, ledger: &Ledger, args: &UpArgs) -> anyhow::Result<()> {
    let mut env = Environment::of_process();
    let own = Own::read(&mut env);
    doctor::before_up(ledger.folder(), &own)?;
    // What is wrong with a file shows before anything is started.
    let recording = match &args.feed {
        FeedChoice::Replay(file) => Some(read_recording(file.clone()).await?),
        _ => None,
    };
    secret::ensure(&ledger.folder().join(CONTROL_SECRET))?;
    let (started, unreachable) = tokio::join!(
        servers::start(crew, ledger, &own),
        look_for_exchange(ledger, args)
    );
    started?;
    let planned = Planned::of(args, recording, unreachable)?;
    ledger.change(|run| run.feed = Some(planned.entry.clone()));

    let wish = planned.wish(args);
    // It defines the tenant, so it goes before the tenant is chosen: most often this one.
    let reported = wish.asked.as_ref().unwrap_or(&wish.base);
    roles::start_api(crew, ledger, reported).await?;
    let access = Access::of(ledger.folder().clone())?;
    let definer = Definer::of(&access)?;
    let tenant = define::ensure(&definer, &wish).await?;
    ledger.change(|run| run.tenant = Some(tenant.clone()));
    define::ensure_key(&definer, ledger.folder(), &tenant).await?;
    let guarded = Guarded::look(&access.kafka()?, &access.control()?).await?;
    anyhow::ensure!(
        guarded.is_sound(),
        "not started: {guarded}\n{}",
        guard::MEND
    );
    ledger.say(&format!("tenant {tenant}: {}", planned.entry.detail));

    let simulator = match &planned.simulation {
        Some(simulation) => Some(roles::start_simulator(crew, ledger, simulation)?),
        None => None,
    };
    let source = Source {
        origin: planned.origin,
        tenant,
        simulator,
    };
    roles::start(crew, ledger, &source)?;
    roles::ready(ledger).await?;
    show(ledger).await
}

async fn read_recording(file: PathBuf) -> anyhow::Result<Recording> {
    Ok(tokio::task::spawn_blocking(move || Recording::read(&file)).await??)
}

/// Why the exchange cannot be reached, where it is wanted at all.
async fn look_for_exchange(ledger: &Ledger, args: &UpArgs) -> Option<String> {
    if args.feed != FeedChoice::Live {
        return None;
    }
    let access = Access::of(ledger.folder().clone()).ok()?;
    // Settings that cannot be used are told by the role itself, with all their faults.
    let config = CoinbaseConfig::read(&mut access.exchange_environment())?;
    match reach::coinbase(&config).await {
        Ok(()) => None,
        Err(ended) => {
            let reason = ended.to_string();
            ledger.say(&format!("Coinbase cannot be reached: {reason}"));
            Some(reason)
        }
    }
}

/// What was decided about the feed.
struct Planned {
    origin: Origin,
    exchange: Exchange,
    products: Vec<String>,
    base: TenantId,
    name: String,
    entry: FeedEntry,
    simulation: Option<Simulation>,
}

impl Planned {
    fn of(
        args: &UpArgs,
        recording: Option<Recording>,
        unreachable: Option<String>,
    ) -> anyhow::Result<Self> {
        match (&args.feed, recording) {
            (FeedChoice::Replay(file), Some(recording)) => {
                Self::replay(file.clone(), recording, args)
            }
            (FeedChoice::Live, _) => Ok(match unreachable {
                None => Self::live(),
                Some(reason) => Self::sim(args, Some(&reason)),
            }),
            _ => Ok(Self::sim(args, None)),
        }
    }

    fn live() -> Self {
        let products = DEMO_PRODUCTS.map(str::to_owned).to_vec();
        let detail = format!("{} from Coinbase", products.join(" and "));
        Self::demo(Origin::Live, detail, None)
    }

    fn sim(args: &UpArgs, unreachable: Option<&str>) -> Self {
        let products = DEMO_PRODUCTS.join(" and ");
        let detail = match unreachable {
            None => format!("{products} from the built-in simulator"),
            Some(reason) => format!(
                "{products} from the built-in simulator: Coinbase cannot be reached ({reason})"
            ),
        };
        let simulation = Simulation {
            file: None,
            speed: args.speed,
        };
        Self::demo(Origin::Sim, detail, Some(simulation))
    }

    fn demo(origin: Origin, detail: String, simulation: Option<Simulation>) -> Self {
        Self {
            origin,
            exchange: Exchange::CoinbaseExchange,
            products: DEMO_PRODUCTS.map(str::to_owned).to_vec(),
            base: "demo".parse().expect("`demo` is a slug and not reserved"),
            name: "Demo".into(),
            entry: FeedEntry {
                kind: origin.as_str().into(),
                detail,
                file: None,
            },
            simulation,
        }
    }

    fn replay(file: PathBuf, recording: Recording, args: &UpArgs) -> anyhow::Result<Self> {
        let file = std::path::absolute(&file)?;
        let name = file.file_name().context("a recording has a name")?;
        let name = name.to_string_lossy().into_owned();
        let (frames, products) = (recording.frame_count, recording.products.len());
        let speed = feed::speed_text(args.speed);
        let detail =
            format!("replay of {name} ({frames} frames, {products} products, speed {speed})");
        Ok(Self {
            origin: Origin::Replay,
            exchange: recording.exchange,
            products: recording.products.into_iter().collect(),
            base: feed::tenant_of_file(&name),
            name: format!("Replay of {name}"),
            entry: FeedEntry {
                kind: Origin::Replay.as_str().into(),
                detail,
                file: Some(file.clone()),
            },
            simulation: Some(Simulation {
                file: Some(file),
                speed: args.speed,
            }),
        })
    }

    fn wish(&self, args: &UpArgs) -> Wish {
        Wish {
            origin: self.origin,
            asked: args.tenant.clone(),
            base: self.base.clone(),
            name: self.name.clone(),
            feed: feed::feed(self.exchange, self.products.iter().cloned()),
        }
    }
}

/// The table, and what to try next.
async fn show(ledger: &Ledger) -> anyhow::Result<()> {
    let access = Access::of(ledger.folder().clone())?;
    let run = ledger.run_file();
    let survey = Survey::take(&access, &run).await;
    let status = survey.status(&ledger.folder().path().display().to_string(), &run);
    ledger.print(&format!("\n{}\n", report::table(&status.processes)));
    ledger.print(&hints::after_up(ledger.folder(), &run));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(feed: &str) -> UpArgs {
        UpArgs {
            feed: feed.parse().unwrap(),
            speed: Speed::Max,
            tenant: None,
            detach: true,
        }
    }

    #[test]
    fn an_exchange_that_cannot_be_reached_is_stood_in_for_and_said_so() {
        let planned = Planned::of(&args("live"), None, Some("no route".into())).unwrap();
        assert_eq!(planned.origin, Origin::Sim);
        assert!(
            planned
                .entry
                .detail
                .contains("Coinbase cannot be reached (no route)")
        );
        assert!(planned.simulation.is_some());
        let planned = Planned::of(&args("live"), None, None).unwrap();
        assert_eq!(planned.origin, Origin::Live);
        assert_eq!(planned.entry.detail, "BTC-USD and ETH-USD from Coinbase");
        assert!(planned.simulation.is_none());
    }

    #[test]
    fn a_replay_is_of_the_files_own_feed_and_products() {
        let recording = Recording {
            exchange: Exchange::CoinbaseAdvanced,
            products: ["ADA-USD".to_owned()].into(),
            frame_count: 7,
        };
        let args = args("replay:some/Recorded Day.jsonl.zst");
        let planned = Planned::of(&args, Some(recording), None).unwrap();
        let wish = planned.wish(&args);
        assert_eq!(wish.base.as_str(), "recorded-day");
        assert_eq!(wish.feed.exchange, Exchange::CoinbaseAdvanced);
        assert_eq!(wish.feed.products, ["ADA-USD"]);
        assert!(planned.simulation.unwrap().file.unwrap().is_absolute());
    }

    #[test]
    fn the_one_in_the_background_is_told_the_same() {
        let folder = DataFolder::find(
            Some(std::path::Path::new("/d")),
            &mut Environment::of::<String, String>([]),
        );
        let mut args = args("sim");
        args.tenant = Some("mine".parse().unwrap());
        let arguments = background_arguments(&folder.unwrap(), &args);
        let text: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
        let expect = [
            "up", "--data", "/d", "--feed", "sim", "--speed", "max", "--tenant", "mine",
        ];
        assert_eq!(text, expect);
    }
}
