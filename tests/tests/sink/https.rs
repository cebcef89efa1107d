//! ClickHouse behind https, whose certificate an authority of our own has signed, and a user with a
//! password: schema, rows and reconciliation go that way, and whoever is not trusted is told so.

use runtime::clickhouse::ClickHouseConfig;
use runtime::config::Secret;
use schemas::control::Limits;
use sinks::reconcile::Reconciliation;
use tests::relay::Relay;
use tests::{Installation, eventually, samples, tables};

use crate::publish;

const COUNT: u64 = 1_000;

async fn relay(installation: &Installation) -> Relay {
    let url = installation.stack.clickhouse.url();
    let target = url.trim_start_matches("http://").to_owned();
    Relay::start(installation.stack.folder().join("relay"), target).await
}

fn config(installation: &Installation, relay: &Relay) -> ClickHouseConfig {
    ClickHouseConfig {
        url: relay.url().to_owned(),
        ca: Some(relay.ca()),
        ..tables::config(installation)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_through_and_are_equal_to_the_log() {
    let mut installation = Installation::start().await;
    let relay = relay(&installation).await;
    let ca = relay.ca().to_string_lossy().into_owned();
    let https = [
        ("PULSE_CLICKHOUSE_URL", relay.url()),
        ("PULSE_CLICKHOUSE_CA", ca.as_str()),
    ];
    installation.role("pulse-clickhouse", "0", &https).await;
    let limits = Limits::default();
    let tenant = installation.tenant("demo", limits, &[]).await;
    let events: Vec<_> = (0..COUNT as i64).map(samples::trade).collect();
    publish(&installation, &tenant, &events).await;
    tables::until_count(&installation, &tenant, "events", COUNT).await;

    let clickhouse = config(&installation, &relay);
    let reconciliation =
        Reconciliation::new(installation.kafka(), clickhouse, installation.control());
    let tenants = [(tenant, limits.dates().into())].into();
    let report = reconciliation.run(&tenants).await.unwrap();
    assert!(report.is_equal(), "{report:?}");
    assert_eq!(report.tenants[0].tables[0].equal_count, COUNT);
    installation.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_authority_and_a_wrong_password_are_named() {
    let mut installation = Installation::start().await;
    let relay = relay(&installation).await;
    let other = installation.stack.folder().join("other");
    let other = pulse::stack::authority::Authority::make(other).await;
    let right = relay.ca().to_string_lossy().into_owned();
    let other = other.unwrap().certificate().to_string_lossy().into_owned();
    let cases = [
        ("0", other.as_str(), "the right one", "UnknownIssuer"),
        ("1", right.as_str(), "wrong", "AUTHENTICATION_FAILED"),
    ];
    for (instance, ca, password, expect) in cases {
        let mut settings = vec![
            ("PULSE_CLICKHOUSE_URL", relay.url()),
            ("PULSE_CLICKHOUSE_CA", ca),
        ];
        if password == "wrong" {
            settings.push(("PULSE_CLICKHOUSE_PASSWORD", password));
        }
        installation.launch("pulse-clickhouse", instance, &settings);
        let role = format!("pulse-clickhouse-{instance}");
        eventually(&format!("{role} names {expect}"), async || {
            let health = installation.health(&role).await?;
            let reason = health["checks"]["clickhouse"]["reason"].to_string();
            match reason.contains(expect) {
                true => Ok(()),
                false => Err(health.to_string()),
            }
        })
        .await;
    }
    let mut wrong = config(&installation, &relay);
    wrong.password = Some(Secret::new("wrong"));
    let tenant = installation.tenant("demo", Limits::default(), &[]).await;
    let tenants = [(tenant, Limits::default().dates().into())].into();
    let refused = Reconciliation::new(installation.kafka(), wrong, installation.control());
    // The tenant's topics are new: their brokers may not lead them yet.
    eventually("reconciliation names the password", async || {
        let refused = refused.run(&tenants).await.unwrap_err().to_string();
        match refused.contains("AUTHENTICATION_FAILED") {
            true => Ok(()),
            false => Err(refused),
        }
    })
    .await;
    installation.stop_all().await;
}
