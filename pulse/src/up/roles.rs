//! The programs of ours: each a process with a port of its own, told by its environment where the
//! others are.

use std::path::PathBuf;
use std::time::Duration;

use runtime::clock::Deadline;
use runtime::config::Environment;
use schemas::ids::TenantId;

use super::crew::{Crew, Hire};
use super::feed::{self, Origin};
use super::ledger::Ledger;
use super::member::{Member, Program};
use crate::installation::{EntryState, access};
use crate::simulator::Speed;
use crate::stack::{self, Launch, Port, PortWish};
use crate::status::http;

/// The simulator's name in the table.
pub const SIMULATOR: &str = "simulator";
/// The process that reads the exchange.
pub const CONNECTOR: &str = "pulse-coinbase";

/// The process that defines tenants and answers questions.
pub const API: &str = "pulse-api";
/// The process that takes events and does nothing else.
pub const GATEWAY: &str = "pulse-gateway";

/// A program of ours and the ports that it would like.
struct Role {
    name: &'static str,
    /// Where it tells how it is.
    health: u16,
    /// Where clients reach it: the setting that says so, and the port.
    sockets: &'static [(&'static str, u16)],
}

const fn role(name: &'static str, health: u16, sockets: &'static [(&'static str, u16)]) -> Role {
    Role {
        name,
        health,
        sockets,
    }
}

/// The programs in the order in which they are started: who reads comes before who writes, and is
/// stopped after it. All but the first wait for the tenant, which the first one makes.
const ROLES: [Role; 5] = [
    role(
        API,
        9105,
        &[("PULSE_API_LISTEN", 8080), ("PULSE_OPERATOR_LISTEN", 8082)],
    ),
    role("pulse-clickhouse", 9103, &[]),
    role("pulse-metrics", 9102, &[]),
    role(CONNECTOR, 9101, &[]),
    role(GATEWAY, 9104, &[("PULSE_GATEWAY_LISTEN", 8081)]),
];

/// How long the roles may take to be ready before the table is shown as it is.
const READY_MAX: Duration = Duration::from_secs(60);
/// How often they are asked.
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// Where the connector reads, and for whom.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is.
    pub origin: Origin,
    /// The tenant that gets it.
    pub tenant: TenantId,
    /// The simulator's address, where one stands in for the exchange.
    pub simulator: Option<String>,
}

/// What the simulator is to serve.
#[derive(Clone, PartialEq, Debug)]
pub struct Simulation {
    /// The recording; its own market where there is none.
    pub file: Option<PathBuf>,
    /// How fast.
    pub speed: Speed,
}

/// Starts the simulator and tells its address.
///
/// # Errors
/// When it cannot be started.
pub fn start_simulator(
    crew: &mut Crew,
    ledger: &Ledger,
    simulation: &Simulation,
) -> anyhow::Result<String> {
    let port = Port::claim(PortWish::From(9110))?;
    let address = port.address();
    let log = ledger.folder().log(SIMULATOR);
    let launch =
        Launch::new(std::env::current_exe()?, log).args(simulator_arguments(simulation, &address));
    let program = Program::start(launch, vec![port])?;
    crew.hire(Hire {
        name: SIMULATOR,
        member: Member::Program(program),
        address: address.clone(),
        health: None,
    });
    Ok(address)
}

fn simulator_arguments(simulation: &Simulation, address: &str) -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<std::ffi::OsString> = ["simulate", "coinbase", "--listen", address]
        .map(Into::into)
        .into();
    arguments.extend(["--speed".into(), feed::speed_text(simulation.speed).into()]);
    if let Some(file) = &simulation.file {
        arguments.extend(["--replay".into(), file.clone().into()]);
    }
    arguments
}

/// Starts the one that defines tenants, and waits until it can.
///
/// # Errors
/// When it is not built, cannot be started, or is not ready in time.
pub async fn start_api(crew: &mut Crew, ledger: &Ledger, tenant: &TenantId) -> anyhow::Result<()> {
    let folder = ledger.folder().join("api").to_string_lossy().into_owned();
    let own = vec![
        ("PULSE_API_DATA", folder),
        // Whoever reaches this machine's own address may try it.
        ("PULSE_REGISTRATION", "open".to_owned()),
    ];
    let addresses = start_role(crew, ledger, &ROLES[0], own, tenant)?;
    ready(ledger).await?;
    let operator = addresses.get(1).map(|address| format!("http://{address}"));
    ledger.change(|run| run.installation_url = operator);
    Ok(())
}

/// Starts every other role.
///
/// # Errors
/// When a program is not built, or cannot be started.
pub fn start(crew: &mut Crew, ledger: &Ledger, source: &Source) -> anyhow::Result<()> {
    for role in &ROLES[1..] {
        let own = connector_variables(role.name, source);
        let _ = start_role(crew, ledger, role, own, &source.tenant)?;
    }
    Ok(())
}

/// Starts a role and tells where clients reach it.
fn start_role(
    crew: &mut Crew,
    ledger: &Ledger,
    role: &Role,
    own: Vec<(&'static str, String)>,
    tenant: &TenantId,
) -> anyhow::Result<Vec<String>> {
    let health = Port::claim(PortWish::From(role.health))?;
    let health_address = health.address();
    let mut launch = Launch::new(stack::binary(role.name)?, ledger.folder().log(role.name))
        .envs(variables(ledger, &health_address))
        .envs(own);
    let (mut ports, mut addresses) = (vec![health], vec![]);
    for (setting, wish) in role.sockets {
        let port = Port::claim(PortWish::From(*wish))?;
        launch = launch.env(setting, port.address());
        addresses.push(port.address());
        ports.push(port);
    }
    if !role.sockets.is_empty() {
        let log = ledger.folder().join(&format!("{}.disk-log", role.name));
        launch = launch
            .env("PULSE_DISK_LOG", log)
            .env("PULSE_REPORT_TENANT", tenant.to_string());
    }
    let program = Program::start(launch, ports)?;
    crew.hire(Hire {
        name: role.name,
        member: Member::Program(program),
        address: addresses.first().unwrap_or(&health_address).clone(),
        health: Some(health_address),
    });
    Ok(addresses)
}

fn variables(ledger: &Ledger, address: &str) -> Vec<(&'static str, String)> {
    let run = ledger.run_file();
    let env = Environment::of_process();
    let mut variables = access::known(ledger.folder(), Some(&run), &env);
    variables.push(("PULSE_LISTEN", address.to_owned()));
    variables.push(("PULSE_INSTANCE", "0".to_owned()));
    // Their logs are files.
    variables.push(("NO_COLOR", "1".to_owned()));
    variables
}

/// A simulator stands in for both feeds, and then for one tenant alone: the others' feeds are of
/// the
/// exchange, and must not get what it makes up.
fn connector_variables(name: &str, source: &Source) -> Vec<(&'static str, String)> {
    let mut variables = Vec::new();
    if let (CONNECTOR, Some(address)) = (name, &source.simulator) {
        for (variable, path) in [
            ("PULSE_COINBASE_EXCHANGE_URL", "exchange"),
            ("PULSE_COINBASE_ADVANCED_URL", "advanced"),
        ] {
            variables.push((variable, format!("ws://{address}/{path}")));
        }
        variables.push(("PULSE_COINBASE_TENANTS", source.tenant.to_string()));
    }
    variables
}

/// Waits until every role says that it is ready, one has failed for good, or it takes too long.
///
/// # Errors
/// When a role's settings cannot be used: with the end of its log.
pub async fn ready(ledger: &Ledger) -> anyhow::Result<()> {
    let deadline = Deadline::after(READY_MAX);
    let mut told = Vec::new();
    loop {
        let run = ledger.run_file();
        let mut is_waiting = false;
        for entry in &run.processes {
            if entry.state == EntryState::Failed {
                let log = entry.log.as_ref().map(|log| log.display().to_string());
                let reason = entry.reason.as_deref().unwrap_or("it failed");
                anyhow::bail!(
                    "{}: {reason} (log: {})",
                    entry.name,
                    log.unwrap_or_default()
                );
            }
            let Some(address) = &entry.health else {
                continue;
            };
            if told.contains(&entry.name) {
                continue;
            }
            match http::get(address, "/health/ready").await {
                Ok(answer) if answer.status == 200 => {
                    ledger.say(&format!("{} is ready at {address}", entry.name));
                    told.push(entry.name.clone());
                }
                _ => is_waiting = true,
            }
        }
        if !is_waiting || deadline.has_passed() {
            return Ok(());
        }
        tokio::time::sleep(ASKED_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_serves_one_tenant_and_the_exchange_all() {
        let mut source = Source {
            origin: Origin::Sim,
            tenant: "demo".parse().unwrap(),
            simulator: Some("127.0.0.1:9110".into()),
        };
        let variables = connector_variables(CONNECTOR, &source);
        assert!(variables.contains(&("PULSE_COINBASE_TENANTS", "demo".into())));
        assert!(
            variables
                .iter()
                .any(|(_, url)| url.starts_with("ws://127.0.0.1:9110"))
        );
        assert_eq!(connector_variables("pulse-metrics", &source), []);
        source.simulator = None;
        assert_eq!(connector_variables(CONNECTOR, &source), []);
    }

    #[test]
    fn the_simulator_is_told_what_to_serve() {
        let simulation = Simulation {
            file: Some("/a.zst".into()),
            speed: Speed::Max,
        };
        let arguments = simulator_arguments(&simulation, "127.0.0.1:1");
        let text: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
        assert_eq!(
            text[..4],
            ["simulate", "coinbase", "--listen", "127.0.0.1:1"]
        );
        assert_eq!(text[4..], ["--speed", "max", "--replay", "/a.zst"]);
    }
}
