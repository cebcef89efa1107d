//! Bodies and what is answered to them. Numbers, instants, names and answers by themselves have
//! their tables beside them; whether the two ways to read an event agree is in [`agreement`].

mod agreement;
mod cloudevents;
mod documented;
mod events;
mod forms;

use schemas::event::{Event, EventView};
use schemas::refusal::{DateLimits, EventRules, read_event};
use schemas::time::{BrokerTime, EventTime};
use serde_json::Value;

use super::{Delivery, Form, Idempotency, Prepared, Rules, key_in_body, prepare};

/// 2026-08-09T12:30:00Z.
const NOW: EventTime = EventTime::from_ms(1_786_278_600_000);

const DATES: DateLimits = DateLimits {
    future_max_ms: 300_000,
    past_max_ms: 3_653 * 86_400_000,
};

const RULES: Rules<'_> = Rules {
    received_at: NOW,
    dates: DATES,
    batch_events_max: 100,
    idempotency: None,
};

/// The body's events, published and acknowledged; each record is one that every reader takes.
#[track_caller]
fn acknowledged(form: Form, body: &str, rules: &Rules<'_>) -> Prepared {
    let mut prepared = prepare(form, body.as_bytes(), rules).unwrap();
    for (_, key, value) in prepared.records() {
        let view = EventView::decode(value).unwrap();
        assert_eq!(view.subject.as_bytes(), key);
        // The broker may be a little behind us, and an event may wait before it gets there.
        for appended_ms in [-4_000, 0, 3_600_000] {
            let at = BrokerTime::from_ms(NOW.as_ms() + appended_ms);
            let strict = EventRules {
                dates: rules.dates,
                direct_producers: true,
            };
            read_event(Some(value), at, &strict, || false).unwrap();
        }
    }
    prepared.deliver_all(Delivery::Acknowledged);
    prepared
}

fn answer(prepared: &Prepared) -> Value {
    serde_json::from_slice(&prepared.answer().body).unwrap()
}

/// The one event of a body, as it is published.
#[track_caller]
fn event(form: Form, body: &str) -> Event {
    let prepared = acknowledged(form, body, &RULES);
    assert_eq!(prepared.record_count(), 1, "{}", answer(&prepared));
    let (_, _, value) = prepared.records().next().unwrap();
    EventView::decode(value).unwrap().to_owned().unwrap()
}

/// What is wrong with the one event of a body: each pointer and reason, a line each.
#[track_caller]
fn faults(form: Form, body: &str, rules: &Rules<'_>) -> String {
    let prepared = acknowledged(form, body, rules);
    let answer = answer(&prepared);
    assert_eq!(answer["rejected"], 1, "{answer}");
    let lines = answer["events"][0]["errors"].as_array().unwrap().iter();
    let line = |fault: &Value| {
        let text = |name: &str| fault[name].as_str().unwrap().to_owned();
        format!("{} {}", text("pointer"), text("reason"))
    };
    lines.map(line).collect::<Vec<_>>().join("\n")
}

/// What a body as a whole is refused for.
#[track_caller]
fn refused(form: Form, body: impl AsRef<[u8]>) -> String {
    match prepare(form, body.as_ref(), &RULES) {
        Ok(prepared) => panic!("taken: {}", answer(&prepared)),
        Err(error) => format!("{error} {:?}", error.problem().errors),
    }
}
