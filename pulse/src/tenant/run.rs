//! The command.

use std::time::Duration;

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use runtime::control::{ControlWriter, Written};
use runtime::kafka::Admin;
use runtime::kafka::admin::{Acl, Authorization, authorization};
use schemas::control::{ControlKey, Definition, Kind, Tenant};
use schemas::ids::TenantId;

use super::guard::{Guarded, MEND};
use super::rights::{self, Principal, Purpose};
use crate::cli::exit::Exit;
use crate::cli::text;
use crate::installation::Access;

/// What `pulse tenant` says at the end of its help.
pub const HELP: &str = "\
Examples:
  pulse tenant acl acme --principal User:acme            what to give it, and how much it may send
  pulse tenant acl acme --principal User:acme --apply    gives it
  pulse tenant direct acme on                            lets events in that it writes itself

Without producers of its own a tenant's events come through the gateway and from feeds, and whoever
can write its topic is trusted. With them, types and subjects that are PulseStream's own are taken
from PulseStream alone. docs/wire.md has the rest.";

/// How long the brokers may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What is to be done with a tenant.
#[derive(Subcommand, Clone, Debug)]
pub enum TenantCommand {
    /// The rights on Kafka of a tenant's own producer: printed, or given
    Acl {
        /// Whose.
        tenant: TenantId,
        /// Who writes, as the brokers know it: `User:` and a name.
        #[arg(long)]
        principal: Principal,
        /// It may also read all of the tenant's topics, in groups that begin with the tenant's id
        /// and a dot.
        #[arg(long)]
        read: bool,
        /// Give the rights; the quota is printed all the same.
        #[arg(long)]
        apply: bool,
        /// Bytes a second that it may write, and read; what the tenant's tier allows when left out.
        #[arg(long, value_name = "BYTES")]
        bytes_per_second: Option<u32>,
    },
    /// Let a tenant's own producers write straight to Kafka, or not
    Direct {
        /// Whose.
        tenant: TenantId,
        /// Whether they may.
        switch: Switch,
    },
}

/// On or off.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// They may.
    On,
    /// They may not.
    Off,
}

/// Does it.
///
/// # Errors
/// When there is no such tenant, or the brokers refuse.
pub async fn run(command: TenantCommand, access: &Access) -> anyhow::Result<Exit> {
    match command {
        TenantCommand::Acl {
            tenant,
            principal,
            read,
            apply,
            bytes_per_second,
        } => {
            let purpose = match read {
                true => Purpose::WriteAndRead,
                false => Purpose::Write,
            };
            let held = tenant_of(access, &tenant).await?;
            let tier = held.ingest.over(held.tier).bytes_per_second;
            let bytes_per_second = bytes_per_second.unwrap_or(tier);
            let acls = rights::acls(&tenant, principal.as_str(), purpose);
            if apply {
                give(access, acls).await?;
            } else {
                print_acls(access, &acls)?;
            }
            print_quota(access, &principal, bytes_per_second, purpose)?;
        }
        TenantCommand::Direct { tenant, switch } => direct(access, tenant, switch).await?,
    }
    Ok(Exit::Done)
}

async fn tenant_of(access: &Access, id: &TenantId) -> anyhow::Result<Tenant> {
    let control = ControlWriter::new(&access.kafka()?, &access.control()?)?;
    let held = control.read().await?;
    let tenant = held.tenant(id).and_then(|control| control.tenant.as_ref());
    let tenant = tenant.with_context(|| format!("there is no tenant {id}"))?;
    Ok(tenant.value.clone())
}

async fn give(access: &Access, acls: Vec<Acl>) -> anyhow::Result<()> {
    let kafka = access.kafka()?;
    if authorization(&kafka).await? == Authorization::Absent {
        anyhow::bail!("the brokers have no authorizer, so there are no rights to give\n{MEND}");
    }
    let given = acls.clone();
    let giving = move || Admin::new(&kafka)?.give(&given, ANSWER_MAX);
    tokio::task::spawn_blocking(giving).await??;
    let lines: String = acls.iter().map(|acl| format!("given: {acl}\n")).collect();
    text::print(&lines)?;
    Ok(())
}

fn print_acls(access: &Access, acls: &[Acl]) -> anyhow::Result<()> {
    let brokers = access.kafka()?.brokers;
    let mut out = String::from("# Rights; the same command with --apply gives them.\n");
    for acl in acls {
        let arguments = with_brokers(&brokers, rights::acl_arguments(acl));
        out.push_str(&format!("# {acl}\n"));
        out.push_str(&rights::shell("kafka-acls.sh", &arguments));
        out.push('\n');
    }
    text::print(&out)?;
    Ok(())
}

fn print_quota(
    access: &Access,
    principal: &Principal,
    bytes_per_second: u32,
    purpose: Purpose,
) -> anyhow::Result<()> {
    let quota = rights::quota_arguments(principal.user(), bytes_per_second, purpose);
    let arguments = with_brokers(&access.kafka()?.brokers, quota);
    let command = rights::shell("kafka-configs.sh", &arguments);
    text::print(&format!(
        "# The quota of this user; librdkafka cannot set it, so it is for you to run.\n{command}\n"
    ))?;
    Ok(())
}

fn with_brokers(brokers: &str, arguments: Vec<String>) -> Vec<String> {
    let mut all = vec!["--bootstrap-server".to_owned(), brokers.to_owned()];
    all.extend(arguments);
    all
}

async fn direct(access: &Access, id: TenantId, switch: Switch) -> anyhow::Result<()> {
    let kafka = access.kafka()?;
    let tenant = tenant_of(access, &id).await?;
    if switch == Switch::On {
        let guarded = Guarded {
            tenants: vec![id.clone()],
            by: authorization(&kafka).await?,
        };
        anyhow::ensure!(guarded.is_sound(), "not switched on: {guarded}\n{MEND}");
    }
    let key = ControlKey {
        tenant: id.clone(),
        kind: Kind::Tenant,
        id: "self".into(),
    };
    let changed = Definition::Tenant(Tenant {
        direct_producers: switch == Switch::On,
        ..tenant
    });
    let writer = ControlWriter::new(&kafka, &access.control()?)?;
    let said = match writer.put(&key, &changed).await? {
        Written::Version(version) => format!("version {version}"),
        Written::Unchanged => "it was so already".to_owned(),
    };
    let state = match switch {
        Switch::On => "write straight to Kafka",
        Switch::Off => "do not write straight to Kafka",
    };
    text::print(&format!("producers of {id} {state} ({said})\n"))?;
    Ok(())
}
