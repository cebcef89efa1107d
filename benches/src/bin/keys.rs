//! What it costs to know whose key a request shows: from the text of a header to its holder, among
//! 10,000 keys of 1,000 tenants.
//!
//! `cargo run --release -p benches --bin keys`

use std::hint::black_box;
use std::time::Instant;

use anyhow::Context;
use api::access::{Keyring, secret};
use runtime::config::Secret;
use runtime::control::{Control, ControlConfig};
use schemas::access::{ApiKey, KeyKind, Scope};
use schemas::control::{ControlKey, ControlRecord, Definition, Kind, Tenant};
use schemas::ids::TenantId;
use schemas::time::EventTime;
use schemas::wire::Text;

const TENANTS: usize = 1_000;
const KEYS_OF_EACH: usize = 10;
/// Checks in a run.
const CHECKS: usize = 1_000_000;
/// Runs; the median is what counts.
const RUNS: usize = 9;

fn main() -> anyhow::Result<()> {
    let mut control = Control::default();
    let config = ControlConfig::new(Secret::new("a secret of the bench alone"));
    let mut keys = vec![];
    for at in 0..TENANTS * KEYS_OF_EACH {
        let text = secret::generate(KeyKind::Secret)?;
        define(&mut control, &config, at, &text)?;
        keys.push(text);
    }
    let keyring = Keyring::of(&control);
    let stranger = secret::generate(KeyKind::Secret)?;
    anyhow::ensure!(keyring.caller(&stranger).is_err(), "a stranger is let in");
    let mut random = fastrand::Rng::with_seed(7);
    let asked: Vec<&str> = (0..CHECKS)
        .map(|_| &*keys[random.usize(..keys.len())])
        .collect();
    measure("the key of somebody", &asked, |key| {
        keyring.caller(key).is_ok()
    });
    let strangers = vec![&*stranger; CHECKS];
    measure("the key of nobody", &strangers, |key| {
        keyring.caller(key).is_err()
    });
    Ok(())
}

fn define(
    control: &mut Control,
    config: &ControlConfig,
    at: usize,
    text: &str,
) -> anyhow::Result<()> {
    let tenant: TenantId = format!("tenant-{}", at / KEYS_OF_EACH).parse()?;
    if at.is_multiple_of(KEYS_OF_EACH) {
        let definition = Definition::Tenant(Tenant::new(tenant.as_str()));
        apply(
            control,
            config,
            (&tenant, Kind::Tenant, "self"),
            &definition,
        )?;
    }
    let definition = Definition::Key(ApiKey {
        name: "bench".into(),
        kind: KeyKind::Secret,
        hash: secret::hash(text),
        scopes: [Scope::Ingest].into(),
        origins: vec![],
        expires_at_ms: None,
        events_per_second: None,
    });
    let id = format!("key-{}", at % KEYS_OF_EACH);
    apply(control, config, (&tenant, Kind::Key, &id), &definition)
}

/// Takes a definition in as it comes from the topic.
fn apply(
    control: &mut Control,
    config: &ControlConfig,
    (tenant, kind, id): (&TenantId, Kind, &str),
    definition: &Definition,
) -> anyhow::Result<()> {
    let key = ControlKey {
        tenant: tenant.clone(),
        kind,
        id: id.into(),
    };
    let body = definition.body();
    let mut record = ControlRecord {
        version: 1,
        changed_at: EventTime::from_ms(0),
        body: Some(Text::new(&body)),
        mac: &[],
    };
    let key = key.to_string();
    let mac = config.sign(&key, &record);
    record.mac = &mac;
    let mut value = vec![];
    record.encode(&mut value);
    let taken = control.apply(config, 0, Some(key.as_bytes()), Some(&value));
    taken.ok().context("a record of ours")?;
    Ok(())
}

fn measure(name: &str, keys: &[&str], check: impl Fn(&str) -> bool) {
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            for key in keys {
                assert!(check(black_box(key)));
            }
            start.elapsed().as_nanos() as f64 / keys.len() as f64
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    println!(
        "{name:<24} {:>8.1} ns  (fastest {:.1}, slowest {:.1})",
        runs[RUNS / 2],
        runs[0],
        runs[RUNS - 1],
    );
}
