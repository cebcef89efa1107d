//! Holds a control store and defines one meter after the other for the tenant that it is told of,
//! saying `committed <id>` and `published <id>`, until it is killed: the victim of the test that
//! nothing which was committed is lost.

use std::io::Write;

use anyhow::Context;
use api::store::{Change, Store, StoreError, StoreSettings, courier};
use runtime::config::{Environment, Settings};
use runtime::control::ControlConfig;
use runtime::kafka::KafkaConfig;
use runtime::service::Service;
use schemas::control::{ControlKey, Definition, Kind};
use schemas::ids::TenantId;
use schemas::meter::candles;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let tenant = std::env::args().nth(1).context("whose meters?")?;
    let mut env = Environment::of_process();
    let (kafka, control) = (KafkaConfig::read(&mut env), ControlConfig::read(&mut env));
    let settings = StoreSettings::read(&mut env);
    let (kafka, (control, settings)) = env.finish(kafka.zip(control.zip(settings)))?;
    let service = Service::detached("hold-store");
    let store = Store::open(&settings.folder, &kafka, &control, &service.metrics).await?;
    tokio::spawn(courier::run(store.clone(), service));
    store.until_open().await;
    let tenant: TenantId = tenant.parse()?;
    loop {
        let (named, count) = (tenant.clone(), 3);
        let make = move |change: &mut Change<'_>| define(change, &named, count);
        let (ids, ticket) = store.commit(make).await?;
        say("committed", &ids)?;
        store.until_published(ticket).await?;
        say("published", &ids)?;
    }
}

/// The next meters of the tenant.
fn define(
    change: &mut Change<'_>,
    tenant: &TenantId,
    count: i64,
) -> Result<Vec<String>, StoreError> {
    let first = change.ever_count(tenant, Kind::Meter)?;
    let mut ids = vec![];
    for number in first..first + count {
        let key = ControlKey {
            tenant: tenant.clone(),
            kind: Kind::Meter,
            id: format!("m{number:06}"),
        };
        change.put(&key, &Definition::Meter(candles()))?;
        ids.push(key.id);
    }
    Ok(ids)
}

fn say(what: &str, ids: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for id in ids {
        writeln!(out, "{what} {id}")?;
    }
    out.flush()
}
