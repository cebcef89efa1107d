//! What a tenant's principal can do on a broker with an authorizer, and what it cannot.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use pulse::stack::kafka::Listeners;
use pulse::stack::{Cache, KafkaOptions, fetch};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use runtime::clock::Deadline;
use runtime::config::{Environment, Settings};
use runtime::kafka::admin::{Acl, Authorization, Operation, Resource, TopicSpec, authorization};
use runtime::kafka::{
    Admin, GroupConsumer, GroupSettings, Isolation, KafkaConfig, Outgoing, Partition, Publisher,
    PublisherSettings, Reader, Start, Transactional, TransactionalSettings,
};
use schemas::control::Limits;
use schemas::ids::{CONTROL_TOPIC, Stream, TenantId};
use tests::registry::Registry;
use tests::{Installation, PATIENCE, eventually, python, tables};

use super::{repository, with_confluent_kafka};

/// Whoever has no rights of its own.
const USERS: [&str; 3] = ["acme", "beta", "reader"];
const WAIT: Duration = Duration::from_secs(10);

fn password(user: &str) -> String {
    format!("the password of {user}")
}

/// A broker with SASL and an authorizer, to which our own processes are one of its super users.
fn guarded(options: KafkaOptions) -> KafkaOptions {
    let users: String = USERS
        .iter()
        .map(|user| format!(" user_{user}=\"{}\"", password(user)))
        .collect();
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    KafkaOptions {
        listeners: Listeners::PlainAndSecured,
        ..options
    }
    .property(
        "authorizer.class.name",
        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    )
    .property("super.users", "User:ANONYMOUS")
    .property("quota.window.num", 2)
    .property(
        "listener.name.sasl_ssl.plain.sasl.jaas.config",
        format!("{module}{users};"),
    )
}

/// The settings of a client that is this user, by Kafka's names and by ours.
fn of_user(installation: &Installation, user: &str) -> KafkaConfig {
    let secured = installation.stack.kafka.secured().unwrap();
    let authority = secured.certificates.authority.to_string_lossy();
    let password = password(user);
    let mut env = Environment::of([
        ("PULSE_KAFKA_BROKERS", secured.sasl_ssl.as_str()),
        ("PULSE_KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
        ("PULSE_KAFKA_SASL_MECHANISM", "PLAIN"),
        ("PULSE_KAFKA_CA", &authority),
        ("PULSE_KAFKA_USERNAME", user),
        ("PULSE_KAFKA_PASSWORD", &password),
    ]);
    let config = KafkaConfig::read(&mut env);
    env.finish(config).unwrap()
}

fn publisher(kafka: &KafkaConfig) -> Publisher {
    let settings = PublisherSettings {
        timeout: WAIT,
        ..PublisherSettings::new("test")
    };
    Publisher::new(kafka, &settings).unwrap()
}

/// The topics to which a client's records get.
async fn writable(kafka: &KafkaConfig, topics: &BTreeSet<String>) -> BTreeSet<String> {
    let records: Vec<_> = topics
        .iter()
        .map(|topic| Outgoing::keyed(topic, b"key", b"value"))
        .collect();
    let undelivered = publisher(kafka).publish(&records).await;
    let mut left = topics.clone();
    for record in undelivered {
        left.remove(records[record.index].topic);
    }
    left
}

/// The topics whose first partition a client can read.
fn readable(kafka: &KafkaConfig, topics: &BTreeSet<String>) -> BTreeSet<String> {
    let admin = Admin::new(kafka).unwrap();
    let is_readable = |topic: &&String| {
        // Who may not even ask where a topic lies does not get to reading it.
        if let Err(error) = admin.partition_count(topic, WAIT) {
            let text = error.to_string();
            assert!(text.contains("TopicAuthorizationFailed"), "{topic}: {text}");
            return false;
        }
        let span = (Partition::new(topic, 0), Start::At(0));
        let reader = Reader::open(kafka, "test", Isolation::Uncommitted, &[span]).unwrap();
        let deadline = Deadline::after(PATIENCE);
        loop {
            match reader.next(0) {
                Ok(batch) if !batch.is_empty() => return true,
                Ok(_) => assert!(!deadline.has_passed(), "{topic}: no record and no refusal"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("TopicAuthorizationFailed"), "{topic}: {text}");
                    return false;
                }
            }
            reader.wait(Duration::from_millis(50));
        }
    };
    topics.iter().filter(is_readable).cloned().collect()
}

fn topics_of(tenants: &[&TenantId]) -> BTreeSet<String> {
    let streams = |tenant: &&TenantId| {
        let topic = |stream: &Stream| tenant.topic(*stream).to_string();
        Stream::ALL.iter().map(topic).collect::<Vec<_>>()
    };
    tenants.iter().flat_map(streams).collect()
}

/// Every topic, with a record in each one's first partition.
async fn filled(installation: &Installation, tenants: &[&TenantId]) -> BTreeSet<String> {
    let mut topics = topics_of(tenants);
    topics.insert(CONTROL_TOPIC.to_owned());
    let records: Vec<_> = topics
        .iter()
        .map(|topic| Outgoing::keyed(topic, b"key", b"{}").in_partition(0))
        .collect();
    installation.publish_records(&records).await;
    topics
}

fn acl(installation: &Installation, tenant: &str, user: &str, more: &[&str]) -> String {
    let principal = format!("User:{user}");
    let command = ["tenant", "acl", tenant, "--principal", &principal];
    installation.pulse(&[&command, more].concat())
}

/// One of Kafka's own tools, run as our own processes are.
async fn kafka_tool(class: &str, arguments: &[&str]) -> String {
    let cache = Cache::of_user().unwrap();
    let lib = fetch::kafka(&cache, &|text| eprintln!("{text}"))
        .await
        .unwrap();
    let output = Command::new("java")
        .arg("-cp")
        .arg(lib.join("*"))
        .arg(class)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{class} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_writes_its_tenants_events_and_nothing_else() {
    let installation = Installation::start_with(guarded).await;
    let kafka = installation.kafka();
    assert_eq!(
        authorization(&kafka).await.unwrap(),
        Authorization::Enforced
    );
    let mut tenants = vec![];
    for id in ["acme", "acme-2", "beta"] {
        tenants.push(installation.tenant(id, Limits::default(), &[]).await);
    }
    let [acme, acme_2, beta] = &tenants[..] else {
        unreachable!("there are three")
    };
    let all = filled(&installation, &[acme, acme_2, beta]).await;
    let client = of_user(&installation, "acme");

    // Nothing without a right, and printing gives none.
    let printed = acl(&installation, "acme", "acme", &[]);
    assert!(
        printed.contains("kafka-acls.sh --bootstrap-server"),
        "{printed}"
    );
    assert_eq!(writable(&client, &all).await, BTreeSet::new());

    let given = acl(&installation, "acme", "acme", &["--apply"]);
    let expect = "given: User:acme may write the topic pulse.acme.events\n";
    assert!(given.starts_with(expect), "{given}");
    let own = BTreeSet::from(["pulse.acme.events".to_owned()]);
    // A right is in force once the broker has read it from its own log.
    eventually("the right is in force", async || {
        match writable(&client, &own).await == own {
            true => Ok(()),
            false => Err("refused"),
        }
    })
    .await;
    assert_eq!(writable(&client, &all).await, own);
    assert_eq!(readable(&client, &all), BTreeSet::new());
    let admin = Admin::new(&client).unwrap();
    let listed: BTreeSet<_> = admin.topics(WAIT).unwrap().into_keys().collect();
    assert_eq!(listed, own, "no other topic is even listed");
    assert_eq!(
        writable(&of_user(&installation, "beta"), &all).await,
        BTreeSet::new()
    );
    nothing_else(&client).await;
    its_own_topic_stays_as_it_is(&installation).await;
}

/// Whoever may write a topic may not change it: how long it keeps what is there, nor how many
/// partitions it has, at a change of which its readers would halt.
async fn its_own_topic_stays_as_it_is(installation: &Installation) {
    let secured = installation.stack.kafka.secured().unwrap();
    let topic = "pulse.acme.events";
    let client: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &secured.sasl_ssl)
        .set("security.protocol", "SASL_SSL")
        .set("sasl.mechanism", "PLAIN")
        .set("sasl.username", "acme")
        .set("sasl.password", password("acme"))
        .set(
            "ssl.ca.location",
            secured.certificates.authority.to_str().unwrap(),
        )
        .create()
        .unwrap();
    let options = AdminOptions::new().operation_timeout(Some(WAIT));
    let more = [NewPartitions::new(topic, 9)];
    let made = client.create_partitions(&more, &options).await.unwrap();
    let refused = RDKafkaErrorCode::TopicAuthorizationFailed;
    assert_eq!(made, [Err((topic.to_owned(), refused))]);
    let shorter = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("retention.ms", "1000");
    // The client tells nothing of what the brokers think of each: they are asked what holds.
    client.alter_configs([&shorter], &options).await.unwrap();
    let ours: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", installation.stack.kafka.brokers())
        .create()
        .unwrap();
    let topics = [ResourceSpecifier::Topic(topic)];
    let told = ours.describe_configs(&topics, &options).await.unwrap();
    let config = told.into_iter().next().unwrap().unwrap();
    let retention = config.get("retention.ms").unwrap().value.clone();
    assert_ne!(retention.unwrap(), "1000");
}

/// Nothing is made, deleted, given or taken over.
async fn nothing_else(client: &KafkaConfig) {
    let admin = Admin::new(client).unwrap();
    let spec = TopicSpec::new("pulse.acme.more".into(), 1, client);
    let made = admin.ensure(&[spec]).await.unwrap_err().to_string();
    assert!(made.contains("AuthorizationFailed"), "{made}");
    let deleted = admin.delete_topics(&["pulse.acme.events"]).await;
    let deleted = deleted.unwrap_err().to_string();
    assert!(deleted.contains("AuthorizationFailed"), "{deleted}");
    let acl = Acl {
        principal: "User:acme".into(),
        resource: Resource::TopicsFrom("pulse.".into()),
        operation: Operation::Write,
    };
    let given = admin.give(&[acl], WAIT).unwrap_err().to_string();
    assert!(given.contains("ClusterAuthorizationFailed"), "{given}");
    // It may not ask either, and hears that somebody guards the brokers.
    assert_eq!(
        authorization(client).await.unwrap(),
        Authorization::Enforced
    );
    let settings = TransactionalSettings::new("pulse-metrics-0", Duration::from_secs(5));
    let taken = Transactional::open(client, settings).err().unwrap();
    let taken = taken.to_string();
    assert!(
        taken.contains("TransactionalIdAuthorizationFailed"),
        "{taken}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_what_begins_with_its_tenants_name_and_a_dot() {
    let installation = Installation::start_with(guarded).await;
    let mut tenants = vec![];
    for id in ["acme", "acme-2", "beta"] {
        tenants.push(installation.tenant(id, Limits::default(), &[]).await);
    }
    let all = filled(&installation, &[&tenants[0], &tenants[1], &tenants[2]]).await;
    acl(&installation, "acme", "reader", &["--read", "--apply"]);
    let client = of_user(&installation, "reader");
    let own = topics_of(&[&tenants[0]]);
    eventually("the rights are in force", async || {
        let listed = Admin::new(&client).unwrap().topics(WAIT);
        let listed: BTreeSet<_> = listed.unwrap().into_keys().collect();
        match listed == own {
            true => Ok(()),
            false => Err(format!("{listed:?}")),
        }
    })
    .await;
    assert_eq!(readable(&client, &all), own);
    let events = BTreeSet::from(["pulse.acme.events".to_owned()]);
    assert_eq!(writable(&client, &all).await, events);

    let joins = |group: &str| {
        let settings = GroupSettings::new(group, "a", Duration::from_secs(10));
        let mut member = GroupConsumer::join(&client, settings).unwrap();
        member.subscribe(events.clone()).unwrap();
        let deadline = Deadline::after(PATIENCE);
        while member.owned().count() == 0 {
            match member.poll() {
                Ok(_) => assert!(!deadline.has_passed(), "{group}: neither in nor refused"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("GroupAuthorizationFailed"), "{group}: {text}");
                    return false;
                }
            }
            member.wait(Duration::from_millis(50));
        }
        true
    };
    assert!(joins("acme.reports"));
    for group in ["acme", "acme-2.reports", "beta.reports", "pulse-metrics"] {
        assert!(!joins(group), "{group}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_quota_holds_a_principal_back() {
    let installation = Installation::start_with(guarded).await;
    installation.tenant("acme", Limits::default(), &[]).await;
    let more = ["--apply", "--bytes-per-second", "200000"];
    let printed = acl(&installation, "acme", "acme", &more);
    let command = printed
        .lines()
        .find(|line| line.starts_with("kafka-configs.sh"));
    let arguments: Vec<&str> = command.unwrap().split(' ').skip(1).collect();
    kafka_tool("kafka.admin.ConfigCommand", &arguments).await;
    let brokers = installation.stack.kafka.brokers();
    let user = ["--entity-type", "users", "--entity-name", "acme"];
    let describe = [&["--bootstrap-server", &brokers, "--describe"], &user[..]].concat();
    let shown = kafka_tool("kafka.admin.ConfigCommand", &describe).await;
    assert!(shown.contains("producer_byte_rate=200000.0"), "{shown}");

    // Two seconds' worth at once, then the rest at that rate: 2 MB take 8 s and more.
    let client = of_user(&installation, "acme");
    let mut random = fastrand::Rng::with_seed(7);
    let value: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(100_000)
        .collect();
    let publisher = publisher(&client);
    let began = runtime::clock::monotonic();
    for _ in 0..20 {
        let record = Outgoing::keyed("pulse.acme.events", b"key", &value);
        eventually("the record is taken", async || {
            match publisher.publish(&[record]).await.pop() {
                None => Ok(()),
                Some(undelivered) => Err(undelivered.to_string()),
            }
        })
        .await;
    }
    let took = began.elapsed();
    assert!(
        took > Duration::from_secs(4),
        "2 MB at 200 kB/s took {took:?}"
    );
}

/// The example as a stranger runs it: SASL, rights, and from there to ClickHouse.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_works_behind_the_authorizer() {
    let python = with_confluent_kafka().await;
    let registry = Registry::start().await;
    let mut installation = Installation::start_with(guarded).await;
    let tenant = installation.tenant("acme", Limits::default(), &[]).await;
    let said = installation.pulse(&["tenant", "direct", "acme", "on"]);
    assert!(
        said.contains("producers of acme write straight to Kafka (version 2)"),
        "{said}"
    );
    acl(&installation, "acme", "acme", &["--apply"]);
    installation.role("pulse-metrics", "0", &[]).await;
    installation.role("pulse-clickhouse", "0", &[]).await;

    let secured = installation.stack.kafka.secured().unwrap();
    let (brokers, url) = (secured.sasl_ssl.clone(), registry.url());
    let authority = secured.certificates.authority.to_string_lossy();
    let settings = [
        "security.protocol=SASL_SSL".to_owned(),
        "sasl.mechanism=PLAIN".to_owned(),
        "sasl.username=acme".to_owned(),
        format!("sasl.password={}", password("acme")),
        format!("ssl.ca.location={authority}"),
    ];
    let mut arguments = vec![brokers.as_str(), url.as_str(), "pulse.acme.events"];
    arguments.extend(settings.iter().map(String::as_str));
    let script = repository("docs/examples/producer.py");
    python::run_script(&python, &script, &arguments);
    tables::until_count(&installation, &tenant, "events", 1).await;
    tables::until_count(&installation, &tenant, "dead_letters", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_where_no_authorizer_is() {
    let installation = Installation::start().await;
    let kafka = installation.kafka();
    assert_eq!(authorization(&kafka).await.unwrap(), Authorization::Absent);
    let tenant = installation.tenant("acme", Limits::default(), &[]).await;
    let refused = installation.pulse_ended(&["tenant", "direct", "acme", "on"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(
        said.contains("no authorizer") && said.contains("authorizer.class.name"),
        "{said}"
    );
    let command = [
        "tenant",
        "acl",
        "acme",
        "--principal",
        "User:acme",
        "--apply",
    ];
    let refused = installation.pulse_ended(&command);
    assert!(!refused.status.success(), "there are no rights to give");

    let doctor = async |expect: &str| {
        let ended = installation.pulse_ended(&["doctor", "--json"]);
        let found: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
        let found = found.as_array().unwrap().iter();
        let found = found
            .clone()
            .find(|found| found["check"] == "direct producers");
        assert_eq!(found.unwrap()["level"], expect, "{found:?}");
    };
    doctor("ok").await;
    // Somebody has switched it on before the brokers lost their authorizer.
    installation.let_producers_in(&tenant, true).await;
    doctor("error").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorizer_that_lets_everybody_in_is_none() {
    let open = |options| guarded(options).property("allow.everyone.if.no.acl.found", true);
    let installation = Installation::start_with(open).await;
    let kafka = installation.kafka();
    assert_eq!(authorization(&kafka).await.unwrap(), Authorization::Open);
    installation.tenant("acme", Limits::default(), &[]).await;
    let refused = installation.pulse_ended(&["tenant", "direct", "acme", "on"]);
    assert!(!refused.status.success());
}
