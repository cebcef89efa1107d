//! Real servers, and our own programs as processes on them.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use pulse::simulator::Simulator;
use pulse::stack::{KafkaOptions, Launch, Port, PortWish, Process, TestStack, binary};
use runtime::config::Secret;
use runtime::control::{ControlConfig, ControlWriter};
use runtime::kafka::admin::TopicSpec;
use runtime::kafka::{Admin, KafkaConfig, Outgoing, Publisher, PublisherSettings};
use schemas::access::{ApiKey, KeyKind, Scope};
use schemas::control::{Channel, ControlKey, Definition, Exchange, Feed, Kind, Limits, Tenant};
use schemas::ids::{Stream, TenantId};
use schemas::meter::Meter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{eventually, topic};

pub(crate) const SECRET: &str = "a secret of the tests alone";
const GRACE: Duration = Duration::from_secs(60);

/// A program of ours at work.
pub struct Role {
    /// The process.
    pub process: Process,
    /// Where it serves its health and metrics.
    pub listen: String,
    launch: Launch,
    _port: Port,
}

/// An installation of a test's own.
pub struct Installation {
    /// Kafka and ClickHouse.
    pub stack: TestStack,
    /// Our programs by name and instance.
    pub roles: BTreeMap<String, Role>,
    publisher: Publisher,
    writer: ControlWriter,
    /// Where roles are reached; theirs also while they are down.
    ports: Vec<Port>,
}

impl Installation {
    /// Starts the servers, and nothing of ours yet.
    ///
    /// # Panics
    /// When a server cannot be started.
    pub async fn start() -> Self {
        Self::start_with(|options| options).await
    }

    /// The same with a broker that differs from what tests mostly want.
    ///
    /// # Panics
    /// When a server cannot be started.
    pub async fn start_with(kafka: impl FnOnce(KafkaOptions) -> KafkaOptions) -> Self {
        let stack = TestStack::start_with(kafka).await.unwrap();
        let kafka = KafkaConfig::plaintext(stack.kafka.brokers());
        let admin = Admin::new(&kafka).unwrap();
        admin.ensure(&[TopicSpec::control(&kafka)]).await.unwrap();
        let publisher = Publisher::new(&kafka, &PublisherSettings::new("test")).unwrap();
        let control = ControlConfig::new(Secret::new(SECRET));
        let writer = ControlWriter::new(&kafka, &control).unwrap();
        Self {
            stack,
            roles: BTreeMap::new(),
            publisher,
            writer,
            ports: vec![],
        }
    }

    /// Where the broker is.
    pub fn kafka(&self) -> KafkaConfig {
        KafkaConfig::plaintext(self.stack.kafka.brokers())
    }

    /// What signs definitions, and what our own processes write.
    pub fn control(&self) -> ControlConfig {
        ControlConfig::new(Secret::new(SECRET))
    }

    /// Makes a tenant with its topics, limits and meters.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn tenant(&self, id: &str, limits: Limits, meters: &[(&str, Meter)]) -> TenantId {
        let tenant: TenantId = id.parse().unwrap();
        let kafka = self.kafka();
        let admin = Admin::new(&kafka).unwrap();
        let topics = Stream::ALL.map(|stream| TopicSpec::of(&tenant.topic(stream), &kafka));
        admin.ensure(&topics).await.unwrap();
        for (id, meter) in meters {
            self.define(&tenant, id, Definition::Meter(meter.clone()))
                .await;
        }
        let definition = Definition::Tenant(Tenant {
            limits,
            ..Tenant::new(id)
        });
        self.define(&tenant, "self", definition).await;
        tenant
    }

    /// Defines a secret key of a tenant, and tells it.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn key(&self, tenant: &TenantId, id: &str, scopes: &[Scope]) -> String {
        let key = api::access::secret::generate(KeyKind::Secret).unwrap();
        let definition = ApiKey {
            name: id.into(),
            kind: KeyKind::Secret,
            hash: api::access::secret::hash(&key),
            scopes: scopes.iter().copied().collect(),
            origins: vec![],
            expires_at_ms: None,
            events_per_second: None,
        };
        self.define(tenant, id, Definition::Key(definition)).await;
        key
    }

    /// Starts `pulse-gateway` and tells where it takes events.
    ///
    /// # Panics
    /// When it cannot be started or ends.
    pub async fn gateway(&mut self, instance: &str, environment: &[(&str, &str)]) -> String {
        let port = Port::claim(PortWish::Any).unwrap();
        let address = port.address();
        self.keep_ports([port]);
        let mut all = vec![("PULSE_GATEWAY_LISTEN", address.as_str())];
        all.extend(environment);
        self.role("pulse-gateway", instance, &all).await;
        address
    }

    /// Keeps ports for the roles that listen there, also while those are down.
    pub(crate) fn keep_ports(&mut self, ports: impl IntoIterator<Item = Port>) {
        self.ports.extend(ports);
    }

    /// Lets producers of a tenant's own write straight to Kafka, or not; its limits are the
    /// defaults.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn let_producers_in(&self, tenant: &TenantId, direct_producers: bool) {
        let definition = Definition::Tenant(Tenant {
            direct_producers,
            ..Tenant::new(tenant.as_str())
        });
        self.define(tenant, "self", definition).await;
    }

    /// Defines a tenant's feed of these markets.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn feed(
        &self,
        tenant: &TenantId,
        exchange: Exchange,
        products: &[impl AsRef<str>],
        channels: &[Channel],
    ) {
        let feed = Feed {
            exchange,
            products: products.iter().map(|name| name.as_ref().into()).collect(),
            channels: channels.to_vec(),
            enabled: true,
        };
        self.define(tenant, "feed", Definition::Feed(feed)).await;
    }

    /// Starts the Coinbase connector with a simulator for each of these feeds.
    ///
    /// # Panics
    /// When it cannot be started or ends.
    pub async fn coinbase(&mut self, feeds: &[(Exchange, &Simulator)]) {
        let url = |(exchange, simulator): &(Exchange, &Simulator)| {
            let key = match exchange {
                Exchange::CoinbaseExchange => "PULSE_COINBASE_EXCHANGE_URL",
                Exchange::CoinbaseAdvanced => "PULSE_COINBASE_ADVANCED_URL",
            };
            (key, simulator.url(*exchange))
        };
        let urls: Vec<_> = feeds.iter().map(url).collect();
        let urls: Vec<_> = urls.iter().map(|(key, url)| (*key, url.as_str())).collect();
        self.role("pulse-coinbase", "0", &urls).await;
    }

    /// Writes a definition.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn define(&self, tenant: &TenantId, id: &str, definition: Definition) {
        let kind = definition.kind();
        let key = ControlKey {
            tenant: tenant.clone(),
            kind,
            id: id.into(),
        };
        self.writer.put(&key, &definition).await.unwrap();
    }

    /// Deletes a definition.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn undefine(&self, tenant: &TenantId, kind: Kind, id: &str) {
        let key = ControlKey {
            tenant: tenant.clone(),
            kind,
            id: id.into(),
        };
        self.writer.delete(&key).await.unwrap();
    }

    /// Publishes values, each under its key, and waits until the broker has all.
    ///
    /// # Panics
    /// When one is not taken.
    pub async fn publish(&self, topic: &str, records: &[(Vec<u8>, Vec<u8>)]) {
        let records: Vec<Outgoing<'_>> = records
            .iter()
            .map(|(key, value)| Outgoing::keyed(topic, key, value))
            .collect();
        self.publish_records(&records).await;
    }

    /// Publishes records as they are, and waits until the broker has all.
    ///
    /// # Panics
    /// When one is not taken.
    pub async fn publish_records(&self, records: &[Outgoing<'_>]) {
        let undelivered = self.publisher.publish(records).await;
        assert!(undelivered.is_empty(), "{undelivered:?}");
    }

    /// Starts a program of ours and waits until it is ready.
    ///
    /// # Panics
    /// When it cannot be started or ends.
    pub async fn role(&mut self, program: &str, instance: &str, environment: &[(&str, &str)]) {
        self.launch(program, instance, environment);
        self.until_ready(&format!("{program}-{instance}")).await;
    }

    /// Starts a program of ours, ready or not.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn launch(&mut self, program: &str, instance: &str, environment: &[(&str, &str)]) {
        let port = Port::claim(PortWish::Any).unwrap();
        let listen = port.address();
        let log = self
            .stack
            .folder()
            .join(format!("{program}-{instance}.log"));
        let launch = Launch::new(binary(program).unwrap(), log)
            .envs(self.stack.environment())
            .env("PULSE_CONTROL_SECRET", SECRET)
            .env("PULSE_INSTANCE", instance)
            .env("PULSE_LISTEN", &listen)
            // Less than what it is given to end, and as long as a slow machine may need.
            .env("PULSE_DRAIN_MS", "50000")
            .envs(environment.iter().copied());
        let process = launch.spawn().unwrap();
        let name = format!("{program}-{instance}");
        self.roles.insert(
            name,
            Role {
                process,
                listen,
                launch,
                _port: port,
            },
        );
    }

    /// Waits until a role says that it is ready.
    ///
    /// # Panics
    /// When it ends, or never is.
    pub async fn until_ready(&self, name: &str) {
        let role = &self.roles[name];
        eventually(&format!("{name} is ready"), async || {
            assert!(
                role.process.is_running(),
                "{name} ended: {}",
                role.process.log_tail(30)
            );
            let report = self.health(name).await?;
            match report["ready"] == true {
                true => Ok(()),
                false => Err(report.to_string()),
            }
        })
        .await;
    }

    /// Kills a role as `kill -9` does and starts it again.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn kill_and_restart(&mut self, name: &str) {
        self.kill(name).await;
        self.start_again(name);
    }

    /// Kills a role as `kill -9` does; it stays away.
    pub async fn kill(&self, name: &str) {
        self.roles[name].process.kill9().await;
    }

    /// Starts a role again that was killed.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_again(&mut self, name: &str) {
        let role = self.roles.get_mut(name).unwrap();
        role.process = role.launch.spawn().unwrap();
    }

    /// What a role says of its health.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn health(&self, name: &str) -> Result<serde_json::Value, String> {
        let body = get(&self.roles[name].listen, "/health/ready").await?;
        serde_json::from_str(&body).map_err(|error| error.to_string())
    }

    /// Ends a role in order.
    ///
    /// # Panics
    /// When it does not end well.
    pub async fn stop(&mut self, name: &str) {
        let role = self.roles.remove(name).unwrap();
        let status = role.process.stop(GRACE).await;
        assert!(
            status.success(),
            "{name}: {status}\n{}",
            role.process.log_tail(30)
        );
    }

    /// A figure that a role shows, summed over its labels that hold `label`.
    ///
    /// # Errors
    /// When the role does not answer, or shows no such figure.
    pub async fn figure(&self, role: &str, name: &str, label: &str) -> Result<f64, String> {
        let sum = self.figure_if_any(role, name, label).await?;
        sum.ok_or_else(|| format!("{role} shows no {name} with {label}"))
    }

    /// The same of a figure that a role may not show: `None` then.
    ///
    /// # Errors
    /// When the role does not answer.
    pub async fn figure_if_any(
        &self,
        role: &str,
        name: &str,
        label: &str,
    ) -> Result<Option<f64>, String> {
        let body = get(&self.roles[role].listen, "/metrics").await?;
        let mut sum = None;
        for line in body.lines().filter(|line| line.contains(label)) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            if series.split('{').next() == Some(name) {
                *sum.get_or_insert(0.0) += value.parse::<f64>().map_err(|e| e.to_string())?;
            }
        }
        Ok(sum)
    }

    /// What `pulse` prints, run to its end.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn pulse(&self, arguments: &[&str]) -> String {
        let output = self.pulse_ended(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// How `pulse` ends, well or not.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn pulse_ended(&self, arguments: &[&str]) -> Output {
        let mut command = std::process::Command::new(binary("pulse").unwrap());
        let nothing = self.stack.folder().join("none");
        command.arg("--data").arg(nothing).args(arguments);
        command.envs(self.stack.environment());
        let command = command.env("PULSE_CONTROL_SECRET", SECRET);
        command.output().unwrap()
    }

    /// Waits until the metrics processes have counted every event of these tenants, who are all
    /// that there are, and hold no short window open.
    ///
    /// # Panics
    /// When they never do.
    pub async fn until_counted(&self, tenants: &[&TenantId]) {
        let kafka = self.kafka();
        let events = |tenant: &&TenantId| tenant.topic(Stream::Events).to_string();
        let topics: Vec<String> = tenants.iter().map(events).collect();
        let is_metrics = |role: &&String| role.starts_with("pulse-metrics");
        eventually("every event is counted, no short window open", async || {
            let expect: i64 = topics.iter().map(|name| topic::count(&kafka, name)).sum();
            let (mut counted, mut open) = (0.0, 0.0);
            for role in self.roles.keys().filter(is_metrics) {
                // One that has no partition shows neither.
                let figure = async |name, label| {
                    let figure = self.figure_if_any(role, name, label).await;
                    figure.map(Option::unwrap_or_default)
                };
                counted += figure("pulse_records", "fate=\"in\"").await?;
                open += figure("pulse_open_short_windows", "").await?;
            }
            match counted as i64 == expect && open == 0.0 {
                true => Ok(()),
                false => Err(format!("{counted} of {expect} events, {open} windows open")),
            }
        })
        .await;
    }

    /// Ends every role in order.
    ///
    /// # Panics
    /// When one does not end well.
    pub async fn stop_all(&mut self) {
        let names: Vec<String> = self.roles.keys().cloned().collect();
        for name in names {
            self.stop(&name).await;
        }
    }
}

impl Drop for Installation {
    /// What a failed test leaves behind is its message; why it came so stands in the logs of the
    /// roles, which are gone with the folder.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for role in self.roles.values() {
            eprintln!("{}", role.process.last_words());
        }
    }
}

/// The body of `GET path`.
///
/// # Errors
/// When nobody answers.
pub async fn get(address: &str, path: &str) -> Result<String, String> {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), ask)
        .await
        .map_err(|_| format!("{address} does not answer"))?
        .map_err(|error| format!("{address}: {error}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((_, body)) => Ok(body.to_owned()),
        None => Err(format!("{address} said {answer:?}")),
    }
}
