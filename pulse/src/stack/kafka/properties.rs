//! The broker's `server.properties`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::listeners::Certificates;
use super::{KafkaError, KafkaOptions, Ports, Purpose, fault};

/// What every broker of ours has, and why.
const ALWAYS: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("controller.listener.names", "CONTROLLER"),
    // One node: nothing can be replicated, and a transaction needs no more than this one.
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("offsets.topic.num.partitions", "8"),
    ("transaction.state.log.num.partitions", "8"),
    // Topics are made with their settings or not at all.
    ("auto.create.topics.enable", "false"),
    // Groups: members join at once and are missed soon.
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.min.heartbeat.interval.ms", "200"),
    // A transaction whose producer is gone is aborted soon after its timeout: until then it holds
    // up every reader of committed records. The default looks every 10 s. Where a broker begins
    // while an earlier session lasts (see `session`), the first look must come behind its end:
    // until then the broker cannot mark what it aborts, and then it forgets the marks.
    (
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "6000",
    ),
    // A broker that is frozen or lost is missed after that; the default is 9 s.
    ("broker.session.timeout.ms", "3000"),
    ("broker.heartbeat.interval.ms", "500"),
    // Two cores, few clients.
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
    // Memory that the log cleaner takes at the start; the default is 128 MiB.
    ("log.cleaner.dedupe.buffer.size", "33554432"),
];

/// What tests have on top: what a broker does in the background happens while they look.
const IN_TESTS: &[(&str, &str)] = &[
    ("log.cleaner.backoff.ms", "200"),
    ("log.cleaner.min.cleanable.ratio", "0.01"),
    ("log.initial.task.delay.ms", "500"),
    ("log.retention.check.interval.ms", "1000"),
    ("log.segment.delete.delay.ms", "1000"),
];

/// Where the broker's settings are.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("server.properties")
}

/// Where the broker's topics are.
pub(super) fn data(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// Where those of its controller alone are.
pub(super) fn controller_path(folder: &Path) -> PathBuf {
    folder.join("controller.properties")
}

/// Writes the settings of the broker's controller without the broker, which ends a session that
/// nobody holds almost at once.
pub(super) fn write_controller(options: &KafkaOptions, ports: &Ports) -> Result<(), KafkaError> {
    let controller = ports.controller.address();
    let data = escaped(&data(&options.folder).to_string_lossy());
    let text = format!(
        "process.roles=controller\n\
         node.id=1\n\
         log.dirs={data}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.bootstrap.servers={controller}\n\
         listeners=CONTROLLER://{controller}\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT\n\
         broker.session.timeout.ms=200\n\
         broker.heartbeat.interval.ms=100\n\
         metadata.max.idle.interval.ms=50\n"
    );
    let path = controller_path(&options.folder);
    std::fs::write(&path, text).map_err(fault(&path))
}

/// Writes the broker's settings, whose ports may differ from those of its last run.
pub(super) fn write(
    options: &KafkaOptions,
    ports: &Ports,
    secured: Option<&Certificates>,
) -> Result<(), KafkaError> {
    let path = path(&options.folder);
    std::fs::write(&path, text(options, ports, secured)).map_err(fault(&path))
}

fn text(options: &KafkaOptions, ports: &Ports, secured: Option<&Certificates>) -> String {
    let controller = ports.controller.address();
    let mut clients = format!("PLAINTEXT://{}", ports.clients.address());
    let mut protocols = String::from("CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT");
    for (name, port) in [("SSL", &ports.ssl), ("SASL_SSL", &ports.sasl_ssl)] {
        if let Some(port) = port {
            clients.push_str(&format!(",{name}://{}", port.address()));
            protocols.push_str(&format!(",{name}:{name}"));
        }
    }
    let mut text = String::new();
    let mut set = |name: &str, value: &str| {
        writeln!(text, "{name}={}", escaped(value)).expect("a String takes all that is written");
    };
    for (name, value) in ALWAYS {
        set(name, value);
    }
    if options.purpose == Purpose::Test {
        for (name, value) in IN_TESTS {
            set(name, value);
        }
    }
    set("log.dirs", &data(&options.folder).to_string_lossy());
    set("controller.quorum.bootstrap.servers", &controller);
    set("listeners", &format!("{clients},CONTROLLER://{controller}"));
    set("advertised.listeners", &clients);
    set("listener.security.protocol.map", &protocols);
    for (name, value) in secured.map(Certificates::properties).into_iter().flatten() {
        set(name, &value);
    }
    // Of two lines with one name Java takes the last.
    for (name, value) in &options.properties {
        set(name, value);
    }
    text
}

/// A value in a properties file: a backslash there begins an escape.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_lines_come_last_and_ports_are_where_clients_look() {
        let options = KafkaOptions::test("/data").property("message.max.bytes", 10_000_000);
        let ports = Ports::claim(&options).unwrap();
        let text = text(&options, &ports, None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.last(), Some(&"message.max.bytes=10000000"));
        let address = ports.clients.address();
        assert!(lines.contains(&format!("advertised.listeners=PLAINTEXT://{address}").as_str()));
        assert!(lines.contains(&"log.cleaner.backoff.ms=200"));
        assert!(!text.contains("SSL"));
    }

    #[test]
    fn no_transaction_is_timed_out_before_the_earlier_session_has_ended() {
        let of = |wanted: &str| {
            let found = ALWAYS.iter().find(|(name, _)| *name == wanted);
            found.unwrap().1.parse::<u32>().unwrap()
        };
        let look = "transaction.abort.timed.out.transaction.cleanup.interval.ms";
        assert!(of(look) >= 2 * of("broker.session.timeout.ms"));
    }

    #[test]
    fn each_line_is_said_once() {
        let options = KafkaOptions::test("/data");
        let text = text(&options, &Ports::claim(&options).unwrap(), None);
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
