//! A gateway that starts while the brokers are away: it goes on with the definitions that it has
//! kept, and with those of the topic as soon as there is one.

use schemas::access::Scope;
use schemas::control::{Kind, Limits};
use schemas::ids::TenantId;
use serde_json::{Value, json};
use tests::http::{self, Answer};
use tests::{Installation, eventually, tables, throughout};

const EVENTS: &str = "/api/v1/ingestion/events";
const GATEWAY: &str = "pulse-gateway-0";

struct Place {
    installation: Installation,
    tenant: TenantId,
    key: String,
    /// One that is revoked in the course of the test.
    revoked: String,
    address: String,
    /// When every event happened: sent again it is the same one.
    started_ms: i64,
}

impl Place {
    /// A gateway with a disk log that knows both keys and has kept them.
    async fn open() -> Self {
        let mut installation = Installation::start().await;
        let tenant = installation.tenant("cold", Limits::default(), &[]).await;
        let key = installation.key(&tenant, "sender", &[Scope::Ingest]).await;
        let revoked = installation.key(&tenant, "gone", &[Scope::Ingest]).await;
        installation.role("pulse-clickhouse", "0", &[]).await;
        let folder = installation.stack.folder().join("disk-log");
        let environment = [
            ("PULSE_INGEST_TIMEOUT_MS", "2000"),
            ("PULSE_DISK_LOG", folder.to_str().unwrap()),
        ];
        let address = installation.gateway("0", &environment).await;
        let place = Self {
            installation,
            tenant,
            key,
            revoked,
            address,
            started_ms: runtime::clock::now_ms(),
        };
        place.until_kept("cold/key/gone").await;
        place
    }

    async fn post(&self, key: &str, id: &str) -> Result<Answer, String> {
        let event = json!({
            "event_id": id, "event_type": "custom_event",
            "timestamp": self.started_ms, "source": {"service": "cold"},
        });
        http::post(&self.address, EVENTS, key, &event).await
    }

    /// Posts the same event until it is answered so.
    async fn until_answered(&self, key: &str, id: &str, status: u16) -> Value {
        eventually(&format!("{id} is answered {status}"), async || {
            let answer = self.post(key, id).await?;
            match answer.status == status {
                true => Ok(answer.json()),
                false => Err(format!("{} {}", answer.status, answer.text())),
            }
        })
        .await
    }

    /// Waits until the kept definitions hold this text.
    async fn until_kept(&self, text: &str) {
        let text = text.as_bytes();
        let folder = self.installation.stack.folder().join("disk-log");
        eventually("the definitions are kept", async || {
            let kept = std::fs::read(folder.join("definitions.kept"));
            let kept = kept.map_err(|error| error.to_string())?;
            match kept.windows(text.len()).any(|window| window == text) {
                true => Ok(()),
                false => Err("not yet".to_owned()),
            }
        })
        .await;
    }

    async fn until_drained(&self) {
        eventually("the disk log is empty", async || {
            let waiting = self
                .installation
                .figure(GATEWAY, "pulse_disk_log_entries", "")
                .await?;
            match waiting == 0.0 {
                true => Ok(()),
                false => Err(format!("{waiting} events wait")),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_starts_while_the_broker_is_away_stores_what_comes() {
    let mut place = Place::open().await;
    place.until_answered(&place.key, "before", 200).await;
    place.installation.stack.kafka.kill9().await;
    for id in ["first", "second"] {
        place.installation.kill_and_restart(GATEWAY).await;
        let answer = place.until_answered(&place.key, id, 202).await;
        assert_eq!(answer["events"][0]["status"], "stored", "{answer}");
        // It says so where an operator looks, and takes no key that it does not know.
        let health = place.installation.health(GATEWAY).await.unwrap();
        assert_eq!(health["ready"], true, "{health}");
        assert_eq!(health["checks"]["control"]["state"], "warning", "{health}");
        let stranger = place.post("pulse_sk_nobody", "never").await.unwrap();
        assert_eq!(stranger.status, 401);
    }
    place.installation.stack.kafka.restart().await.unwrap();
    place.until_drained().await;
    place.until_answered(&place.key, "after", 200).await;
    tables::until_count(&place.installation, &place.tenant, "events", 4).await;
    // Each once.
    let sql = "SELECT event_id, count() AS n FROM events GROUP BY event_id ORDER BY event_id";
    let rows = tables::rows(&place.installation, sql).await;
    let ids: Vec<_> = rows
        .iter()
        .map(|row| row["event_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["after", "before", "first", "second"], "{rows:?}");
    let is_ready = async || {
        let health = place.installation.health(GATEWAY).await?;
        match health["checks"]["control"]["state"] == "ready" {
            true => Ok(()),
            false => Err(health.to_string()),
        }
    };
    eventually("the definitions are the topic's again", is_ready).await;
    place.installation.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_starts_while_the_broker_is_away_forgets_no_revocation_that_it_heard() {
    let mut place = Place::open().await;
    place.until_answered(&place.revoked, "before", 200).await;
    // Revoked where this gateway cannot hear of it, and then nobody can.
    place.installation.kill(GATEWAY).await;
    let tenant = place.tenant.clone();
    place
        .installation
        .undefine(&tenant, Kind::Key, "gone")
        .await;
    place.installation.stack.kafka.kill9().await;
    place.installation.start_again(GATEWAY);
    // The stated limit: what it has not heard of holds for events that go no further than its disk.
    place.until_answered(&place.revoked, "meanwhile", 202).await;
    place.installation.stack.kafka.restart().await.unwrap();
    place.until_answered(&place.revoked, "never", 401).await;
    let stays_out = async || match place.post(&place.revoked, "never").await {
        Ok(answer) if answer.status == 401 => Ok(()),
        other => Err(format!("{other:?}")),
    };
    throughout(
        "the key stays revoked",
        std::time::Duration::from_secs(3),
        stays_out,
    )
    .await;
    // Heard of once, it holds without brokers too.
    place.until_answered(&place.key, "later", 200).await;
    place
        .installation
        .key(&tenant, "marker", &[Scope::Read])
        .await;
    place.until_kept("cold/key/marker").await;
    place.installation.stack.kafka.kill9().await;
    place.installation.kill_and_restart(GATEWAY).await;
    place.until_answered(&place.key, "last", 202).await;
    let answer = place.post(&place.revoked, "never").await.unwrap();
    assert_eq!(answer.status, 401, "{}", answer.text());
    place.installation.stack.kafka.restart().await.unwrap();
    place.until_drained().await;
    place.installation.stop_all().await;
}
