//! The broker that all tests of this program share, with a secured listener of each kind.

use std::sync::OnceLock;

use pulse::stack::kafka::Listeners;
use pulse::stack::testing::TestFolder;
use pulse::stack::{Cache, Kafka, KafkaOptions};
use runtime::config::{Environment, Settings};
use runtime::kafka::KafkaConfig;
use runtime::telemetry::{LogConfig, log_to_stderr};

/// A broker and the folder that goes with it.
pub(crate) struct Broker {
    pub(crate) kafka: Kafka,
    _folder: TestFolder,
}

impl Broker {
    /// A broker for a test that harms it.
    pub(crate) async fn own() -> Self {
        Self::start(|options| options).await
    }

    /// The same with a line of `server.properties`.
    pub(crate) async fn own_with(name: &str, value: &str) -> Self {
        Self::start(|options| options.property(name, value)).await
    }

    async fn start(adapt: impl FnOnce(KafkaOptions) -> KafkaOptions) -> Self {
        let folder = TestFolder::make().unwrap();
        let options = adapt(KafkaOptions::test(folder.path().join("kafka")));
        let tell = |text: &str| eprintln!("{text}");
        let kafka = Kafka::start(options, &Cache::of_user().unwrap(), &tell)
            .await
            .unwrap();
        Self {
            kafka,
            _folder: folder,
        }
    }

    /// How to reach it. `PULSE_KAFKA_DEBUG` and `PULSE_LOG` hold for tests as for programs.
    pub(crate) fn config(&self) -> KafkaConfig {
        let brokers = self.kafka.brokers();
        let mut env = Environment::of_process().or([("PULSE_KAFKA_BROKERS", &brokers)]);
        let (log, config) = (LogConfig::read(&mut env), KafkaConfig::read(&mut env));
        let (log, config) = env.finish(log.zip(config)).unwrap();
        log_to_stderr(&log);
        KafkaConfig { brokers, ..config }
    }
}

/// How to reach the shared broker. The first test that asks starts it; it goes with the program.
pub(crate) fn shared() -> KafkaConfig {
    shared_broker().config()
}

pub(crate) fn shared_broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| {
        // On a thread and a runtime of its own: it outlives the test that was first.
        let start = || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let broker = runtime.block_on(Broker::start(|options| KafkaOptions {
                listeners: Listeners::PlainAndSecured,
                ..options
            }));
            std::mem::forget(runtime);
            broker
        };
        std::thread::spawn(start).join().unwrap()
    })
}
