//! Page by page: each event once, whatever comes in meanwhile.

use schemas::event::Event;
use schemas::time::EventTime;
use serde_json::json;

use crate::desk::ids;
use crate::{Desk, event};

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_each_event_once_while_new_ones_come_in() {
    let seed = 7;
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let desk = Desk::open().await;
    let acme = desk.client("acme").await;
    // Many at one instant, some alone and long ago.
    let base = runtime::clock::now_ms() - 1_000_000;
    let mut events: Vec<Event> = (0..300)
        .map(|n| {
            let ms = match n % 3 {
                0 => 0,
                1 => random.i64(0..900_000),
                _ => -random.i64(0..80_000_000),
            };
            Event {
                occurred_at: EventTime::from_ms(base + ms),
                subject: format!("user-{}", random.u8(0..9)),
                ..event(&format!("{n}"), 0)
            }
        })
        .collect();
    desk.publish(&acme, &events, 300).await;
    let (mut found, mut cursor, mut pages) = (vec![], None, 0);
    loop {
        let mut parameters = vec![("limit", "23")];
        parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = acme.search(&parameters).await;
        found.extend(ids(&page));
        pages += 1;
        if pages == 2 {
            let new: Vec<_> = (0..30).map(|n| event(&format!("new {n}"), 0)).collect();
            desk.publish(&acme, &new, 330).await;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    events.sort_by(|a, b| {
        let key = |event: &Event| {
            let of = (event.event_type.as_str(), event.subject.clone());
            (event.occurred_at, of, event.event_id.clone())
        };
        key(b).cmp(&key(a))
    });
    let expect: Vec<_> = events.iter().map(|event| event.event_id.clone()).collect();
    assert_eq!(found, expect);
    assert_eq!(pages, 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_events_is_shorter_and_goes_on() {
    let desk = Desk::open().await;
    let acme = desk.client("acme").await;
    let payload = format!("{:?}", "x".repeat(65_000));
    let events: Vec<_> = (0..300)
        .map(|n| Event {
            payload: Some(payload.clone()),
            ..event(&format!("{n:03}"), 1_000_000 - n)
        })
        .collect();
    desk.publish(&acme, &events, 300).await;
    let first = acme.search(&[("limit", "1000")]).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    assert!(
        (100..300).contains(&ids(&first).len()),
        "{}",
        ids(&first).len()
    );
    let second = acme.search(&[("limit", "1000"), ("cursor", cursor)]).await;
    let third = match second["next_cursor"].as_str() {
        Some(cursor) => ids(&acme.search(&[("limit", "1000"), ("cursor", cursor)]).await),
        None => vec![],
    };
    let all = [ids(&first), ids(&second), third].concat();
    let expect: Vec<_> = (0..300).rev().map(|n| format!("{n:03}")).collect();
    assert_eq!(all, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_its_own_questions_alone() {
    let desk = Desk::open().await;
    let (acme, other) = (desk.client("acme").await, desk.client("other").await);
    for client in [&acme, &other] {
        let events = ["a", "b", "c"].map(|id| event(id, 5_000));
        desk.publish(client, &events, 3).await;
    }
    let page = acme.search(&[("limit", "1"), ("service", "shop")]).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let path = "/api/v1/ingestion/events/search";
    let own = [("limit", "2"), ("service", "shop"), ("cursor", cursor)];
    assert_eq!(acme.ids(&own).await, ["b", "a"]);
    let (status, foreign) = other.get(path, &own).await;
    assert_eq!(status, 400, "{foreign}");
    let nonsense = [("service", "shop"), ("cursor", "nonsense")];
    assert_eq!(other.get(path, &nonsense).await, (400, foreign.clone()));
    let changed = [("service", "shops"), ("cursor", cursor)];
    assert_eq!(acme.get(path, &changed).await, (400, foreign.clone()));
    let moved = [("service", "shop"), ("from", "0"), ("cursor", cursor)];
    assert_eq!(acme.get(path, &moved).await, (400, foreign));
    let body = json!({"limit": 2, "service": "shop", "cursor": cursor});
    let (status, page) = acme.post(path, &body).await;
    assert_eq!((status, ids(&page).len()), (200, 2));
}
