//! What is subscribed to again because frames were lost: trades, where a snapshot may bring what is
//! missing, and depth, whose book is wrong from the first change that it missed.
//!
//! Bounded, since an exchange counts requests and a book has megabytes: what is lost while a
//! request must wait is asked for together once it may go.

use std::collections::BTreeSet;

use schemas::control::Channel;
use schemas::time::EventTime;

use crate::exchange::Protocol;
use crate::subscription::Wanted;

/// The time between two requests for trades, and between two for depth.
const TRADES_EVERY_MS: i64 = 1_000;
const DEPTH_EVERY_MS: i64 = 60_000;

/// What waits to be subscribed to again.
#[derive(Debug, Default)]
pub(crate) struct Again {
    trades: Lost,
    depth: Lost,
}

#[derive(Debug, Default)]
struct Lost {
    products: BTreeSet<String>,
    asked_at: Option<EventTime>,
}

impl Lost {
    fn take(&mut self, every_ms: i64, at: EventTime) -> BTreeSet<String> {
        let may_ask = self
            .asked_at
            .is_none_or(|asked| at >= asked.plus_ms(every_ms));
        if self.products.is_empty() || !may_ask {
            return BTreeSet::new();
        }
        self.asked_at = Some(at);
        std::mem::take(&mut self.products)
    }
}

impl Again {
    /// A market's trades have a hole that a snapshot may fill.
    pub(crate) fn trades(&mut self, product: &str) {
        if !self.trades.products.contains(product) {
            self.trades.products.insert(product.to_owned());
        }
    }

    /// A market's book may have missed a change.
    pub(crate) fn depth(&mut self, product: &str) {
        if !self.depth.products.contains(product) {
            self.depth.products.insert(product.to_owned());
        }
    }

    /// A new connection subscribes to everything, and so begins with everything's snapshot.
    pub(crate) fn clear(&mut self) {
        self.trades.products.clear();
        self.depth.products.clear();
    }

    /// What of `wanted` may be asked for now; it is then no longer waited for.
    pub(crate) fn take(&mut self, wanted: &Wanted, at: EventTime) -> Wanted {
        let mut again = Wanted::default();
        for (channel, lost, every_ms) in [
            (Channel::Trades, &mut self.trades, TRADES_EVERY_MS),
            (Channel::Depth, &mut self.depth, DEPTH_EVERY_MS),
        ] {
            lost.products.retain(|product| wanted.has(channel, product));
            for product in lost.take(every_ms, at) {
                again.add(channel, &product);
            }
        }
        again
    }
}

/// The frames that leave `again` and come back to it: an exchange takes a subscription to what it
/// already sends for none.
pub(crate) fn requests(protocol: &dyn Protocol, wanted: &Wanted, again: &Wanted) -> Vec<String> {
    if again.is_empty() {
        return vec![];
    }
    let rest = wanted.without(again);
    let mut frames = protocol.requests(wanted, &rest);
    frames.extend(protocol.requests(&rest, wanted));
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(channels: &[(Channel, &str)]) -> Wanted {
        let mut wanted = Wanted::default();
        for (channel, product) in channels {
            wanted.add(*channel, product);
        }
        wanted
    }

    #[test]
    fn requests_are_bounded_in_time_and_gather_what_waits() {
        let all = wanted(&[
            (Channel::Trades, "A"),
            (Channel::Trades, "B"),
            (Channel::Depth, "A"),
        ]);
        let at = EventTime::from_ms;
        let mut again = Again::default();
        assert!(again.take(&all, at(0)).is_empty());
        again.trades("A");
        again.depth("A");
        again.depth("nobody's");
        let both = wanted(&[(Channel::Trades, "A"), (Channel::Depth, "A")]);
        assert_eq!(again.take(&all, at(0)), both);
        again.trades("A");
        again.trades("B");
        again.depth("A");
        assert!(again.take(&all, at(TRADES_EVERY_MS - 1)).is_empty());
        let trades = wanted(&[(Channel::Trades, "A"), (Channel::Trades, "B")]);
        assert_eq!(again.take(&all, at(TRADES_EVERY_MS)), trades);
        assert!(again.take(&all, at(DEPTH_EVERY_MS - 1)).is_empty());
        let depth = wanted(&[(Channel::Depth, "A")]);
        assert_eq!(again.take(&all, at(DEPTH_EVERY_MS)), depth);
        again.depth("A");
        again.clear();
        assert!(again.take(&all, at(i64::from(i32::MAX))).is_empty());
    }
}
