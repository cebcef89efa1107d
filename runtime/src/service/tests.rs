//! A process from its settings to its drain.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::health::Condition;
use crate::telemetry::Metric;

struct Nothing;

impl Settings for Nothing {
    fn read(_: &mut Environment) -> Option<Self> {
        Some(Self)
    }
}

fn process(pairs: &[(&str, &str)]) -> Result<ProcessConfig, ConfigError> {
    read::<Nothing>(Environment::of(pairs.iter().copied())).map(|(process, _)| process)
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_port_tells_the_truth() {
    let (health, metrics) = (Health::default(), Metrics::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(port::serve(listener, health.clone(), metrics.clone()));
    health.register("kafka");
    metrics
        .counter(&Metric {
            name: "pulse_seen_total",
            doc: "Things seen.",
        })
        .inc();

    assert!(
        get(address, "/health/live")
            .await
            .starts_with("HTTP/1.1 200")
    );
    let answer = get(address, "/health/ready").await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("starting"),
        "{answer}"
    );
    health.set("kafka", Condition::Ready);
    assert!(
        get(address, "/health/ready")
            .await
            .starts_with("HTTP/1.1 200")
    );
    let answer = get(address, "/metrics").await;
    assert!(
        answer.contains("pulse_seen_total 1") && answer.contains("openmetrics"),
        "{answer}"
    );
    served.abort();
}

#[tokio::test]
async fn the_port_is_there_for_a_scrape_whoever_holds_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = port::serve(listener, Health::default(), Metrics::default());
    let served = tokio::spawn(served);
    let mut held = vec![];
    for _ in 0..2 * port::BOUNDS.connections_max {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(get(address, "/metrics").await.starts_with("HTTP/1.1 200"));
    served.abort();
}

#[tokio::test]
async fn work_is_drained_and_cut_off_at_the_deadline() {
    let config = |drain| process(&[("PULSE_LISTEN", "127.0.0.1:0"), ("PULSE_DRAIN_MS", drain)]);
    let drained = supervise(
        "test",
        config("60000").unwrap(),
        Nothing,
        |_, service| async move {
            service.shutdown.request();
            service.shutdown.requested().await;
            Ok(())
        },
    );
    drained.await.unwrap();
    let stuck = supervise(
        "test",
        config("100").unwrap(),
        Nothing,
        |_, service| async move {
            service.shutdown.request();
            std::future::pending().await
        },
    );
    assert!(
        stuck
            .await
            .unwrap_err()
            .to_string()
            .contains("did not end within")
    );
}

#[tokio::test]
async fn failures_and_panics_of_the_work_are_errors() {
    let config = || process(&[("PULSE_LISTEN", "127.0.0.1:0")]).unwrap();
    let failed = supervise("test", config(), Nothing, |_, _| async {
        anyhow::bail!("no luck")
    });
    assert_eq!(failed.await.unwrap_err().to_string(), "no luck");
    let panicked = supervise("test", config(), Nothing, |_, _| async {
        panic!("no luck")
    });
    assert!(panicked.await.unwrap_err().to_string().contains("abruptly"));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = process(&[("PULSE_LISTEN", &address)]).unwrap();
    let error = supervise("test", config, Nothing, |_, _| async { Ok(()) })
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
}

#[test]
fn settings_of_the_process() {
    assert!(process(&[]).is_ok());
    assert!(process(&[("PULSE_INSTANCE", "blue-1.a")]).is_ok());
    for bad in [
        ("PULSE_INSTANCE", "a/b"),
        ("PULSE_LISTEN", "9101"),
        ("PULSE_DRAIN_MS", "0"),
    ] {
        let faults = process(&[bad]).unwrap_err().faults;
        assert_eq!((faults.len(), faults[0].name), (1, bad.0));
    }
}
