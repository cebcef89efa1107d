//! Every path, for schemas that are released and for others, as a client sees its answers.

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::access::Keyring;
use crate::routes;

async fn ask(method: &str, path: &str, body: impl Into<Body>) -> (u16, Value) {
    let router: Router = routes::router(super::routes(), &Keyring::default());
    let request = Request::builder().method(method).uri(path);
    let request = request.body(body.into()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        MEDIA_TYPE,
        "{method} {path}"
    );
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn get(path: &str) -> (u16, Value) {
    ask("GET", path, Body::empty()).await
}

async fn post(path: &str, schema: &str) -> (u16, Value) {
    ask("POST", path, json!({ "schema": schema }).to_string()).await
}

fn code(answer: &(u16, Value)) -> (u16, u64) {
    (answer.0, answer.1["error_code"].as_u64().unwrap())
}

#[tokio::test]
async fn every_schema_is_found_by_its_id() {
    for id in SchemaId::ALL {
        let path = format!("/registry/schemas/ids/{}", id.number());
        let (status, body) = get(&format!("{path}?subject=pulse.a.events-value")).await;
        assert_eq!((status, body), (200, json!({ "schema": id.json() })));
        let (status, body) = get(&format!("{path}/schema")).await;
        let text: Value = serde_json::from_str(id.json()).unwrap();
        assert_eq!((status, body), (200, text));
        assert_eq!(get(&format!("{path}/subjects")).await.1, json!([id.name()]));
        let (_, places) = get(&format!("{path}/versions")).await;
        assert_eq!(places, json!([{ "subject": id.name(), "version": 1 }]));
    }
    for id in ["0", "99", "-1", "x", "4294967296"] {
        let answer = get(&format!("/registry/schemas/ids/{id}")).await;
        assert_eq!(code(&answer), (404, 40_403), "{id}");
    }
}

#[tokio::test]
async fn no_answer_tells_which_tenants_there_are() {
    let schema = SchemaId::Event.json();
    for tenant in ["acme", "nobody", "%20", "A%2FB"] {
        let path = format!("/registry/subjects/pulse.{tenant}.events-value");
        let (status, mut body) = get(&format!("{path}/versions/latest")).await;
        body["subject"] = Value::Null;
        let expect = json!({ "subject": null, "version": 1, "id": 1, "schema": schema });
        assert_eq!((status, &body), (200, &expect), "{tenant}");
        assert_eq!(get(&format!("{path}/versions")).await, (200, json!([1])));
        let (status, mut body) = post(&path, schema).await;
        body["subject"] = Value::Null;
        assert_eq!((status, &body), (200, &expect), "{tenant}");
        let registered = post(&format!("{path}/versions?normalize=True"), schema).await;
        assert_eq!(registered, (200, json!({ "id": 1 })));
    }
    let (_, names) = get("/registry/subjects?subjectPrefix=pulse.acme").await;
    assert_eq!(names, json!(SchemaId::ALL.map(SchemaId::name)));
}

#[tokio::test]
async fn the_same_schema_in_another_writing_has_the_same_id() {
    let mut schema: Value = serde_json::from_str(SchemaId::Event.json()).unwrap();
    schema["doc"] = "ours".into();
    schema["name"] = "pulse.Event".into();
    schema.as_object_mut().unwrap().remove("namespace");
    let path = "/registry/subjects/pulse.acme.events-value/versions";
    let answer = post(path, &schema.to_string()).await;
    assert_eq!(answer, (200, json!({ "id": 1 })));
}

#[tokio::test]
async fn any_other_schema_is_refused() {
    let subject = "/registry/subjects/pulse.acme.events-value";
    let versions = format!("{subject}/versions");
    let scale = SchemaId::Event
        .json()
        .replace("\"scale\": 18", "\"scale\": 2");
    for other in [scale.as_str(), SchemaId::Metric.json(), r#""string""#] {
        assert_eq!(code(&post(&versions, other).await), (409, 409), "{other}");
        assert_eq!(code(&post(subject, other).await), (404, 40_403), "{other}");
    }
    let key = "/registry/subjects/pulse.acme.events-key/versions";
    assert_eq!(code(&post(key, r#""string""#).await), (404, 40_401));
    for path in [&versions, subject] {
        assert_eq!(code(&post(path, "{").await), (422, 42_201));
        let posted = json!({ "schema": "x", "schemaType": "JSON" }).to_string();
        assert_eq!(code(&ask("POST", path, posted).await), (422, 42_201));
        for bad in ["", "[]", "{}", r#"{"schema":1}"#] {
            assert_eq!(code(&ask("POST", path, bad).await), (400, 400), "{bad}");
        }
        let large = "x".repeat(100_000);
        assert_eq!(code(&ask("POST", path, large).await), (413, 413));
    }
}

#[tokio::test]
async fn a_subject_has_one_version() {
    let subject = "/registry/subjects/pulse.acme.metrics-value/versions";
    for version in ["1", "-1", "latest"] {
        let (status, body) = get(&format!("{subject}/{version}?deleted=false")).await;
        assert_eq!((status, &body["id"]), (200, &json!(2)), "{version}");
        assert_eq!(get(&format!("{subject}/{version}/schema")).await.0, 200);
    }
    let asked = |version: &str| format!("{subject}/{version}");
    assert_eq!(code(&get(&asked("2")).await), (404, 40_402));
    for version in ["0", "-2", "x", "1.0", "99999999999"] {
        assert_eq!(
            code(&get(&asked(version)).await),
            (422, 42_202),
            "{version}"
        );
    }
}

#[tokio::test]
async fn what_else_clients_ask_has_an_answer_that_they_can_read() {
    assert_eq!(get("/registry/schemas/types").await.1, json!(["AVRO"]));
    let level = json!({ "compatibilityLevel": "BACKWARD" });
    assert_eq!(get("/registry/config").await.1, level);
    assert_eq!(
        get("/registry/config/a?defaultToGlobal=true").await.1,
        level
    );
    assert_eq!(get("/registry/mode").await.1, json!({ "mode": "READONLY" }));
    let associations = "/registry/associations/resources/-/pulse.acme.events";
    assert_eq!(get(associations).await, (200, json!([])));
    for path in [
        "contexts",
        "subjects/%ff/versions",
        "subjects/a/versions/%ff",
    ] {
        let answer = get(&format!("/registry/{path}")).await;
        assert_eq!(code(&answer), (404, 404), "{path}");
    }
    for (method, path) in [
        ("DELETE", "/registry/subjects/a/versions"),
        ("PUT", "/registry/config"),
        ("PUT", "/registry/mode/a"),
    ] {
        let answer = ask(method, path, "{}").await;
        assert_eq!(code(&answer), (405, 405), "{method} {path}");
    }
}
