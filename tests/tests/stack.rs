//! The local stack: real servers that answer, keep what they acknowledged, and leave nothing
//! behind.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use pulse::stack::kafka::{Listeners, Secured};
use pulse::stack::{
    Cache, ClickHouse, ClickHouseOptions, Kafka, KafkaOptions, Launch, Orphan, PortWish, TestStack,
};
use runtime::config::Secret;
use runtime::kafka::client::Mechanism;
use runtime::kafka::failure::Failure;
use runtime::kafka::probe::Probe;
use runtime::kafka::{KafkaConfig, Sasl, Security, Tls};
use runtime::testing::{PATIENCE, eventually, until};
use tests::installation::get;

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// How many brokers the cluster has, as librdkafka sees it through a connection of this kind.
async fn broker_count(
    brokers: String,
    security: Security,
    wait: Duration,
) -> Result<usize, Failure> {
    let config = KafkaConfig {
        security,
        ..KafkaConfig::plaintext(brokers)
    };
    let ask = move || Probe::new(&config).unwrap().broker_count(wait);
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// Waits until the brokers have said that whoever comes like this is not let in.
async fn assert_locked_out(brokers: &str, security: &Security, who: &str) {
    const LOOK: Duration = Duration::from_millis(500);
    eventually(&format!("{who} is locked out"), async || {
        let answer = broker_count(brokers.to_owned(), security.clone(), LOOK).await;
        match answer {
            Ok(count) => panic!("{who} sees {count} brokers"),
            Err(failure) if failure.is_locked_out() => Ok(()),
            Err(failure) => Err(failure),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_answer_and_are_gone_after_drop() {
    let stack = TestStack::start().await.unwrap();
    let brokers = broker_count(stack.kafka.brokers(), Security::Plaintext, PATIENCE).await;
    assert_eq!(brokers.unwrap(), 1);
    let url = stack.clickhouse.url();
    let address = url.trim_start_matches("http://");
    assert_eq!(get(address, "/ping").await.unwrap(), "Ok.\n");

    let client = stack.clickhouse.client(stack.clickhouse.writer());
    let version: String = client.query("SELECT version()").fetch_one().await.unwrap();
    assert!(version.starts_with("2"), "{version}");

    let (kafka, clickhouse) = (stack.kafka.pid(), stack.clickhouse.pid());
    assert!(is_alive(kafka) && is_alive(clickhouse));
    let folder = stack.folder().to_owned();
    drop(stack);
    assert!(!is_alive(kafka) && !is_alive(clickhouse));
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_keeps_its_rows_over_kill_9_and_ends_when_told() {
    let mut stack = TestStack::start().await.unwrap();
    let client = stack.clickhouse.client(stack.clickhouse.writer());
    let run = async |sql: &str| client.query(sql).execute().await.unwrap();
    run("CREATE DATABASE pulse").await;
    run("CREATE TABLE pulse.kept (k UInt64) ENGINE = MergeTree ORDER BY k").await;
    run("INSERT INTO pulse.kept VALUES (1), (2)").await;

    let url = stack.clickhouse.url();
    stack.clickhouse.kill9().await;
    assert!(!stack.clickhouse.process().is_running());
    assert!(client.query("SELECT 1").fetch_one::<u8>().await.is_err());
    stack.clickhouse.restart().await.unwrap();
    assert_eq!(
        stack.clickhouse.url(),
        url,
        "clients must find it where it was"
    );
    let kept: Vec<u64> = client
        .query("SELECT k FROM pulse.kept ORDER BY k")
        .fetch_all()
        .await
        .unwrap();
    assert_eq!(kept, [1, 2]);

    let status = stack.clickhouse.stop().await;
    assert_ne!(status.signal(), Some(9), "it did not hear SIGTERM");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_sees_each_row_once_and_changes_nothing() {
    let stack = TestStack::shared().await.unwrap();
    let writer = stack.clickhouse.client(stack.clickhouse.writer());
    let run = async |sql: &str| writer.query(sql).execute().await.unwrap();
    run("CREATE DATABASE IF NOT EXISTS pulse").await;
    run("CREATE DATABASE IF NOT EXISTS other").await;
    run("CREATE TABLE other.seen (k UInt8) ENGINE = MergeTree ORDER BY k").await;
    run("CREATE TABLE pulse.seen (k UInt8, v UInt8) ENGINE = ReplacingMergeTree(v) ORDER BY k")
        .await;
    run("SYSTEM STOP MERGES pulse.seen").await;
    run("INSERT INTO pulse.seen VALUES (1, 1)").await;
    run("INSERT INTO pulse.seen VALUES (1, 2)").await;

    let reader = stack.clickhouse.client(stack.clickhouse.reader());
    let seen: Vec<u8> = reader
        .query("SELECT v FROM pulse.seen")
        .fetch_all()
        .await
        .unwrap();
    assert_eq!(seen, [2]);
    let all: Vec<u8> = writer
        .query("SELECT v FROM pulse.seen")
        .fetch_all()
        .await
        .unwrap();
    assert_eq!(all.len(), 2, "without final both rows are there");
    for refused in [
        "INSERT INTO pulse.seen VALUES (3, 3)",
        "DROP TABLE pulse.seen",
        "CREATE TABLE pulse.more (k UInt8) ENGINE = Memory",
        "SELECT k FROM other.seen",
        "SYSTEM STOP LISTEN HTTP",
    ] {
        let error = reader
            .query(refused)
            .execute()
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("ACCESS_DENIED"), "{refused}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_password() {
    let stack = TestStack::shared().await.unwrap();
    let stranger = stack.clickhouse.client(stack.clickhouse.writer());
    for (user, password, expect) in [
        ("pulse", "wrong", "AUTHENTICATION_FAILED"),
        ("reader", "", "AUTHENTICATION_FAILED"),
        // The launcher's own session is the only one that this user may have.
        ("default", "", "USER_SESSION_LIMIT_EXCEEDED"),
    ] {
        let client = stranger.clone().with_user(user).with_password(password);
        let error = client
            .query("SYSTEM STOP LISTEN HTTP")
            .execute()
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expect), "{user}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_comes_back_where_it_was_after_kill_9_and_after_a_stop() {
    let mut stack = TestStack::start().await.unwrap();
    let (brokers, pid) = (stack.kafka.brokers(), stack.kafka.pid());
    let wait = Duration::from_millis(500);
    stack.kafka.kill9().await;
    assert!(!is_alive(pid));
    assert_eq!(
        broker_count(brokers.clone(), Security::Plaintext, wait)
            .await
            .ok(),
        None
    );
    for _ in 0..2 {
        stack.kafka.restart().await.unwrap();
        assert_ne!(stack.kafka.pid(), pid);
        assert_eq!(
            broker_count(brokers.clone(), Security::Plaintext, PATIENCE)
                .await
                .ok(),
            Some(1)
        );
        stack.kafka.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_waits_for_its_predecessor_and_finds_its_data_and_ports() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::of_user().unwrap();
    let options = |port| ClickHouseOptions {
        http_port: PortWish::From(port),
        ..ClickHouseOptions::test(folder.path())
    };
    let first = ClickHouse::start(options(24_000), &cache, &|_| ())
        .await
        .unwrap();
    let url = first.url();
    let client = first.client(first.writer());
    client
        .query("CREATE DATABASE kept")
        .execute()
        .await
        .unwrap();

    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    let mut second = pin!(ClickHouse::start(options(port), &cache, &|_| ()));
    let early = tokio::time::timeout(Duration::from_secs(1), second.as_mut()).await;
    assert!(early.is_err(), "the first one still has the folder");
    drop(first);
    let second = second.await.unwrap();
    assert_eq!(second.url(), url);
    let client = second.client(second.writer());
    let names = client
        .query("SELECT name FROM system.databases")
        .fetch_all::<String>();
    assert!(names.await.unwrap().contains(&"kept".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_another_jvm_is_dropped_and_harms_nothing() {
    let user = Cache::of_user().unwrap();
    let folder = tempfile::tempdir().unwrap();
    drop(
        Kafka::start(
            KafkaOptions::test(folder.path().join("first")),
            &user,
            &|_| (),
        )
        .await,
    );

    let cache = Cache::at(folder.path().join("cache"));
    std::fs::create_dir(cache.root()).unwrap();
    let jars = "kafka-4.3.1";
    std::os::unix::fs::symlink(user.root().join(jars), cache.root().join(jars)).unwrap();
    for (name, text) in [
        ("kafka-4.3.1.jsa", "of no use"),
        ("kafka-4.3.1.jvm", "/opt/java 1 1"),
    ] {
        std::fs::write(cache.root().join(name), text).unwrap();
    }
    let archive = cache.root().join("kafka-4.3.1.jsa");

    let options = KafkaOptions::test(folder.path().join("second"));
    let kafka = Kafka::start(options, &cache, &|_| ()).await.unwrap();
    let brokers = broker_count(kafka.brokers(), Security::Plaintext, PATIENCE).await;
    assert_eq!(brokers.unwrap(), 1);
    assert!(!archive.exists(), "the next start must make its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secured_listeners_let_in_whom_they_should() {
    let stack = TestStack::start_with(|mut kafka| {
        kafka.listeners = Listeners::PlainAndSecured;
        kafka
    })
    .await
    .unwrap();
    let Secured {
        ssl,
        sasl_ssl,
        certificates,
    } = stack.kafka.secured().unwrap();
    let stranger = Tls {
        ca: Some(certificates.authority.clone()),
        ..Tls::default()
    };
    let known = Tls {
        identity: Some((
            certificates.client.certificate.clone(),
            certificates.client.key.clone(),
        )),
        ..stranger.clone()
    };
    let sasl = |mechanism, password: &str| Sasl {
        mechanism,
        username: certificates.user.to_owned(),
        password: Secret::new(password),
    };
    let right = certificates.password.as_str();

    let trusted = Security::Tls(known);
    assert_eq!(
        broker_count(ssl.clone(), trusted, PATIENCE).await.unwrap(),
        1
    );
    let untrusted = Security::Tls(stranger.clone());
    // These two find the connection closed, and no reason.
    let wait = Duration::from_millis(1_500);
    for stranger in [untrusted, Security::Plaintext] {
        let answer = broker_count(ssl.clone(), stranger, wait).await;
        assert!(answer.is_err(), "{answer:?}");
    }

    for mechanism in [
        Mechanism::Plain,
        Mechanism::ScramSha256,
        Mechanism::ScramSha512,
    ] {
        let good = Security::SaslTls(stranger.clone(), sasl(mechanism, right));
        let count = broker_count(sasl_ssl.clone(), good, PATIENCE).await;
        assert_eq!(count.unwrap(), 1, "{mechanism:?}");
        let bad = Security::SaslTls(stranger.clone(), sasl(mechanism, "wrong"));
        assert_locked_out(&sasl_ssl, &bad, "who has a wrong password").await;
    }
    let anybody = Security::SaslTls(Tls::default(), sasl(Mechanism::Plain, right));
    assert_locked_out(&sasl_ssl, &anybody, "who does not know the authority").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_when_the_owner_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(env!("CARGO_BIN_EXE_hold-stack"), folder.path().join("log"));
    let owner = launch.orphan(Orphan::IsKilled).spawn().unwrap();
    let mut line = String::new();
    let ready = || {
        assert!(owner.is_running(), "{}", owner.last_words());
        line = owner.log_tail(1);
        line.starts_with('/') && line.split(' ').count() == 3
    };
    until(ready);
    let mut words = line.split(' ');
    let data = Path::new(words.next().unwrap());
    let pids: Vec<u32> = words.map(|word| word.parse().unwrap()).collect();
    assert!(
        data.is_dir() && pids.iter().all(|pid| is_alive(*pid)),
        "{line}"
    );

    owner.kill9().await;
    // Reaped by init or by whoever adopts them, which takes a moment.
    until(|| !pids.iter().any(|pid| is_running(*pid)));
    until(|| !data.exists());
}

/// Alive and not merely waiting for its parent to notice that it is not.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
