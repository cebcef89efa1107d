//! Kafka and ClickHouse: ours, started here, or the user's own, named by the environment.

use runtime::config::Environment;

use super::crew::{Crew, Hire};
use super::ledger::Ledger;
use super::member::Member;
use crate::installation::access::{CLICKHOUSE_SECRET, READER_SECRET};
use crate::installation::{Entry, secret};
use crate::stack::{Cache, ClickHouse, ClickHouseOptions, Kafka, KafkaOptions};

/// The names that other commands look for.
pub const KAFKA: &str = "kafka";
/// As above.
pub const CLICKHOUSE: &str = "clickhouse";

/// What the environment names; `None` means that ours is started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Own {
    /// `PULSE_KAFKA_BROKERS`
    pub brokers: Option<String>,
    /// `PULSE_CLICKHOUSE_URL`
    pub clickhouse_url: Option<String>,
}

impl Own {
    /// What the environment names.
    pub fn read(env: &mut Environment) -> Self {
        let mut text = |name: &str, keys: &'static [runtime::config::Key]| {
            let key = keys.iter().find(|key| key.name == name)?;
            env.has(name).then(|| env.text(key)).flatten()
        };
        Self {
            brokers: text("PULSE_KAFKA_BROKERS", runtime::kafka::KEYS),
            clickhouse_url: text("PULSE_CLICKHOUSE_URL", runtime::clickhouse::KEYS),
        }
    }

    /// True when nothing has to be fetched or started here.
    pub fn is_all(&self) -> bool {
        self.brokers.is_some() && self.clickhouse_url.is_some()
    }
}

/// Starts those that the user does not bring, both at once, and notes where all of them are.
///
/// # Errors
/// When one cannot be fetched or does not come up.
pub async fn start(crew: &mut Crew, ledger: &Ledger, own: &Own) -> anyhow::Result<()> {
    let (kafka, clickhouse) =
        tokio::try_join!(start_kafka(ledger, own), start_clickhouse(ledger, own))?;
    match kafka {
        Some(kafka) => {
            let brokers = kafka.brokers();
            ledger.change(|run| {
                run.brokers = Some(brokers.clone());
                run.kafka_is_own = true;
            });
            crew.hire(Hire {
                name: KAFKA,
                member: Member::Kafka(Box::new(kafka)),
                address: brokers,
                health: None,
            });
        }
        None => {
            let brokers = own.brokers.clone().unwrap_or_default();
            ledger.change(|run| run.brokers = Some(brokers.clone()));
            ledger.enter(Entry::external(KAFKA, brokers));
        }
    }
    match clickhouse {
        Some(clickhouse) => {
            let url = clickhouse.url();
            ledger.change(|run| {
                run.clickhouse_url = Some(url.clone());
                run.clickhouse_is_own = true;
            });
            crew.hire(Hire {
                name: CLICKHOUSE,
                member: Member::ClickHouse(Box::new(clickhouse)),
                address: url,
                health: None,
            });
        }
        None => {
            let url = own.clickhouse_url.clone().unwrap_or_default();
            ledger.change(|run| run.clickhouse_url = Some(url.clone()));
            ledger.enter(Entry::external(CLICKHOUSE, url));
        }
    }
    Ok(())
}

async fn start_kafka(ledger: &Ledger, own: &Own) -> anyhow::Result<Option<Kafka>> {
    if let Some(brokers) = &own.brokers {
        ledger.say(&format!("kafka: yours, at {brokers}"));
        return Ok(None);
    }
    ledger.say("kafka starts");
    let options = KafkaOptions::serve(ledger.folder().join(KAFKA));
    let kafka = Kafka::start(options, &Cache::of_user()?, &|text| ledger.say(text)).await?;
    ledger.say(&format!("kafka is up at {}", kafka.brokers()));
    Ok(Some(kafka))
}

async fn start_clickhouse(ledger: &Ledger, own: &Own) -> anyhow::Result<Option<ClickHouse>> {
    if let Some(url) = &own.clickhouse_url {
        ledger.say(&format!("clickhouse: yours, at {url}"));
        return Ok(None);
    }
    ledger.say("clickhouse starts");
    let folder = ledger.folder();
    let options = ClickHouseOptions::serve(folder.join(CLICKHOUSE));
    let cache = Cache::of_user()?;
    let clickhouse = ClickHouse::start(options, &cache, &|text| ledger.say(text)).await?;
    let passwords = [
        (CLICKHOUSE_SECRET, clickhouse.writer()),
        (READER_SECRET, clickhouse.reader()),
    ];
    for (name, account) in passwords {
        secret::write(&folder.join(name), account.password.reveal())?;
    }
    ledger.say(&format!("clickhouse is up at {}", clickhouse.url()));
    Ok(Some(clickhouse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_environment_names_is_not_started() {
        let read = |set: &[(&str, &str)]| Own::read(&mut Environment::of(set.iter().copied()));
        assert_eq!(
            read(&[]),
            Own {
                brokers: None,
                clickhouse_url: None
            }
        );
        let both = read(&[
            ("PULSE_KAFKA_BROKERS", "a:9"),
            ("PULSE_CLICKHOUSE_URL", "http://b:8"),
        ]);
        assert!(both.is_all());
        assert_eq!(both.brokers.as_deref(), Some("a:9"));
        assert!(!read(&[("PULSE_KAFKA_BROKERS", "a:9"), ("PULSE_CLICKHOUSE_URL", "")]).is_all());
    }
}
