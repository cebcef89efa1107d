//! Nobody reads what is not his, whatever he writes into his question.

use schemas::access::Scope;
use schemas::event::{Event, Source};
use serde_json::json;

use crate::{Desk, event};

const SEARCH: &str = "/api/v1/ingestion/events/search";

/// Texts that mean something in SQL, in parameters, in patterns or in JSON.
const HOSTILE: [&str; 22] = [
    "'",
    "''",
    "\\",
    "\\'",
    "\\\\'",
    "\"",
    "`",
    "\0",
    "a\0b",
    "\t\n\r\u{8}\\t",
    "%",
    "_",
    "%' OR 1=1 --",
    "' OR tenant = 'other' --",
    "') UNION ALL SELECT * FROM events --",
    "{tenant:String}",
    "{p0:String}",
    "other",
    "\\N",
    "$CONDITIONS",
    "ü🜁\u{202e}",
    "------Boundary\r\nContent-Disposition: form-data; name=\"param_tenant\"\r\n\r\nother",
];

/// Each event has one of the texts in every field.
fn hostile_events() -> Vec<Event> {
    let event = |(text, n): (&&str, i64)| {
        let text = (*text).to_owned();
        Event {
            name: Some(text.clone()),
            subject: text.clone(),
            title: Some(text.clone()),
            trace_id: Some(text.clone()),
            user_id: Some(text.clone()),
            tags: [(text.clone(), text.clone())].into(),
            payload: Some(serde_json::to_string(&text).unwrap()),
            source: Source {
                service: text.clone(),
                ..Source::default()
            },
            ..event(&text, 1_000 * n)
        }
    };
    HOSTILE.iter().zip(1..).map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_a_text_whatever_it_says() {
    let desk = Desk::open().await;
    let (acme, other) = (desk.client("acme").await, desk.client("other").await);
    let events = hostile_events();
    let secret = Event {
        title: Some("hidden".into()),
        ..event("secret", 500)
    };
    desk.publish(&acme, &events, events.len() as u64).await;
    desk.publish(&other, std::slice::from_ref(&secret), 1).await;
    for text in HOSTILE {
        for name in [
            "name", "service", "subject", "trace_id", "user_id", "event_id",
        ] {
            assert_eq!(acme.ids(&[(name, text)]).await, [text], "{name} {text:?}");
            assert_eq!(other.ids(&[(name, text)]).await, [""; 0], "{name} {text:?}");
        }
        let (status, page) = acme.post(SEARCH, &json!({"tag": {text: text}})).await;
        assert_eq!(
            (status, crate::desk::ids(&page)),
            (200, vec![text.to_owned()]),
            "{text:?}"
        );
        // In a text search it is found where it stands, and wildcards are none.
        let found = acme.ids(&[("text", text)]).await;
        let title = |event: &&Event| {
            let has = |field: &Option<String>| {
                let field = field.as_ref().unwrap().to_lowercase();
                field.contains(&text.to_lowercase())
            };
            has(&event.title) || has(&event.payload)
        };
        let expect: Vec<_> = events
            .iter()
            .filter(title)
            .map(|event| &event.event_id)
            .collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expect, "{text:?}");
        assert_eq!(other.ids(&[("text", text)]).await, [""; 0], "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_form_is_refused_in_any_other() {
    let desk = Desk::open().await;
    let acme = desk.client("acme").await;
    for name in [
        "type",
        "severity",
        "severity_at_least",
        "from",
        "to",
        "limit",
        "tag",
    ] {
        for text in HOSTILE
            .iter()
            .filter(|text| !text.contains(':') || name != "tag")
        {
            let (status, body) = acme.get(SEARCH, &[(name, text)]).await;
            assert_eq!(status, 422, "{name} {text:?}: {body}");
        }
    }
    for text in HOSTILE {
        assert_eq!(
            acme.get(SEARCH, &[("cursor", text)]).await.0,
            400,
            "{text:?}"
        );
        assert_eq!(acme.get(SEARCH, &[(text, "x")]).await.0, 422, "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_with_the_same_ids_see_their_own() {
    let desk = Desk::open().await;
    let (acme, other) = (desk.client("acme").await, desk.client("other").await);
    let base = event("1", 5_000);
    for (client, title) in [(&acme, "of acme"), (&other, "of other")] {
        let event = Event {
            title: Some(title.into()),
            ..base.clone()
        };
        desk.publish(client, &[event], 1).await;
    }
    for (client, title) in [(&acme, "of acme"), (&other, "of other")] {
        let page = client.search(&[("event_id", "1")]).await;
        assert_eq!(page["events"].as_array().unwrap().len(), 1);
        assert_eq!(page["events"][0]["title"], title);
    }
    let writer = desk
        .key(&acme.tenant, &[Scope::Ingest, Scope::Manage])
        .await;
    assert_eq!(writer.get(SEARCH, &[]).await.0, 403);
}

/// A question whose text forgot its tenant sees nothing of others all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_itself_leaves_other_tenants_rows_out() {
    let desk = Desk::open().await;
    let (acme, other) = (desk.client("acme").await, desk.client("other").await);
    desk.publish(&acme, &[event("1", 5_000)], 1).await;
    desk.publish(&other, &[event("1", 5_000), event("2", 5_000)], 2)
        .await;
    let session = desk.state.server().session(&acme.tenant).await.unwrap();
    let mut query = session.query("test");
    query.push("SELECT count() AS n FROM (SELECT 1 ");
    query.rows_of(api::query::tenant_query::Table::EventsAsInserted);
    query.push(" OR 1)");
    let rows: Vec<serde_json::Value> = session.rows(&query).await.unwrap();
    assert_eq!(rows, [json!({"n": 1})]);
}
