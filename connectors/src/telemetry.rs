//! What a connector counts, by feed.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use runtime::telemetry::{Metric, Metrics};

use crate::translate::FrameCounts;

const CONNECTED: Metric = Metric {
    name: "pulse_connector_connected",
    doc: "1 while a feed is connected and subscribed. Alarm when 0 for long.",
};
const CONNECTIONS: Metric = Metric {
    name: "pulse_connector_connections_total",
    doc: "Connections of a feed that were made and subscribed.",
};
const FRAMES: Metric = Metric {
    name: "pulse_connector_frames_total",
    doc: "Frames of a feed by what became of them: read, unreadable (dead-lettered).",
};
const CONTENTS: Metric = Metric {
    name: "pulse_connector_unused_total",
    doc: "Contents of frames that nothing uses: skipped (other channels), unwanted (other \
          products), undated (quotes of markets that never traded), unchanged (quotes that are \
          the one before them again, time and numbers alike).",
};
const HEARTBEATS: Metric = Metric {
    name: "pulse_connector_heartbeats_total",
    doc: "Signs of life of a feed.",
};
const TRADES: Metric = Metric {
    name: "pulse_connector_trades_total",
    doc: "Trades of a feed: new, late (after a gap had named them), repeated (sent again by the \
          exchange, and not published again).",
};
const RECORDS: Metric = Metric {
    name: "pulse_connector_records_total",
    doc: "Records for the log: taken, and of these published (acknowledged by every in-sync \
          replica) or lost (refused by the broker for good, or of a tenant whose topics are gone); \
          the others are under way. Alarm when lost grows.",
};

/// All of this crate's metrics.
pub const METRICS: &[Metric] = &[
    CONNECTED,
    CONNECTIONS,
    FRAMES,
    CONTENTS,
    HEARTBEATS,
    TRADES,
    RECORDS,
];

/// The label of what belongs to a feed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct FeedLabel {
    feed: &'static str,
}

/// The labels of what belongs to a feed and has a fate.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct FateLabels {
    feed: &'static str,
    fate: &'static str,
}

/// The process's counters; all feeds of a process share one set.
#[derive(Clone)]
pub struct Figures {
    connected: Family<FeedLabel, Gauge>,
    connections: Family<FeedLabel, Counter>,
    frames: Family<FateLabels, Counter>,
    contents: Family<FateLabels, Counter>,
    heartbeats: Family<FeedLabel, Counter>,
    trades: Family<FateLabels, Counter>,
    records: Family<FateLabels, Counter>,
}

impl Figures {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            connected: metrics.gauges(&CONNECTED),
            connections: metrics.counters(&CONNECTIONS),
            frames: metrics.counters(&FRAMES),
            contents: metrics.counters(&CONTENTS),
            heartbeats: metrics.counters(&HEARTBEATS),
            trades: metrics.counters(&TRADES),
            records: metrics.counters(&RECORDS),
        }
    }

    /// The figures of one feed.
    pub fn of_feed(&self, feed: &'static str) -> FeedFigures {
        FeedFigures {
            figures: self.clone(),
            feed,
            shown: FrameCounts::default(),
        }
    }
}

/// One feed's figures.
pub struct FeedFigures {
    figures: Figures,
    feed: &'static str,
    shown: FrameCounts,
}

impl FeedFigures {
    /// Says whether the feed is connected.
    pub fn connected(&self, is_connected: bool) {
        let label = FeedLabel { feed: self.feed };
        if is_connected {
            self.figures.connections.get_or_create(&label).inc();
        }
        let gauge = self.figures.connected.get_or_create(&label);
        gauge.set(i64::from(is_connected));
    }

    /// Adds what came since the last call.
    pub fn show(&mut self, now: FrameCounts) {
        let (feed, then, figures) = (self.feed, self.shown, &self.figures);
        let add = |family: &Family<FateLabels, Counter>, fate, now: u64, then: u64| {
            let labels = FateLabels { feed, fate };
            family.get_or_create(&labels).inc_by(now - then);
        };
        let read = |counts: FrameCounts| counts.frames - counts.unreadable;
        add(&figures.frames, "read", read(now), read(then));
        let unreadable = (now.unreadable, then.unreadable);
        add(&figures.frames, "unreadable", unreadable.0, unreadable.1);
        add(&figures.contents, "skipped", now.skipped, then.skipped);
        add(&figures.contents, "unwanted", now.unwanted, then.unwanted);
        add(&figures.contents, "undated", now.undated, then.undated);
        let unchanged = (now.unchanged, then.unchanged);
        add(&figures.contents, "unchanged", unchanged.0, unchanged.1);
        add(&figures.trades, "new", now.trades.new, then.trades.new);
        add(&figures.trades, "late", now.trades.late, then.trades.late);
        let repeated = (now.trades.repeated, then.trades.repeated);
        add(&figures.trades, "repeated", repeated.0, repeated.1);
        let beats = figures.heartbeats.get_or_create(&FeedLabel { feed });
        beats.inc_by(now.heartbeats - then.heartbeats);
        self.shown = now;
    }

    /// The counters of the feed's records: taken, published, lost.
    pub fn records(&self) -> [Counter; 3] {
        let counter = |fate| {
            let labels = FateLabels {
                feed: self.feed,
                fate,
            };
            self.figures.records.get_or_create(&labels).clone()
        };
        ["taken", "published", "lost"].map(counter)
    }
}
