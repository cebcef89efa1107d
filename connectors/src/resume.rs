//! Where an earlier process stopped, read from the log's tail: what it published is not published
//! again, and what it never got is a gap.
//!
//! Bounded: the last [`TAIL_COUNT`] records of each partition that holds a wanted market. A market
//! that is not in them begins anew with its first trade. A tenant counts for nothing whose topic is
//! gone, or is not ours to read; whatever else fails may pass, and is for the caller to try again.
//! Where several tenants have a market, the one that is furthest behind counts, since its
//! trades are the ones that may be missing; the others get some of theirs twice. The latest quote
//! counts as published where all of them have the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use runtime::control::ControlConfig;
use runtime::kafka::admin::AdminError;
use runtime::kafka::reader::ReadError;
use runtime::kafka::{Admin, Isolation, KafkaConfig, Partition, Reader, Start};
use runtime::step::Incoming;
use schemas::control::{Channel, Limits};
use schemas::event::{EventType, EventView};
use schemas::ids::{Stream, TenantId};
use schemas::murmur2::partition_of;
use schemas::origin::OriginKey;
use schemas::refusal::{EventRules, read_event};
use schemas::time::EventTime;

use crate::market::{OVERTAKEN_MAX, Published, PublishedTrades};
use crate::series::{NUMBER_MAX, Series};
use crate::subscription::{Audience, Subscriptions};

/// Records read of each partition.
pub const TAIL_COUNT: i64 = 20_000;

/// How long the brokers may make no progress.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the tail could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The edges of partitions are not known.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A partition cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl ResumeError {
    /// True when a topic is not ours to read. One that is gone shows when it is looked for again.
    fn is_about_rights(&self) -> bool {
        match self {
            Self::Admin(AdminError::Request { failure, .. }) => failure.is_about_topic(),
            Self::Read(error @ ReadError::Partition { failure, .. }) => {
                failure.is_about_topic() && !error.is_gone()
            }
            _ => false,
        }
    }
}

/// What was published of each wanted product. Blocks.
///
/// # Errors
/// When the log cannot be read.
pub fn published(
    kafka: &KafkaConfig,
    control: &ControlConfig,
    (name, exchange): (&str, &str),
    wishes: &Subscriptions,
    received_at: EventTime,
) -> Result<BTreeMap<String, Published>, ResumeError> {
    let admin = Admin::new(kafka)?;
    let mut trades: BTreeMap<String, PublishedTrades> = BTreeMap::new();
    let mut quotes: BTreeMap<String, BTreeSet<Option<String>>> = BTreeMap::new();
    for tenant in wishes.tenants(&Audience::Feed) {
        let products = |channel| -> Vec<String> {
            let products = wishes.products_of(tenant, channel);
            products.map(str::to_owned).collect()
        };
        let wanted = [Channel::Trades, Channel::Quotes].map(products);
        let subjects = wanted.iter().flatten().map(|product| {
            let subject = format!("{exchange}:{product}");
            (subject, product.clone())
        });
        let reading = Reading {
            kafka,
            admin: &admin,
            name,
            rules: EventRules {
                // What is dated elsewhere was published by nobody who heard it from an exchange.
                dates: Limits::default().dates(),
                direct_producers: wishes.has_direct_producers(tenant),
            },
            key: control.origin_key(tenant),
        };
        let tails = match reading.tail(tenant, &subjects.collect()) {
            Err(error) if error.is_about_rights() => {
                // Trying again would keep all tenants waiting for what one of them lacks.
                tracing::error!(%tenant, %error, "log's tail not ours to read: left out");
                BTreeMap::new()
            }
            tails => tails?,
        };
        let [with_trades, with_quotes] = wanted;
        for product in with_trades {
            let tail = tails.get(&product);
            let Some(seen) = tail.and_then(|tail| tail.trades(received_at)) else {
                continue;
            };
            let held = trades.get(&product);
            if held.is_none_or(|held| seen.series.last() < held.series.last()) {
                trades.insert(product, seen);
            }
        }
        for product in with_quotes {
            let tail = tails.get(&product);
            let quote_id = tail.and_then(|tail| tail.quote_id.clone());
            quotes.entry(product).or_default().insert(quote_id);
        }
    }
    Ok(joined(trades, quotes))
}

/// `quotes` are the latest of each tenant, none for one who has none.
fn joined(
    trades: BTreeMap<String, PublishedTrades>,
    quotes: BTreeMap<String, BTreeSet<Option<String>>>,
) -> BTreeMap<String, Published> {
    let mut published: BTreeMap<String, Published> = BTreeMap::new();
    for (product, trades) in trades {
        published.entry(product).or_default().trades = Some(trades);
    }
    for (product, mut latest) in quotes {
        if latest.len() == 1
            && let Some(Some(quote_id)) = latest.pop_first()
        {
            published.entry(product).or_default().last_quote_id = Some(quote_id);
        }
    }
    published
}

/// How a tenant's tail is read.
struct Reading<'a> {
    kafka: &'a KafkaConfig,
    admin: &'a Admin,
    name: &'a str,
    rules: EventRules,
    key: OriginKey,
}

impl Reading<'_> {
    fn tail(
        &self,
        tenant: &TenantId,
        subjects: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Tail>, ResumeError> {
        let topic = tenant.topic(Stream::Events).to_string();
        let Some(count) = self.admin.partition_count(&topic, PATIENCE)? else {
            return Ok(BTreeMap::new());
        };
        let numbers: BTreeSet<_> = subjects
            .keys()
            .map(|subject| partition_of(subject.as_bytes(), count))
            .collect();
        let partitions: Vec<_> = numbers.iter().map(|n| Partition::new(&topic, *n)).collect();
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let edges = self
            .admin
            .watermarks(&partitions, Isolation::Committed, PATIENCE)?;
        let spans: Vec<_> = partitions
            .into_iter()
            .zip(&edges)
            .map(|(partition, edge)| (partition, Start::At(edge.low.max(edge.high - TAIL_COUNT))))
            .collect();
        let ends: Vec<_> = edges.iter().map(|edge| edge.high).collect();
        let reader = Reader::open(self.kafka, self.name, Isolation::Committed, &spans)?;
        let mut tails: BTreeMap<String, Tail> = BTreeMap::new();
        reader.read_until(&ends, PATIENCE, |_, record| {
            let record = Incoming::of(record, &self.key);
            let is_own = || record.is_own();
            let read = read_event(record.value, record.appended_at, &self.rules, is_own);
            let Ok((event, _)) = read else {
                return;
            };
            if let Some(product) = subjects.get(event.subject.as_str()) {
                tails.entry(product.clone()).or_default().take(&event);
            }
        })?;
        Ok(tails)
    }
}

/// What the tail holds of a market.
struct Tail {
    trades: BTreeMap<i64, EventTime>,
    /// The latest time of a trade, of those numbered before as well.
    last_at: EventTime,
    gaps: Vec<(i64, i64)>,
    quote_id: Option<String>,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            trades: BTreeMap::new(),
            last_at: EventTime::MIN,
            gaps: vec![],
            quote_id: None,
        }
    }
}

impl Tail {
    fn take(&mut self, event: &EventView<'_>) {
        match EventType::from_bytes(event.event_type.as_bytes()) {
            Some(EventType::Trade) => {
                if let Some(trade_id) = event.sequence.filter(is_number) {
                    self.take_trade(trade_id, event.occurred_at);
                }
            }
            Some(EventType::Gap) => self.gaps.extend(named(event)),
            // The order of the log is the exchange's; times may be equal.
            Some(EventType::Quote) => self.quote_id = Some(event.event_id.as_str().to_owned()),
            _ => {}
        }
    }

    /// Begins anew where the exchange did, by the same signs as [`crate::market::Market`].
    fn take_trade(&mut self, trade_id: i64, at: EventTime) {
        let first = self.trades.first_key_value().map(|(first, _)| *first);
        let is_far_below =
            first.is_some_and(|first| first.saturating_sub(trade_id) > OVERTAKEN_MAX);
        let is_later = at > self.last_at;
        if is_later && (is_far_below || self.trades.contains_key(&trade_id)) {
            self.trades.clear();
            self.gaps.clear();
        }
        self.last_at = self.last_at.max(at);
        self.trades.insert(trade_id, at);
    }

    fn trades(&self, received_at: EventTime) -> Option<PublishedTrades> {
        Some(PublishedTrades {
            series: Series::restored(&self.trades, &self.gaps, received_at)?,
            last_at: *self.trades.values().max()?,
        })
    }
}

/// True for what an exchange's number can be.
fn is_number(number: &i64) -> bool {
    (0..=NUMBER_MAX).contains(number)
}

/// The trade ids that a gap names.
fn named(gap: &EventView<'_>) -> Option<(i64, i64)> {
    let bound = |name| -> Option<i64> {
        let units = gap.metrics.get(name)?.units();
        let number = i64::try_from(units / schemas::decimal::Decimal::ONE.units());
        number.ok().filter(is_number)
    };
    (gap.tags.get("series")?.as_str() == "trade_id")
        .then(|| Some((bound("first")?, bound("last")?)))?
}

#[cfg(test)]
mod tests {
    use schemas::decimal::Decimal;

    use super::*;
    use crate::exchange::{Side, Trade};
    use crate::mapping::MarketName;

    fn trade(trade_id: i64) -> Vec<u8> {
        trade_at(trade_id, trade_id)
    }

    fn trade_at(trade_id: i64, at_ms: i64) -> Vec<u8> {
        let trade = Trade {
            product: "A".into(),
            trade_id,
            occurred_at: EventTime::from_ms(at_ms),
            price: Decimal::ONE,
            size: Decimal::ONE,
            taker: Side::Buy,
        };
        let event = MarketName::new("coinbase", "A").trade(&trade, EventTime::from_ms(0));
        let mut bytes = vec![];
        event.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_tail_is_the_series_as_it_was_published() {
        let mut tail = Tail::default();
        let mut series = Series::starting(10);
        let seen = crate::series::Seen {
            at: None,
            received_at: EventTime::from_ms(0),
        };
        series.observe(14, seen, EventTime::from_ms(10));
        let holes = series.declare_all();
        let gap = MarketName::new("coinbase", "A").gap(&holes[0], EventTime::from_ms(0));
        let mut records = vec![trade(14), trade(10), trade(17), trade(14)];
        records.push(vec![]);
        gap.encode(&mut records[4]);
        for record in &records {
            tail.take(&EventView::decode(record).unwrap());
        }
        let mut trades = tail.trades(EventTime::from_ms(0)).unwrap();
        assert_eq!(trades.last_at, EventTime::from_ms(17));
        let open = trades.series.declare_all();
        assert_eq!(
            open.len(),
            1,
            "the gap that was named is not named again: {open:?}"
        );
        assert_eq!((open[0].first, open[0].last), (15, 16));
        assert_eq!(Tail::default().trades(EventTime::from_ms(0)), None);
    }

    #[test]
    fn a_tail_goes_on_behind_the_numbers_that_began_anew() {
        let check = |trades: &[(i64, i64)], holes: &[(i64, i64)]| {
            let mut tail = Tail::default();
            for (trade_id, at_ms) in trades {
                tail.take(&EventView::decode(&trade_at(*trade_id, *at_ms)).unwrap());
            }
            let mut series = tail.trades(EventTime::from_ms(0)).unwrap().series;
            let open = series.declare_all();
            let open: Vec<_> = open.iter().map(|hole| (hole.first, hole.last)).collect();
            assert_eq!(open, holes, "{trades:?}");
        };
        check(&[(9_000, 10), (1, 20), (2, 21)], &[]);
        check(&[(1, 10), (2, 11), (1, 20), (3, 21)], &[(2, 2)]);
        check(&[(9_000, 10), (8_000, 5)], &[(8_001, 8_999)]);
        check(&[(9_000, 10), (8_999, 11), (9_000, 10)], &[]);
    }

    #[test]
    fn numbers_that_no_exchange_has_count_for_nothing() {
        let mut tail = Tail::default();
        let numbers = [i64::MIN, -1, 7, NUMBER_MAX + 1, i64::MAX];
        for (trade_id, at_ms) in numbers.into_iter().zip(0..) {
            tail.take(&EventView::decode(&trade_at(trade_id, at_ms)).unwrap());
        }
        let series = tail.trades(EventTime::from_ms(0)).unwrap().series;
        assert_eq!((series.first(), series.last()), (7, 7));
    }

    #[test]
    fn the_latest_quote_counts_where_all_have_the_same() {
        let quotes = |latest: &[Option<&str>]| {
            let latest = latest.iter().map(|id| id.map(str::to_owned)).collect();
            let quotes = BTreeMap::from([("A".to_owned(), latest)]);
            let published = joined(BTreeMap::new(), quotes);
            published.get("A").and_then(|p| p.last_quote_id.clone())
        };
        assert_eq!(quotes(&[Some("q")]).as_deref(), Some("q"));
        assert_eq!(quotes(&[Some("q"), Some("q")]).as_deref(), Some("q"));
        assert_eq!(quotes(&[Some("q"), Some("p")]), None);
        assert_eq!(quotes(&[Some("q"), None]), None);
        assert_eq!(quotes(&[None]), None);
    }

    #[test]
    fn the_latest_quote_is_the_last_in_the_log() {
        let mut tail = Tail::default();
        for at_ms in [7, 9, 8] {
            let quote = crate::exchange::Quote {
                product: "A".into(),
                occurred_at: None,
                sequence: Some(at_ms),
                best_bid: None,
                best_ask: None,
                metrics: vec![("price", Decimal::ONE)],
            };
            let at = EventTime::from_ms(at_ms);
            let event = MarketName::new("coinbase", "A").quote(&quote, at, at);
            let mut bytes = vec![];
            event.encode(&mut bytes);
            tail.take(&EventView::decode(&bytes).unwrap());
            assert_eq!(tail.quote_id.as_deref(), Some(event.event_id.as_str()));
        }
    }
}
