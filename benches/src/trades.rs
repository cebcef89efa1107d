//! Trades to measure with: the peers' own, and such as a connector writes now.

use std::sync::LazyLock;

use schemas::decimal::Decimal;
use schemas::event::{self, EventHead, Severity};
use schemas::time::EventTime;

/// Markets in either kind.
pub const PRODUCTS: usize = 400;
/// Where the peers' event time starts, in milliseconds; it lasts 500 s.
pub const START_MS: i64 = 1_790_000_000_000;
/// When the far-ahead trades are dated that close every window.
pub const FAR_MS: i64 = START_MS + 800_000;

/// A record: its key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// The peers' trades, from the same seed, as Events; then one far ahead for each product, so that
/// every window closes.
pub struct PeerTrades {
    state: u64,
    names: Vec<String>,
    cents: Vec<i64>,
    number: i64,
    count: i64,
}

impl PeerTrades {
    /// `count` trades over 500 s, and the far-ahead ones behind them.
    pub fn new(count: i64) -> Self {
        Self {
            state: 88_172_645_463_325_252,
            names: (0..PRODUCTS).map(|n| format!("P{n:03}-USD")).collect(),
            cents: (0..PRODUCTS as i64)
                .map(|n| 10_000 + n * 7_919 % 6_000_000)
                .collect(),
            number: 0,
            count,
        }
    }

    fn draw(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}

impl Iterator for PeerTrades {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let n = self.number;
        self.number += 1;
        if n >= self.count {
            let product = usize::try_from(n - self.count).ok()?;
            let name = self.names.get(product)?;
            let one = Decimal::ONE;
            let mut value = vec![];
            event(
                &mut value,
                "last",
                FAR_MS * 1_000,
                name,
                "buy",
                [one, one],
                2_000_000_000,
            );
            return Some((name.clone().into_bytes(), value));
        }
        let product = (self.draw() % PRODUCTS as u64) as usize;
        let step = (self.draw() % 201) as i64 - 100;
        self.cents[product] = (self.cents[product] + step).max(100);
        let at_ms = START_MS + n * 500_000 / self.count.max(1) - (self.draw() % 201) as i64;
        let size = i128::from(1 + self.draw() % 500_000_000) * 10_000_000_000;
        let id = format!("{:08x}{:016x}", n as u32, self.draw());
        let side = if self.draw() & 1 == 1 { "sell" } else { "buy" };
        let price = i128::from(self.cents[product]) * 10_000_000_000_000_000;
        let numbers = [price, size].map(Decimal::units_checked);
        let name = &self.names[product];
        let (at_us, mut value) = (at_ms * 1_000, vec![]);
        event(
            &mut value,
            &id,
            at_us,
            name,
            side,
            numbers,
            1_000_000_000 + n,
        );
        Some((name.clone().into_bytes(), value))
    }
}

/// The subject of a market.
pub fn subject(market: u64) -> String {
    format!("coinbase:P{market}-USD")
}

/// The trade of that number at that instant, as the connector writes it; the markets in turn.
pub fn live(number: u64, at: EventTime) -> Record {
    on_market(number % PRODUCTS as u64, number, at)
}

/// The same on a market.
pub fn on_market(market: u64, number: u64, at: EventTime) -> Record {
    let (subject, mut value) = (subject(market), vec![]);
    write(&mut value, &subject, number, at);
    (subject.into_bytes(), value)
}

/// Trades one behind the other in one piece of memory: who makes 150,000 a second on the cores that
/// the line works on must not be most of what is measured.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each key ends, and its value behind it.
    ends: Vec<(usize, usize)>,
}

impl Batch {
    /// Adds the trade of that number, as [`live`] makes it.
    pub fn push(&mut self, number: u64, at: EventTime) {
        let market = (number % PRODUCTS as u64) as usize;
        let subject = &SUBJECTS[market];
        self.bytes.extend_from_slice(subject.as_bytes());
        let key_end = self.bytes.len();
        write(&mut self.bytes, subject, number, at);
        self.ends.push((key_end, self.bytes.len()));
    }

    /// The records' keys and values.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(key_end, end)| {
            let record = (&self.bytes[start..*key_end], &self.bytes[*key_end..*end]);
            start = *end;
            record
        })
    }
}

static SUBJECTS: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..PRODUCTS as u64).map(subject).collect());

/// Writes a trade as the connector writes it.
fn write(value: &mut Vec<u8>, subject: &str, number: u64, at: EventTime) {
    let event_id = format!("{subject}:trade:{}", 1_068_571_991 + number);
    let side = ["buy", "sell", "sell"][(number % 3) as usize];
    let cents = i128::from(2_000_000 + number * 7_919 % 1_000_000);
    let size = i128::from(1 + number * 104_729 % 100_000_000);
    let numbers = [cents * 10_i128.pow(16), size * 10_i128.pow(10)].map(Decimal::units_checked);
    let sequence = i64::try_from(number).expect("fewer than 2^63 trades are made");
    event(
        value,
        &event_id,
        at.as_us(),
        subject,
        side,
        numbers,
        sequence,
    );
}

fn event(
    value: &mut Vec<u8>,
    event_id: &str,
    at_us: i64,
    subject: &str,
    side: &str,
    [price, size]: [Decimal; 2],
    sequence: i64,
) {
    // The peers' subjects are products and no more.
    let (exchange, product) = subject.split_once(':').unwrap_or(("", subject));
    let head = EventHead {
        event_id,
        event_type: "trade",
        name: None,
        occurred_at: EventTime::from_us(at_us),
        received_at: EventTime::from_us(at_us),
        severity: Severity::Info,
        service: if exchange.is_empty() {
            "bench"
        } else {
            exchange
        },
        host: None,
        method: None,
        endpoint: None,
        version: None,
        subject,
        sequence: Some(sequence),
        title: None,
        trace_id: None,
        user_id: None,
        payload: None,
    };
    let tags = [
        ("exchange", exchange),
        ("product_id", product),
        ("side", side),
    ];
    let tags = &tags[usize::from(exchange.is_empty())..];
    let metrics = [("price", price), ("size", size)];
    event::encode(value, &head, tags.iter().copied(), metrics.into_iter());
}
