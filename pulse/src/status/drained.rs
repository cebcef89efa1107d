//! Whether a replay is through: served, read, windowed, and every row of it in ClickHouse.
//!
//! The looks follow the way of the data. The simulator has served its file; then the connector has
//! handed on what it read, so the ends of `events` no longer move; then the groups have reached the
//! ends of everything, twice in a row with the same ends and no short window open in between. A
//! record that is under way moves an end between the two looks, or leaves a lag in one of them.

use super::lag::Lags;
use crate::installation::FeedEntry;

/// What was seen.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// Where events come from.
    pub feed: Option<&'a FeedEntry>,
    /// True when the simulator has served its whole file, and the connector has all of it.
    pub is_served: bool,
    /// Processes that do not answer, or cannot work.
    pub unwell: Vec<&'a str>,
    /// The brokers' answers to two looks, some time apart.
    pub looks: Option<(&'a Lags, &'a Lags)>,
    /// Windows of at most a minute that have not fired, asked for between the two looks.
    pub open_short_windows: Option<u64>,
}

/// What is still missing; nothing when the replay is through.
pub fn missing(seen: &Observation<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    match seen.feed.map(|feed| feed.kind.as_str()) {
        Some("replay") if !seen.is_served => missing.push("the file is still being served".into()),
        Some("replay") => {}
        Some(_) => missing.push("the feed has no end: only a replay can be drained".into()),
        None => missing.push("there is no feed".into()),
    }
    for name in &seen.unwell {
        missing.push(format!(
            "{name} is not ready, so nobody knows what it still holds"
        ));
    }
    match seen.looks {
        None => missing.push("the lag is unknown: the brokers do not answer".into()),
        Some((first, second)) => {
            for group in second.groups.iter().filter(|group| group.lag > 0) {
                missing.push(format!("{} is {} behind", group.group, group.lag));
            }
            if first.edges != second.edges || first.total() > 0 && second.total() == 0 {
                missing.push("records still arrive".into());
            }
        }
    }
    match seen.open_short_windows {
        None => missing
            .push("open windows are unknown: pulse-metrics has said nothing of them yet".into()),
        Some(0) => {}
        Some(count) => missing.push(format!("{count} windows of up to a minute are open")),
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::lag::GroupLag;
    use schemas::ids::{Stream, TenantId};
    use std::collections::BTreeMap;

    fn lags(lag: i64, end: i64) -> Lags {
        let group = GroupLag {
            group: "pulse-metrics".into(),
            process: "pulse-metrics",
            lag,
            partitions: vec![],
        };
        let topic = "t".parse::<TenantId>().unwrap().topic(Stream::Events);
        Lags {
            groups: vec![group],
            edges: BTreeMap::from([((topic, 0), (0, end))]),
        }
    }

    fn feed(kind: &str) -> FeedEntry {
        FeedEntry {
            kind: kind.into(),
            detail: String::new(),
            file: None,
        }
    }

    /// All is done but for one thing.
    #[track_caller]
    fn check<'a>(done: &Observation<'a>, change: impl FnOnce(&mut Observation<'a>), expect: &str) {
        let mut seen = done.clone();
        change(&mut seen);
        let missing = missing(&seen);
        assert!(
            missing.len() == 1 && missing[0].contains(expect),
            "{missing:?}: {expect}"
        );
    }

    #[test]
    fn everything_must_be_so_and_each_thing_is_named() {
        let (replay, quiet) = (feed("replay"), lags(0, 9));
        let done = Observation {
            feed: Some(&replay),
            is_served: true,
            unwell: vec![],
            looks: Some((&quiet, &quiet)),
            open_short_windows: Some(0),
        };
        assert_eq!(missing(&done), Vec::<String>::new());

        let (live, moved, behind) = (feed("live"), lags(0, 10), lags(4, 9));
        check(&done, |seen| seen.feed = Some(&live), "no end");
        check(&done, |seen| seen.feed = None, "no feed");
        check(&done, |seen| seen.is_served = false, "being served");
        check(
            &done,
            |seen| seen.unwell = vec!["kafka"],
            "kafka is not ready",
        );
        check(&done, |seen| seen.looks = None, "brokers do not answer");
        let looks = [
            ((&quiet, &moved), "still arrive"),
            ((&behind, &quiet), "still arrive"),
            ((&behind, &behind), "4 behind"),
        ];
        for (looks, expect) in looks {
            check(&done, |seen| seen.looks = Some(looks), expect);
        }
        check(&done, |seen| seen.open_short_windows = None, "unknown");
        check(&done, |seen| seen.open_short_windows = Some(2), "2 windows");
    }
}
