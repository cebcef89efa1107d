//! Limits by a clock that the test moves.

use std::collections::BTreeSet;

use governor::clock::FakeRelativeClock;
use runtime::control::{Defined, TenantControl};
use schemas::access::{ApiKey, KeyHash, Scope};
use schemas::control;
use schemas::tier::IngestOverrides;
use schemas::time::EventTime;

use super::*;

pub(super) fn caller(key_id: &str, kind: KeyKind, overrides: IngestOverrides) -> Caller {
    let tenant = control::Tenant {
        ingest: overrides,
        ..control::Tenant::new("Acme")
    };
    let defined = Defined {
        version: 1,
        changed_at: EventTime::from_us(0),
        value: tenant,
    };
    let control = TenantControl {
        tenant: Some(defined),
        ..TenantControl::default()
    };
    let key = ApiKey {
        name: key_id.into(),
        kind,
        hash: KeyHash::new([0; 32]),
        scopes: BTreeSet::from([Scope::Ingest]),
        origins: vec![],
        expires_at_ms: None,
        events_per_second: None,
    };
    Caller {
        tenant: "acme".parse().unwrap(),
        key_id: key_id.into(),
        key: Arc::new(key),
        control: Arc::new(control),
    }
}

/// 100 events a second and 200 at once.
fn slow() -> IngestOverrides {
    IngestOverrides {
        events_per_second: Some(100),
        burst_events: Some(200),
        ..IngestOverrides::default()
    }
}

fn limits() -> (Limits<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Limits::with_clock(clock.clone()), clock)
}

const fn events(events: u32) -> Ask {
    Ask { events, bytes: 1 }
}

#[test]
fn a_burst_is_let_in_and_then_so_many_a_second() {
    let (limits, clock) = limits();
    let acme = caller("a", KeyKind::Secret, slow());
    limits.ask(&acme, events(200)).unwrap();
    let exceeded = limits.ask(&acme, events(50)).unwrap_err();
    assert_eq!(exceeded.limit, Limit::Events);
    assert_eq!(exceeded.wait, Some(Duration::from_millis(500)));
    clock.advance(Duration::from_millis(499));
    limits.ask(&acme, events(50)).unwrap_err();
    clock.advance(Duration::from_millis(1));
    limits.ask(&acme, events(50)).unwrap();
    let never = limits.ask(&acme, events(201)).unwrap_err();
    assert_eq!((never.wait, never.error().status().as_u16()), (None, 413));
}

#[test]
fn bytes_have_a_bucket_of_their_own() {
    let (limits, _clock) = limits();
    let set = IngestOverrides {
        bytes_per_second: Some(1_000),
        ..slow()
    };
    let acme = caller("a", KeyKind::Secret, set);
    let ask = |bytes| limits.ask(&acme, Ask { events: 1, bytes });
    ask(BODY_BYTES_MAX).unwrap();
    let exceeded = ask(2_000).unwrap_err();
    assert_eq!(exceeded.limit, Limit::Bytes);
    assert_eq!(exceeded.wait, Some(Duration::from_secs(2)));
}

#[test]
fn a_changed_figure_holds_from_the_next_request_on() {
    let (limits, _clock) = limits();
    let acme = caller("a", KeyKind::Secret, slow());
    limits.ask(&acme, events(200)).unwrap();
    limits.ask(&acme, events(1)).unwrap_err();
    let more = IngestOverrides {
        burst_events: Some(300),
        ..slow()
    };
    limits
        .ask(&caller("a", KeyKind::Secret, more), events(300))
        .unwrap();
}

#[test]
fn one_tenants_traffic_takes_nothing_from_another() {
    let (limits, _clock) = limits();
    let acme = caller("a", KeyKind::Secret, slow());
    limits.ask(&acme, events(200)).unwrap();
    let other = Caller {
        tenant: "other".parse().unwrap(),
        ..acme
    };
    limits.ask(&other, events(200)).unwrap();
}

#[test]
fn a_hot_key_leaves_an_eighth_to_the_others() {
    let (limits, clock) = limits();
    let [hot, cold] = ["hot", "cold"].map(|id| caller(id, KeyKind::Secret, slow()));
    limits.ask(&hot, events(200)).unwrap();
    clock.advance(Duration::from_secs(2));
    limits.ask(&cold, events(1)).unwrap();
    let exceeded = limits.ask(&hot, events(199)).unwrap_err();
    assert_eq!((exceeded.limit, exceeded.wait), (Limit::KeyShare, None));
    limits.ask(&hot, events(175)).unwrap();
    assert_eq!(
        limits.ask(&hot, events(1)).unwrap_err().limit,
        Limit::KeyShare
    );
    limits.ask(&cold, events(24)).unwrap();
    clock.advance(Duration::from_secs(180));
    limits
        .ask(&hot, events(200))
        .expect("nobody else was there for two minutes");
}

#[test]
fn a_hot_subject_leaves_an_eighth_to_the_others() {
    let (limits, _clock) = limits();
    let acme = caller("a", KeyKind::Secret, slow());
    let ask = |subjects: &[&str]| {
        let subjects: Vec<&[u8]> = subjects.iter().map(|subject| subject.as_bytes()).collect();
        match limits.ask_subjects(&acme, &subjects) {
            None => subjects.len(),
            Some(held) => {
                let first = held.let_in.iter().take_while(|is_in| **is_in).count();
                let in_all = held.let_in.iter().filter(|is_in| **is_in).count();
                assert_eq!((held.limit.limit, first), (Limit::SubjectShare, in_all));
                assert_eq!(held.limit.error().status(), 429);
                in_all
            }
        }
    };
    assert_eq!(ask(&["hot"; 300]), 300, "alone it has all");
    assert_eq!(ask(&["cold", "hot", "hot"]), 3);
    assert_eq!(ask(&["hot"; 174]), 173, "as many as there are");
    assert_eq!(ask(&["hot"; 10]), 0);
    assert_eq!(ask(&["cold", "cold", "hot"]), 2);
}

#[test]
fn a_public_key_has_a_low_limit_unless_it_names_one() {
    let (limits, _clock) = limits();
    let page = caller("p", KeyKind::Public, IngestOverrides::default());
    limits.ask(&page, events(PUBLIC_EVENTS_PER_SECOND)).unwrap();
    let exceeded = limits.ask(&page, events(1)).unwrap_err();
    assert_eq!(exceeded.limit, Limit::Key);
    let key = ApiKey {
        events_per_second: Some(7),
        ..(*page.key).clone()
    };
    let named = Caller {
        key: Arc::new(key),
        ..page
    };
    limits.ask(&named, events(7)).unwrap();
    limits.ask(&named, events(1)).unwrap_err();
}

#[test]
fn answers_say_what_is_left_and_when_there_is_more() {
    let (limits, _clock) = limits();
    let acme = caller("a", KeyKind::Secret, slow());
    let granted = limits.ask(&acme, events(50)).unwrap();
    let mut headers = HeaderMap::new();
    granted.write(&mut headers);
    let policy = r#""events";q=200;w=2, "bytes";q=20000000;w=1"#;
    assert_eq!(headers[RATE_LIMIT_POLICY], policy);
    let state = r#""events";r=150;t=1, "bytes";r=19999999;t=1"#;
    assert_eq!(headers[RATE_LIMIT], state);

    limits.ask(&acme, events(150)).unwrap();
    let exceeded = limits.ask(&acme, events(1)).unwrap_err();
    let response = axum::response::IntoResponse::into_response(exceeded.error());
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    assert_eq!(response.headers()[RATE_LIMIT], r#""events";r=0;t=1"#);
}
