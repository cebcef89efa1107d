//! A pulse-api's control part in this process: its store, its view of the topic, and its routes.

use std::path::Path;
use std::sync::OnceLock;

use api::access::Keyring;
use api::access::installation::InstallationToken;
use api::manage::{StoreState, installation_routes, routes};
use api::routes::{operator_router, router};
use api::store::{Registration, Store, StoreSettings, courier};
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use pulse::stack::testing::TestFolder;
use pulse::stack::{Cache, Kafka, KafkaOptions};
use runtime::config::{Environment, Secret, Settings};
use runtime::control::{Control, ControlConfig, ControlView, ControlWriter};
use runtime::kafka::KafkaConfig;
use runtime::service::Service;
use runtime::telemetry::{LogConfig, log_to_stderr};
use serde_json::{Value, json};
use tests::eventually;
use tokio::task::JoinHandle;
use tower::ServiceExt;

/// A broker and the folder that goes with it.
pub(crate) struct Broker {
    pub(crate) kafka: Kafka,
    folder: TestFolder,
}

impl Broker {
    /// A broker for a test that harms it.
    pub(crate) async fn own() -> Self {
        let folder = TestFolder::make().unwrap();
        let options = KafkaOptions::test(folder.path().join("kafka"));
        let tell = |text: &str| eprintln!("{text}");
        let kafka = Kafka::start(options, &Cache::of_user().unwrap(), &tell)
            .await
            .unwrap();
        Self { kafka, folder }
    }

    pub(crate) fn config(&self) -> KafkaConfig {
        KafkaConfig::plaintext(self.kafka.brokers())
    }

    /// An installation on it.
    pub(crate) fn place(&self) -> Place {
        Place::new(self.config(), self.folder.path())
    }
}

/// An installation's own place on the broker that all tests share: its secret makes the records of
/// the others none of its own.
pub(crate) fn place() -> Place {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    let broker = BROKER.get_or_init(|| {
        // On a thread and a runtime of its own: it outlives the test that was first.
        let start = || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let broker = runtime.block_on(Broker::own());
            std::mem::forget(runtime);
            broker
        };
        std::thread::spawn(start).join().unwrap()
    });
    broker.place()
}

/// Where an installation is: its brokers, its secret, the folder of its store.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) kafka: KafkaConfig,
    pub(crate) control: ControlConfig,
    pub(crate) settings: StoreSettings,
    /// A word that no other installation's tenants have in their names.
    pub(crate) word: String,
}

impl Place {
    fn new(kafka: KafkaConfig, folder: &Path) -> Self {
        // `PULSE_LOG` holds for tests as for programs.
        let mut env = Environment::of_process();
        let log = LogConfig::read(&mut env);
        log_to_stderr(&env.finish(log).unwrap());
        let word = format!("{:08x}", fastrand::u32(..));
        Self {
            kafka,
            control: ControlConfig::new(Secret::new(format!("the secret of {word}"))),
            settings: StoreSettings {
                folder: folder.join(&word),
                registration: Registration::Open,
                registrations_per_minute: 100,
                changes_per_minute: 10_000,
            },
            word,
        }
    }

    /// The installation's secret, for a process of its own.
    pub(crate) fn secret(&self) -> String {
        format!("the secret of {}", self.word)
    }

    /// The store alone: nothing is published.
    pub(crate) async fn store(&self) -> Store {
        let metrics = runtime::telemetry::Metrics::default();
        let folder = &self.settings.folder;
        Store::open(folder, &self.kafka, &self.control, &metrics)
            .await
            .unwrap()
    }

    /// What writes the topic past the store.
    pub(crate) fn writer(&self) -> ControlWriter {
        ControlWriter::new(&self.kafka, &self.control).unwrap()
    }

    /// A tenant's slug of this installation.
    pub(crate) fn slug(&self, name: &str) -> String {
        format!("{name}-{}", self.word)
    }

    /// The store with its courier and its routes.
    pub(crate) async fn desk(&self) -> Desk {
        let store = self.store().await;
        let service = Service::detached("pulse-api");
        let courier = tokio::spawn(courier::run(store.clone(), service.clone()));
        store.until_open().await;
        let view = ControlView::open(&self.kafka, &self.control, &service)
            .await
            .unwrap()
            .unwrap();
        let keyring = Keyring::of(&view.snapshot());
        let follow = keyring
            .clone()
            .follow(view.clone(), service.shutdown.clone());
        tokio::spawn(follow);
        let state = StoreState::new(store.clone(), &self.settings, keyring.clone());
        let token = InstallationToken::of(&self.control);
        Desk {
            place: self.clone(),
            router: router(routes(state.clone()), &keyring),
            operator: operator_router(installation_routes(state), &token),
            token,
            store,
            view,
            service,
            courier,
        }
    }
}

/// A pulse-api's control part at work.
pub(crate) struct Desk {
    pub(crate) place: Place,
    pub(crate) store: Store,
    pub(crate) view: ControlView,
    pub(crate) service: Service,
    pub(crate) courier: JoinHandle<()>,
    router: Router,
    operator: Router,
    token: InstallationToken,
}

/// What was answered.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The answer, if it has this status.
    #[track_caller]
    pub(crate) fn with(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// A text in its body.
    #[track_caller]
    pub(crate) fn text(&self, field: &str) -> String {
        let text = self.body[field].as_str();
        text.unwrap_or_else(|| panic!("no {field} in {}", self.body))
            .to_owned()
    }

    /// The places of its faults.
    pub(crate) fn pointers(&self) -> Vec<&str> {
        let faults = self.body["errors"].as_array().into_iter().flatten();
        faults
            .filter_map(|fault| fault["pointer"].as_str())
            .collect()
    }
}

impl Desk {
    /// Asks a tenant's route.
    pub(crate) async fn ask(&self, line: &str, key: &str, body: Option<Value>) -> Answer {
        self.send(line, &[("x-api-key", key)], body).await
    }

    /// The same with these headers.
    pub(crate) async fn send(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let body = body.map_or_else(String::new, |body| body.to_string());
        answer(&self.router, request(line, headers, body)).await
    }

    /// The same with a text of one's own.
    pub(crate) async fn raw(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        answer(&self.router, request(line, headers, body.to_owned())).await
    }

    /// Asks a route of the operator's.
    pub(crate) async fn operate(&self, line: &str, body: Option<Value>) -> Answer {
        let header = self.token.header();
        let token = ("authorization", header.to_str().unwrap());
        self.operate_as(line, &[token], body).await
    }

    /// The same with other headers.
    pub(crate) async fn operate_as(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let body = body.map_or_else(String::new, |body| body.to_string());
        answer(&self.operator, request(line, headers, body)).await
    }

    /// Registers a tenant; gives its slug and its first key.
    pub(crate) async fn register(&self, name: &str) -> (String, String) {
        let slug = self.place.slug(name);
        let answer = self.send(REGISTER, &[], Some(registration(&slug))).await;
        (slug, answer.with(201).text("api_key"))
    }

    /// What those who follow the topic have now, all that was acknowledged included. A broker that
    /// has slept may refuse the first who asks.
    pub(crate) async fn control(&self) -> Control {
        let writer = self.place.writer();
        eventually("the topic is read", async || writer.read().await).await
    }

    /// Waits until this process's view says so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Control) -> bool) {
        eventually(what, async || {
            let control = self.view.snapshot();
            match is_so(&control) {
                true => Ok(()),
                false => Err(in_short(&control)),
            }
        })
        .await;
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) {
        self.service.shutdown.request();
        self.courier.await.unwrap();
    }

    /// Ends it where it stands, as `kill -9` would: nothing is published from here on.
    pub(crate) async fn kill(self) {
        self.courier.abort();
        let _ = self.courier.await;
        self.service.shutdown.request();
    }
}

pub(crate) const REGISTER: &str = "POST /api/v1/auth/register/tenant";

/// What is defined, by versions, for the message of a test that waited in vain.
fn in_short(control: &Control) -> String {
    let mut text = format!("at offset {}", control.offset);
    for (tenant, held) in control.tenants() {
        let meters = held
            .meters
            .iter()
            .map(|(id, meter)| format!("{id} {}", meter.version));
        let (meters, key_count) = (meters.collect::<Vec<_>>(), held.keys.len());
        text += &format!("; {tenant}: {} and {key_count} keys", meters.join(", "));
    }
    text
}

/// A sound registration.
pub(crate) fn registration(slug: &str) -> Value {
    json!({
        "name": "A tenant",
        "slug": slug,
        "owner_email": "owner@acme.example",
        "owner_password": "correct horse battery",
    })
}

/// A sound meter.
pub(crate) fn meter(id: &str, width_ms: i64) -> Value {
    json!({
        "id": id,
        "filter": {"event_type": "api_call"},
        "group_by": ["subject"],
        "windows": [{"kind": "tumbling", "width_ms": width_ms}],
        "aggregates": [{"name": "calls", "function": "count"}],
    })
}

/// A sound feed.
pub(crate) fn feed(id: &str, products: &[&str]) -> Value {
    json!({
        "id": id,
        "exchange": "coinbase_exchange",
        "products": products,
        "channels": ["trades"],
    })
}

fn request(line: &str, headers: &[(&str, &str)], body: String) -> Request<Body> {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let has_type = headers.iter().any(|(name, _)| *name == "content-type");
    if !body.is_empty() && !has_type {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request.body(Body::from(body)).unwrap()
}

async fn answer(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let media_type = head.headers.get(header::CONTENT_TYPE);
    let is_problem = media_type.is_some_and(|kind| kind == "application/problem+json");
    let is_error = head.status.is_client_error() || head.status.is_server_error();
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(is_problem, is_error, "{} {text}", head.status);
    let body = match bytes.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&bytes).unwrap(),
    };
    Answer {
        status: head.status,
        headers: head.headers,
        body,
    }
}
