//! What stock clients ask of a registry, asked by one: `confluent-kafka` of Python.

use tests::python;
use tests::registry::Registry;

use super::{repository, with_confluent_kafka};

#[tokio::test(flavor = "multi_thread")]
async fn confluent_kafka_finds_all_that_it_asks_for() {
    let python = with_confluent_kafka().await;
    let registry = Registry::start().await;
    let script = repository("tests/tests/direct/registry.py");
    let avro = repository("schemas/avro");
    let said = python::run_script(&python, &script, &[&registry.url(), avro.to_str().unwrap()]);
    assert_eq!(said.trim(), "all is well");
}
