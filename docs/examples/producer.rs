//! Writes an event straight to Kafka: `producer BROKERS REGISTRY TOPIC [SETTING=VALUE ...]`

use std::collections::HashMap;
use std::time::Duration;

use apache_avro::types::Value;
use apache_avro::{Decimal, Schema, to_avro_datum};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, registry, topic, settings @ ..] = arguments.as_slice() else {
        return Err("producer BROKERS REGISTRY TOPIC [SETTING=VALUE ...]".into());
    };
    let now_us = jiff::Timestamp::now().as_microsecond();
    let serde_json::Value::Object(event) = json!({
        "event_id": "order-1042-paid",
        "event_type": "custom_event",
        "name": "order_paid",
        "occurred_at": now_us,
        "received_at": now_us,
        "source": { "service": "checkout" },
        "subject": "shop:hamburg",
        "tags": { "currency": "EUR" },
    }) else {
        return Err("no object".into());
    };
    let event = event
        .into_iter()
        .map(|(name, field)| (name, Value::from(field)));
    let mut event: HashMap<String, Value> = event.collect();
    // 19.90 in units of 10⁻¹⁸.
    let amount = Decimal::from(19_900_000_000_000_000_000_i128.to_be_bytes());
    let metrics = [("amount".to_owned(), Value::Decimal(amount))];
    event.insert("metrics".to_owned(), Value::Map(metrics.into()));

    let http = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let latest = format!("{registry}/subjects/{topic}-value/versions/latest");
    let latest = http
        .get(latest.parse()?)
        .await?
        .into_body()
        .collect()
        .await?;
    let latest: serde_json::Value = serde_json::from_slice(&latest.to_bytes())?;
    let (id, schema) = (latest["id"].as_u64().ok_or("no id")?, &latest["schema"]);
    let schema = Schema::parse_str(schema.as_str().ok_or("no schema")?)?;

    let mut value = vec![0];
    value.extend(u32::try_from(id)?.to_be_bytes());
    value.extend(to_avro_datum(&schema, Value::Map(event).resolve(&schema)?)?);

    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config.set("partitioner", "murmur2_random");
    config.set("enable.idempotence", "true");
    for (name, value) in settings
        .iter()
        .filter_map(|setting| setting.split_once('='))
    {
        config.set(name, value);
    }
    let producer: FutureProducer = config.create()?;
    let record = FutureRecord::to(topic).key("shop:hamburg").payload(&value);
    let sent = producer.send(record, Duration::from_secs(30)).await;
    sent.map_err(|(error, _)| error)?;
    Ok(())
}
