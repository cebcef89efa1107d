//! Requests that lie, and a disk that is full, at a real gateway's door.

use std::io::Write;
use std::time::Duration;

use runtime::clock;
use schemas::access::Scope;
use schemas::control::{Definition, Limits, Tenant};
use schemas::ids::{Stream, TenantId};
use schemas::tier::Tier;
use serde_json::{Value, json};
use tests::http::{self, Answer};
use tests::{Installation, eventually, topic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BATCH: &str = "/api/v1/ingestion/events/batch";
const GATEWAY: &str = "pulse-gateway-0";
const MIB: usize = 1_024 * 1_024;

struct Door {
    installation: Installation,
    tenant: TenantId,
    key: String,
    address: String,
}

impl Door {
    async fn open(environment: &[(&str, &str)]) -> Self {
        let mut installation = Installation::start().await;
        let tenant = installation.tenant("acme", Limits::default(), &[]).await;
        let definition = Definition::Tenant(Tenant {
            tier: Tier::Enterprise,
            ..Tenant::new("acme")
        });
        installation.define(&tenant, "self", definition).await;
        let key = installation.key(&tenant, "sender", &[Scope::Ingest]).await;
        let address = installation.gateway("0", environment).await;
        Self {
            installation,
            tenant,
            key,
            address,
        }
    }

    async fn send(&self, encoding: &str, body: &[u8]) -> Answer {
        let headers = [
            ("x-api-key", self.key.as_str()),
            ("content-type", "application/json"),
            ("content-encoding", encoding),
        ];
        http::request(&self.address, "POST", BATCH, &headers, body)
            .await
            .unwrap()
    }

    /// Sends the beginning of a request and waits until the gateway has had enough; what it said,
    /// and how long it waited.
    async fn begin(&self, beginning: &str) -> (String, Duration) {
        let began = clock::monotonic();
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut heard = vec![];
        let end = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut heard));
        let ended = end.await.expect("the gateway hangs up");
        assert!(ended.is_ok() || !heard.is_empty(), "{ended:?}");
        (
            String::from_utf8_lossy(&heard).into_owned(),
            began.elapsed(),
        )
    }

    /// A figure of the process's memory, in bytes: `VmRSS`, or `VmHWM`, the most it ever was.
    fn memory(&self, name: &str) -> usize {
        let pid = self.installation.roles[GATEWAY].process.pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let number = line.split_whitespace().nth(1).unwrap();
        number.parse::<usize>().unwrap() * 1_024
    }
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let media_type = answer.header("content-type");
    assert_eq!(media_type, Some("application/problem+json"));
    assert_eq!(answer.json()["status"], status);
}

/// A gzip or zstd of a gibibyte of zeros, a mebibyte or so.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let zeros = vec![0; MIB];
    let mut zstd = zstd::Encoder::new(vec![], 1).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    let mut zlib = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::best());
    for _ in 0..1_024 {
        zstd.write_all(&zeros).unwrap();
        gzip.write_all(&zeros).unwrap();
        zlib.write_all(&zeros).unwrap();
    }
    vec![
        ("zstd", zstd.finish().unwrap()),
        ("gzip", gzip.finish().unwrap()),
        ("deflate", zlib.finish().unwrap()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_lies_is_refused_in_its_time_and_in_little_memory() {
    let door = Door::open(&[]).await;
    heads(&door).await;
    for (encoding, bomb) in bombs() {
        // Whatever the first one of its kind brings with it is no bomb's doing.
        let warm = door.send(encoding, b"x").await;
        is_problem(&warm, 400);
        let rest = door.memory("VmRSS");
        let pid = door.installation.roles[GATEWAY].process.pid();
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        is_problem(&door.send(encoding, &bomb).await, 413);
        let more = door.memory("VmHWM").saturating_sub(rest);
        println!(
            "{encoding}: {} KiB for {} KiB of a GiB",
            more / 1_024,
            bomb.len() / 1_024
        );
        assert!(more < 32 * MIB, "{encoding}: {more} bytes above {rest}");
    }
    let (head, body) = slow(&door).await;
    println!("a stalled body: {body:?}, a slow head: {head:?}");
    let Door {
        mut installation, ..
    } = door;
    installation.stop_all().await;
}

/// Heads that hyper cannot read are answered as every other error.
async fn heads(door: &Door) {
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1_000));
    for (said, statuses) in [
        ("\u{1}\u{2}\u{3}\r\n\r\n", &[400][..]),
        ("NONSENSE\r\n\r\n", &[400]),
        ("GET / HTTP/9.9\r\nhost: a\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nno colon here\r\n\r\n", &[400]),
        ("GET \u{7f} HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
            &[400],
        ),
        (&long, &[414, 431]),
        (&many, &[431]),
    ] {
        let answer = http::say(&door.address, said.as_bytes()).await.unwrap();
        assert!(statuses.contains(&answer.status), "{said:.40?}: {answer:?}");
        is_problem(&answer, answer.status);
    }
}

/// Whoever sends half a body or half a head is cut off; how long both took.
async fn slow(door: &Door) -> (Duration, Duration) {
    let key = &door.key;
    let body = format!(
        "POST {BATCH} HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-length: 100\r\n\
         connection: close\r\n\r\n["
    );
    let head = format!("POST {BATCH} HTTP/1.1\r\nhost: a\r\nx-api-");
    let (body, head) = tokio::join!(door.begin(&body), door.begin(&head));
    assert!(body.0.starts_with("HTTP/1.1 408 "), "{}", body.0);
    assert!(body.0.contains("application/problem+json"), "{}", body.0);
    assert!(body.1 < Duration::from_secs(60), "{:?}", body.1);
    assert!(
        head.0.is_empty() || head.0.starts_with("HTTP/1.1 408 "),
        "{}",
        head.0
    );
    assert!(head.1 < Duration::from_secs(60), "{:?}", head.1);
    (head.1, body.1)
}

/// A megabyte of events that nothing makes smaller.
fn large(request: usize, random: &mut fastrand::Rng) -> (Value, usize) {
    let events: Vec<Value> = (0..16)
        .map(|at| {
            let text: String = (0..60_000).map(|_| random.alphanumeric()).collect();
            json!({
                "event_id": format!("{request}-{at}"), "event_type": "custom_event",
                "timestamp": 1_767_323_045_000_i64, "source": {"service": "disk"},
                "payload": {"text": text},
            })
        })
        .collect();
    let count = events.len();
    (Value::from(events), count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_disk_log_is_full_says_so_lies_to_nobody_and_goes_on() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log").to_string_lossy().into_owned();
    let mut door = Door::open(&[
        ("PULSE_INGEST_TIMEOUT_MS", "1000"),
        ("PULSE_DISK_LOG", &log),
        // The least that there may be: four segments of 16 MiB.
        ("PULSE_DISK_LOG_BYTES_MAX", "67108864"),
    ])
    .await;
    door.installation.stack.kafka.kill9().await;
    let (mut stored, mut refused) = (0, 0);
    for request in 0..200 {
        let (body, count) = large(request, &mut random);
        let answer = http::post(&door.address, BATCH, &door.key, &body)
            .await
            .unwrap();
        match answer.status {
            202 => stored += count,
            503 => {
                assert!(answer.header("retry-after").is_some());
                refused += 1;
            }
            other => panic!("{other}: {}", answer.text()),
        }
        if refused == 3 {
            break;
        }
    }
    assert!(
        stored > 0 && refused == 3,
        "{stored} stored, {refused} refused"
    );
    assert!(door.installation.roles[GATEWAY].process.is_running());
    println!("{stored} events stored before it was full");
    door.installation.stack.kafka.restart().await.unwrap();
    eventually("there is room again", async || {
        let body = json!([{"event_type": "custom_event", "source": {"service": "x"}}]);
        let answer = http::post(&door.address, BATCH, &door.key, &body).await?;
        match answer.status {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    // What was told to be stored is there, and of what was refused nothing is.
    let events = door.tenant.topic(Stream::Events).to_string();
    let kafka = door.installation.kafka();
    let records = topic::read(&kafka, &events);
    let mut ids = std::collections::BTreeSet::new();
    for record in &records {
        let event = schemas::event::EventView::decode(record.value.as_deref().unwrap()).unwrap();
        if event.service.as_str() == "disk" {
            ids.insert(event.event_id.as_str().to_owned());
        }
    }
    assert_eq!(ids.len(), stored);
    door.installation.stop_all().await;
}
