//! Real servers, a tenant on them, and our programs as processes.

use std::time::Duration;

use pulse::stack::kafka::Purpose;
use pulse::stack::testing::TestFolder;
use pulse::stack::{
    Cache, Kafka, KafkaOptions, Launch, Port, PortWish, Process, TestStack, binary,
};
use runtime::clickhouse::ClickHouseConfig;
use runtime::config::Secret;
use runtime::control::{ControlConfig, ControlWriter};
use runtime::kafka::admin::TopicSpec;
use runtime::kafka::{
    Admin, Isolation, KafkaConfig, Outgoing, Partition, Publisher, PublisherSettings, Reader, Start,
};
use schemas::control::{ControlKey, Definition, Tenant};
use schemas::ids::{Stream, TenantId};
use schemas::meter::Meter;
use schemas::tier::Tier;
use sinks::clickhouse::server::Server;

use crate::trades::Record;

const SECRET: &str = "a secret of the benches alone";
const WAIT: Duration = Duration::from_secs(10);

/// Servers of a bench's own, and one tenant.
pub struct Installation {
    /// Kafka and ClickHouse.
    pub stack: TestStack,
    /// Where the broker is.
    pub kafka: KafkaConfig,
    /// Questions to it.
    pub admin: Admin,
    /// Who publishes.
    pub publisher: Publisher,
    /// Questions to ClickHouse.
    pub server: Server,
    /// Whose topics these are.
    pub tenant: TenantId,
}

/// A program of ours at work.
pub struct Role {
    /// The process.
    pub process: Process,
    launch: Launch,
    _port: Port,
}

impl Role {
    /// Kills it as `kill -9` does.
    pub async fn kill(&self) {
        self.process.kill9().await;
    }

    /// Starts it again, as the same instance.
    ///
    /// # Errors
    /// When nothing can be forked.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process = self.launch.spawn()?;
        Ok(())
    }

    /// An error with its last words when it has ended.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.is_running(), "{}", self.process.last_words());
        Ok(())
    }
}

impl Installation {
    /// Starts the servers and makes the tenant with its meters; a record waits at most `linger` for
    /// others before it is published.
    ///
    /// # Errors
    /// When a server does not come up or refuses.
    pub async fn start(meters: Vec<(&str, Meter)>, linger: Duration) -> anyhow::Result<Self> {
        let stack = TestStack::start_with(serving).await?;
        let kafka = KafkaConfig::plaintext(stack.kafka.brokers());
        let admin = Admin::new(&kafka)?;
        let tenant: TenantId = "acme".parse()?;
        let topics = Stream::ALL.map(|stream| TopicSpec::of(&tenant.topic(stream), &kafka));
        admin.ensure(&[TopicSpec::control(&kafka)]).await?;
        admin.ensure(&topics).await?;
        let writer = ControlWriter::new(&kafka, &ControlConfig::new(Secret::new(SECRET)))?;
        let own = Definition::Tenant(Tenant {
            tier: Tier::Enterprise,
            ..Tenant::new("acme")
        });
        let meters = meters.into_iter().map(|(id, m)| (id, Definition::Meter(m)));
        for (id, definition) in meters.chain([("self", own)]) {
            put(&writer, &tenant, id, &definition).await?;
        }
        let mut settings = PublisherSettings::new("bench");
        settings.linger = linger;
        let publisher = Publisher::new(&kafka, &settings)?;
        let account = stack.clickhouse.writer();
        let clickhouse = ClickHouseConfig {
            url: stack.clickhouse.url(),
            user: account.user.clone(),
            password: Some(account.password.clone()),
            ca: None,
            database: "pulse".into(),
        };
        Ok(Self {
            server: Server::new(&clickhouse, WAIT)?,
            stack,
            kafka,
            admin,
            publisher,
            tenant,
        })
    }

    /// Writes a definition of the tenant.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn define(&self, id: &str, definition: &Definition) -> anyhow::Result<()> {
        self.define_for(&self.tenant, id, definition).await
    }

    /// Makes another tenant, without meters.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn add_tenant(&self, id: &str, tenant: Tenant) -> anyhow::Result<TenantId> {
        let id: TenantId = id.parse()?;
        let topics = Stream::ALL.map(|stream| TopicSpec::of(&id.topic(stream), &self.kafka));
        self.admin.ensure(&topics).await?;
        self.define_for(&id, "self", &Definition::Tenant(tenant))
            .await?;
        Ok(id)
    }

    /// Writes a definition of any tenant's.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn define_for(
        &self,
        tenant: &TenantId,
        id: &str,
        definition: &Definition,
    ) -> anyhow::Result<()> {
        let control = ControlConfig::new(Secret::new(SECRET));
        let writer = ControlWriter::new(&self.kafka, &control)?;
        put(&writer, tenant, id, definition).await
    }

    /// Starts a program of ours.
    ///
    /// # Errors
    /// When it is not built or nothing can be forked.
    pub fn launch(&self, program: &str) -> anyhow::Result<Role> {
        self.launch_with(program, &[])
    }

    /// The same with more of an environment.
    ///
    /// # Errors
    /// When it is not built or nothing can be forked.
    pub fn launch_with(&self, program: &str, more: &[(&str, &str)]) -> anyhow::Result<Role> {
        let port = Port::claim(PortWish::Any)?;
        let log = self.stack.folder().join(format!("{program}.log"));
        let launch = Launch::new(binary(program)?, log)
            .envs(self.stack.environment())
            .env("PULSE_CONTROL_SECRET", SECRET)
            .env("PULSE_INSTANCE", "bench")
            .env("PULSE_LISTEN", port.address())
            .envs(more.iter().copied());
        Ok(Role {
            process: launch.spawn()?,
            launch,
            _port: port,
        })
    }

    /// The partitions of one of the tenant's streams.
    pub fn partitions(&self, stream: Stream) -> Vec<Partition> {
        let topic = self.tenant.topic(stream);
        let count = runtime::kafka::admin::partition_count(stream, &self.kafka);
        (0..count)
            .map(|n| Partition::new(&topic.to_string(), n))
            .collect()
    }

    /// Publishes events and waits until the broker has all.
    ///
    /// # Errors
    /// When one is not taken.
    pub async fn publish(&self, records: &[Record]) -> anyhow::Result<()> {
        publish(&self.publisher, &self.tenant, records).await
    }

    /// Where each partition of a stream ends.
    ///
    /// # Errors
    /// When the broker does not say.
    pub fn ends(&self, stream: Stream) -> anyhow::Result<Vec<i64>> {
        let partitions = self.partitions(stream);
        let edges = self
            .admin
            .watermarks(&partitions, Isolation::Committed, WAIT)?;
        Ok(edges.iter().map(|edges| edges.high).collect())
    }

    /// How many records of a stream a group has behind it.
    ///
    /// # Errors
    /// When the broker does not say.
    pub fn committed(&self, group: &str, stream: Stream) -> anyhow::Result<i64> {
        let committed = self
            .admin
            .committed(group, &self.partitions(stream), WAIT)?;
        Ok(committed.into_iter().flatten().map(|c| c.offset).sum())
    }

    /// Reads committed records of a stream from where it ends now.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub fn tail(&self, stream: Stream) -> anyhow::Result<Reader> {
        let starts = self.ends(stream)?.into_iter().map(Start::At);
        let spans: Vec<_> = self.partitions(stream).into_iter().zip(starts).collect();
        Ok(Reader::open(
            &self.kafka,
            "bench",
            Isolation::Committed,
            &spans,
        )?)
    }
}

async fn put(
    writer: &ControlWriter,
    tenant: &TenantId,
    id: &str,
    definition: &Definition,
) -> anyhow::Result<()> {
    let key = ControlKey {
        tenant: tenant.clone(),
        kind: definition.kind(),
        id: id.into(),
    };
    let _ = writer.put(&key, definition).await?;
    Ok(())
}

/// A broker as `pulse up` runs it: a test's is compiled to start soon, and costs more per record.
fn serving(options: KafkaOptions) -> KafkaOptions {
    KafkaOptions {
        purpose: Purpose::Serve,
        ..options
    }
}

/// A broker alone, as `pulse up` runs it.
///
/// # Errors
/// When it cannot be had or does not come up.
pub async fn broker(folder: &TestFolder) -> anyhow::Result<Kafka> {
    let options = serving(KafkaOptions::test(folder.path().join("kafka")));
    let cache = Cache::of_user()?;
    Ok(Kafka::start(options, &cache, &|text| eprintln!("{text}")).await?)
}

/// Publishes events of a tenant and waits until the broker has all.
///
/// # Errors
/// When one is not taken.
pub async fn publish(
    publisher: &Publisher,
    tenant: &TenantId,
    records: &[Record],
) -> anyhow::Result<()> {
    let records = records.iter().map(|(key, value)| (&key[..], &value[..]));
    publish_each(publisher, tenant, records).await
}

/// The same with keys and values that lie anywhere.
///
/// # Errors
/// When one is not taken.
pub async fn publish_each<'a>(
    publisher: &Publisher,
    tenant: &TenantId,
    records: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> anyhow::Result<()> {
    let topic = tenant.topic(Stream::Events).to_string();
    let records: Vec<_> = records
        .map(|(key, value)| Outgoing::keyed(&topic, key, value))
        .collect();
    let undelivered = publisher.publish(&records).await;
    let count = undelivered.len();
    anyhow::ensure!(count == 0, "{count} records were not taken");
    Ok(())
}
