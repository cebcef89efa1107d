//! The simulator over real sockets, with a client that knows nothing but websockets.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;

/// More than any of these steps takes.
const WAIT: Duration = Duration::from_secs(60);

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    async fn subscribe(simulator: &Simulator, feed: Exchange, products: &[String]) -> Self {
        let (socket, _) = connect_async(simulator.url(feed)).await.unwrap();
        let mut client = Self { socket };
        let protocol = coinbase::protocol(feed);
        for request in protocol.requests(&Wanted::default(), &wanted(products)) {
            client.socket.send(Message::text(request)).await.unwrap();
        }
        client
    }

    /// Text frames until the simulator has served everything, or until the connection ends.
    async fn read(&mut self, simulator: &Simulator) -> (Vec<String>, Ended) {
        let mut frames = vec![];
        let ended = self.follow(simulator, |frame| {
            frames.push(frame.to_owned());
            vec![]
        });
        let ended = ended.await;
        (frames, ended)
    }

    /// Hands each text frame on and sends what comes back, for as long as [`Self::read`] reads.
    async fn follow(
        &mut self,
        simulator: &Simulator,
        mut each: impl FnMut(&str) -> Vec<String>,
    ) -> Ended {
        let reading = async {
            let mut is_finished = false;
            loop {
                let next = tokio::select! {
                    next = self.socket.next() => next,
                    () = simulator.finished(), if !is_finished => {
                        // The answer comes behind all that was sent before it.
                        is_finished = true;
                        if let Err(error) = self.socket.send(Message::Ping("end".into())).await {
                            return Ended::Broken(error);
                        }
                        continue;
                    }
                };
                match next {
                    Some(Ok(Message::Text(text))) => {
                        for request in each(&text) {
                            if let Err(error) = self.socket.send(Message::text(request)).await {
                                return Ended::Broken(error);
                            }
                        }
                    }
                    Some(Ok(Message::Pong(word))) if word == "end" => return Ended::Finished,
                    Some(Ok(Message::Close(_))) | None => return Ended::Closed,
                    Some(Err(error)) => return Ended::Broken(error),
                    Some(Ok(_)) => {}
                }
            }
        };
        let ended = tokio::time::timeout(WAIT, reading).await;
        ended.expect("the simulator serves in time")
    }
}

#[derive(Debug)]
enum Ended {
    Finished,
    Closed,
    Broken(Error),
}

async fn start(source: Source, faults: FaultOptions) -> Simulator {
    let options = SimulatorOptions {
        faults,
        ..SimulatorOptions::new(source, Speed::Max)
    };
    Simulator::start(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_feeds_serve_the_truth_to_the_end() {
    let options = market(21, 60);
    let simulator = start(Source::Market(options.clone()), FaultOptions::default()).await;
    assert!(!simulator.status().finished);
    let mut flat = Client::subscribe(&simulator, FEEDS[0], &options.products).await;
    let mut advanced = Client::subscribe(&simulator, FEEDS[1], &options.products).await;
    let served = tokio::join!(flat.read(&simulator), advanced.read(&simulator));
    let truth = true_trades(&simulator.truth().trades());
    assert!(truth.len() > 500);
    for (feed, (frames, ended)) in FEEDS.into_iter().zip([served.0, served.1]) {
        assert!(matches!(ended, Ended::Finished), "{ended:?}");
        let (out, unreadable_count) = translate(&options, feed, &frames);
        assert_eq!(unreadable_count, 0);
        let received = received(&out);
        // Who subscribed second may have missed the first instants, and nothing later.
        for product in &options.products {
            let of_product = |t: &&Traded| t.0 == *product;
            let first = received.iter().find(of_product).expect("trades").1;
            let offered = truth.iter().filter(of_product).filter(|t| t.1 >= first);
            assert!(received.iter().filter(of_product).eq(offered), "{feed:?}");
        }
        assert_eq!(named(&out), BTreeSet::new());
    }
    assert_eq!(simulator.status().client_count, 2);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_lose_what_gaps_then_name() {
    for feed in FEEDS {
        let options = market(22, 240);
        let faults = FaultOptions {
            drop: 0.01,
            reorder: 0.01,
            // Longer than what a snapshot brings again.
            outage: Duration::from_secs(20),
            disconnect_after: vec![500, 1_500, 2_500],
            ..FaultOptions::default()
        };
        let simulator = start(Source::Market(options.clone()), faults).await;
        let name = FeedName {
            exchange: "coinbase",
            feed: "test",
        };
        let mut translator = Translator::new(coinbase::protocol(feed), name);
        let mut out = vec![];
        translator.want(wanted(&options.products), now(), &mut out);
        for connection in 0.. {
            let mut client = Client::subscribe(&simulator, feed, &options.products).await;
            translator.connected(now());
            let following = client.follow(&simulator, |frame| {
                translator.translate(frame, now(), &mut out).unwrap();
                translator.requests_again(now())
            });
            let ended = following.await;
            translator.disconnected(now(), &mut out);
            match ended {
                Ended::Finished => {
                    assert_eq!(connection, 3);
                    break;
                }
                ended => assert!(connection < 3, "{ended:?}"),
            }
        }
        translator.finish(now(), &mut out);
        let (received, truth) = (received(&out), true_trades(&simulator.truth().trades()));
        let lost: BTreeSet<_> = truth
            .difference(&received)
            .map(|trade| (trade.0.clone(), trade.1))
            .collect();
        assert!(!simulator.truth().withheld().is_empty());
        assert!(received.is_subset(&truth));
        assert!(!lost.is_empty());
        assert_eq!(named(&out), lost, "{feed:?}");
        simulator.stop().await;
    }
}

/// What happens while a client is away happens before it is back, and to those who stayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_passes_before_the_client_is_served_again() {
    let options = market(27, 300);
    let outage = Duration::from_secs(60);
    let faults = FaultOptions {
        disconnect_after: vec![500],
        outage,
        ..FaultOptions::default()
    };
    let simulator = start(Source::Market(options.clone()), faults).await;
    let time_of = |frame: &String| {
        let frame: serde_json::Value = serde_json::from_str(frame).unwrap();
        frame["timestamp"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    let mut client = Client::subscribe(&simulator, FEEDS[1], &options.products).await;
    let (before, ended) = client.read(&simulator).await;
    assert!(!matches!(ended, Ended::Finished), "{ended:?}");
    let mut client = Client::subscribe(&simulator, FEEDS[1], &options.products).await;
    let (after, ended) = client.read(&simulator).await;
    assert!(matches!(ended, Ended::Finished), "{ended:?}");
    let away = time_of(&after[0]).duration_since(time_of(before.last().unwrap()));
    let least = outage - Duration::from_secs(1);
    assert!(away.unsigned_abs() >= least, "{away:?}");
    assert!(after[0].contains(r#""type":"snapshot""#), "{}", after[0]);
    simulator.stop().await;
}

/// Its answer finds nobody, and whoever waits for the end does not wait for it.
#[tokio::test]
async fn a_request_of_a_client_that_left_holds_nothing_up() {
    let options = market(28, 1);
    let shared = Arc::new(Shared::new(Truth::default(), FaultOptions::default(), 64));
    let names = options.products.iter().map(|name| name.as_str().into());
    shared.truth.name(names.collect());
    let (requests, inbox) = mpsc::channel(8);
    let waiting = Waiting {
        options,
        speed: Speed::Max,
        requests: inbox,
        shared: Arc::clone(&shared),
    };
    let task = tokio::spawn(waiting.run());
    let request = |client, to_client| driver::Request {
        client,
        to_client,
        asked: Asked {
            subscribe: true,
            channels: vec![(Chan::Trades, [0].into())],
            unknown: vec![],
        },
    };
    let (to_gone, from_gone) = mpsc::channel(1);
    drop(from_gone);
    requests.send(request(1, to_gone)).await.unwrap();
    let (to_client, mut from_market) = mpsc::channel(64);
    shared.subscribed(2);
    requests.send(request(2, to_client)).await.unwrap();
    while !matches!(from_market.recv().await.unwrap(), ToClient::End) {}
    shared.served(2);
    assert!(shared.status().finished);
    task.abort();
}

fn now() -> EventTime {
    EventTime::from_us(clock::now_us())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_how_far_it_is() {
    let options = market(23, 5);
    let simulator = start(Source::Market(options.clone()), FaultOptions::default()).await;
    let ask = || async {
        let mut stream = TcpStream::connect(simulator.address()).await.unwrap();
        let request = b"GET /status HTTP/1.1\r\nhost: here\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        serde_json::from_str::<serde_json::Value>(body).unwrap()
    };
    assert_eq!(ask().await["finished"], false);
    let mut client = Client::subscribe(&simulator, FEEDS[0], &options.products).await;
    let (frames, _) = client.read(&simulator).await;
    let status = ask().await;
    assert_eq!(status["finished"], true);
    assert!(status["frame_count"].as_u64() >= Some(frames.len() as u64));
    let error = connect_async(format!("ws://{}/nowhere", simulator.address())).await;
    assert!(matches!(error, Err(Error::Http(answer)) if answer.status() == 404));
    simulator.stop().await;
}

/// A small recording in a file of the test's own, compressed or not.
fn recording(count: usize, is_compressed: bool) -> (tempfile::TempDir, ReplayOptions, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (texts, _) = serve(&market(24, 600), FEEDS[1], FaultOptions::default());
    let texts: Vec<_> = texts.into_iter().take(count).collect();
    let mut lines = String::new();
    for (at, text) in texts.iter().enumerate() {
        let line = serde_json::json!({"at": 1_786_309_548.5 + at as f64, "frame": text});
        lines.push_str(&format!("{line}\n"));
    }
    let file = folder.path().join("recording.jsonl.zst");
    let bytes = match is_compressed {
        true => zstd::encode_all(lines.as_bytes(), 1).unwrap(),
        false => lines.into_bytes(),
    };
    std::fs::write(&file, bytes).unwrap();
    (folder, ReplayOptions { file, overlap: 30 }, texts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_may_be_compressed_or_not() {
    for is_compressed in [true, false] {
        let (_folder, options, texts) = recording(20, is_compressed);
        let simulator = start(Source::Replay(options), FaultOptions::default()).await;
        let products = ["BTC-USD".to_owned()];
        let mut client = Client::subscribe(&simulator, FEEDS[1], &products).await;
        let (frames, _) = client.read(&simulator).await;
        assert_eq!(frames[..20], texts, "compressed: {is_compressed}");
        simulator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_served_as_it_is_and_overlaps_after_planned_breaks() {
    let (_folder, options, texts) = recording(400, true);
    let faults = FaultOptions {
        disconnect_after: vec![100, 250],
        ..FaultOptions::default()
    };
    let simulator = start(Source::Replay(options), faults).await;
    let products = ["BTC-USD".to_owned()];
    let mut parts = vec![];
    for _ in 0..3 {
        let mut client = Client::subscribe(&simulator, FEEDS[1], &products).await;
        parts.push(client.read(&simulator).await);
    }
    assert!(matches!(parts[0].1, Ended::Closed), "{:?}", parts[0].1);
    assert!(matches!(parts[2].1, Ended::Finished), "{:?}", parts[2].1);
    assert_eq!(parts[0].0, texts[..100]);
    assert_eq!(parts[1].0, texts[70..220]);
    assert!(
        parts[2].0.starts_with(&texts[190..]),
        "heartbeats may follow"
    );
    // A client that comes of its own accord gets all of it.
    let mut again = Client::subscribe(&simulator, FEEDS[1], &products).await;
    let mut frames = vec![];
    while frames.len() < texts.len() {
        if let Message::Text(text) = again.socket.next().await.unwrap().unwrap() {
            frames.push(text.to_string());
        }
    }
    assert_eq!(frames, texts);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_frame_ends_the_client_and_a_trickle_does_not() {
    let options = market(25, 5);
    let oversized = FaultOptions {
        oversized: 1.0,
        ..FaultOptions::default()
    };
    let simulator = start(Source::Market(options.clone()), oversized).await;
    let mut client = Client::subscribe(&simulator, FEEDS[0], &options.products).await;
    let (_, ended) = client.read(&simulator).await;
    assert!(
        matches!(ended, Ended::Broken(Error::Capacity(_))),
        "{ended:?}"
    );
    simulator.stop().await;

    let slow = FaultOptions {
        slow: 0.2,
        ..FaultOptions::default()
    };
    let simulator = start(Source::Market(options.clone()), slow).await;
    let mut client = Client::subscribe(&simulator, FEEDS[0], &options.products).await;
    let (frames, ended) = client.read(&simulator).await;
    assert!(matches!(ended, Ended::Finished), "{ended:?}");
    let (out, unreadable_count) = translate(&options, FEEDS[0], &frames);
    assert_eq!(unreadable_count, 0);
    assert_eq!(received(&out), true_trades(&simulator.truth().trades()));
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_truth_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("truth.jsonl");
    let options = market(26, 5);
    let options = SimulatorOptions {
        truth_file: Some(file.clone()),
        faults: FaultOptions {
            drop: 0.1,
            ..FaultOptions::default()
        },
        ..SimulatorOptions::new(Source::Market(options), Speed::Max)
    };
    let simulator = Simulator::start(options).await.unwrap();
    let products = MarketOptions::default().products;
    let mut client = Client::subscribe(&simulator, FEEDS[0], &products).await;
    client.read(&simulator).await;
    let (trades, withheld) = (simulator.truth().trades(), simulator.truth().withheld());
    simulator.stop().await;
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!(of("trade"), trades.len());
    assert_eq!(of("withheld"), withheld.len());
    assert!(!withheld.is_empty());
    assert_eq!(lines[0]["trade_id"], trades[0].trade_id);
    assert_eq!(lines[0]["price"], trades[0].price.to_string());
}
