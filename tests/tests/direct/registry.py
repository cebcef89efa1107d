"""Every call of confluent-kafka's registry client that a producer or a consumer may come to make.

python registry.py REGISTRY FOLDER_OF_SCHEMAS
"""
import datetime, decimal, json, pathlib, sys
from confluent_kafka.schema_registry import (
    Schema,
    SchemaRegistryClient,
    record_subject_name_strategy,
    topic_record_subject_name_strategy,
    topic_subject_name_strategy,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

url, folder = sys.argv[1:]
names = ["event", "metric", "book", "late", "dead_letter", "control"]
texts = {name: (pathlib.Path(folder) / f"{name}.avsc").read_text() for name in names}
now = datetime.datetime(2026, 9, 1, 12, 0, 0, 123456, datetime.timezone.utc)
event = {
    "event_id": "1",
    "event_type": "custom_event",
    "occurred_at": now,
    "received_at": now,
    "source": {"service": "checkout"},
    "subject": "shop:berlin",
    "metrics": {"amount": decimal.Decimal("19.90")},
}


def client():
    """A client that remembers nothing of the others."""
    return SchemaRegistryClient({"url": url})


def refused(status, code, call):
    try:
        found = call()
    except SchemaRegistryError as error:
        told = (error.http_status_code, error.error_code)
        assert told == (status, code), error
        assert error.error_message, error
    else:
        raise AssertionError(f"{found} instead of {status}")


# A serializer under each of its settings; a tenant that there is not is like any other.
for tenant in ["demo", "nobody"]:
    topic = f"pulse.{tenant}.events"
    context = SerializationContext(topic, MessageField.VALUE)
    for settings in [
        {},
        {"auto.register.schemas": True, "normalize.schemas": True},
        {"auto.register.schemas": False},
        {"auto.register.schemas": False, "normalize.schemas": True},
        {"auto.register.schemas": False, "use.latest.version": True},
        {"auto.register.schemas": False, "use.schema.id": 1},
        {"subject.name.strategy": topic_subject_name_strategy},
        {"subject.name.strategy": record_subject_name_strategy},
        {"subject.name.strategy": topic_record_subject_name_strategy},
    ]:
        value = AvroSerializer(client(), texts["event"], conf=settings)(event, context)
        assert value[:5] == b"\0\0\0\0\1", (settings, value)
        for reader in [texts["event"], None]:
            read = AvroDeserializer(client(), reader)(value, context)
            assert read["metrics"] == event["metrics"], read
            assert (read["occurred_at"], read["severity"]) == (now, "info"), read

# Everything that the client can ask.
for at, name in enumerate(names):
    stream = {"event": "events", "metric": "metrics", "book": "books"}.get(name)
    stream = stream or {"dead_letter": "dead-letters"}.get(name, name)
    subject = "pulse.control-value" if name == "control" else f"pulse.demo.{stream}-value"
    schema, full = Schema(texts[name], "AVRO"), json.loads(texts[name])
    full = f"{full['namespace']}.{full['name']}"
    assert client().get_schema(at + 1).schema_str == texts[name]
    assert client().get_schema(at + 1, subject_name=subject, fmt="").schema_str == texts[name]
    assert client().get_subjects_by_schema_id(at + 1) == [full]
    [place] = client().get_schema_versions(at + 1)
    assert (place.subject, place.version) == (full, 1), place
    for normalize in [False, True]:
        assert client().register_schema(subject, schema, normalize) == at + 1
        full_answer = client().register_schema_full_response(subject, schema, normalize)
        assert full_answer.schema_id == at + 1, full_answer
        for deleted in [False, True]:
            found = client().lookup_schema(subject, schema, normalize, deleted=deleted)
            told = (found.subject, found.schema_id, found.version, found.schema.schema_str)
            assert told == (subject, at + 1, 1, texts[name]), found
    for found in [
        client().get_latest_version(subject),
        client().get_version(subject, 1),
        client().get_version(subject, "latest", deleted=True),
        client().get_latest_version(full),
    ]:
        assert (found.schema_id, found.schema.schema_str) == (at + 1, texts[name]), found
    assert client().get_versions(subject) == [1]
    assert full in client().get_subjects()
assert client().get_schema_types() == ["AVRO"]
assert client().get_compatibility() == "BACKWARD"
assert client().get_compatibility("pulse.demo.events-value") == "BACKWARD"
assert client().get_config("pulse.demo.events-value").compatibility_level == "BACKWARD"
assert client().get_global_mode() == client().get_mode("a") == "READONLY"
assert client().get_associations_by_resource_name("pulse.demo.events", "-") == []

# Another writing of the same schema is the same, and another schema is none of ours.
subject = "pulse.demo.events-value"
rewritten = json.dumps({**json.loads(texts["event"]), "doc": "ours", "aliases": ["Fact"]})
assert client().register_schema(subject, Schema(rewritten, "AVRO")) == 1
coarser = texts["event"].replace('"scale": 18', '"scale": 2')
assert coarser != texts["event"]
for other in [coarser, texts["metric"], '"string"']:
    schema = Schema(other, "AVRO")
    refused(409, 409, lambda: client().register_schema(subject, schema))
    refused(404, 40403, lambda: client().lookup_schema(subject, schema))
    context = SerializationContext("pulse.demo.events", MessageField.VALUE)
    refused(409, 409, lambda: AvroSerializer(client(), other)(event, context))
refused(422, 42201, lambda: client().register_schema(subject, Schema("{", "AVRO")))
refused(422, 42201, lambda: client().register_schema(subject, Schema("{}", "JSON")))
refused(404, 40401, lambda: client().get_latest_version("pulse.demo.events-key"))
refused(404, 40402, lambda: client().get_version(subject, 2))
refused(422, 42202, lambda: client().get_version(subject, "newest"))
refused(404, 40403, lambda: client().get_schema(99))
refused(404, 404, lambda: client().get_schema_by_guid("89791762-2336-4186-9674-299b90a802e2"))
refused(404, 404, lambda: client().get_contexts())
refused(404, 404, lambda: client().get_latest_with_metadata(subject, {"a": "b"}))
refused(404, 404, lambda: client().test_compatibility(subject, Schema(texts["event"], "AVRO")))

# Nothing can be changed.
refused(405, 405, lambda: client().delete_subject(subject))
refused(405, 405, lambda: client().delete_version(subject, 1))
refused(405, 405, lambda: client().set_compatibility(level="NONE"))
refused(405, 405, lambda: client().set_compatibility(subject, "NONE"))
refused(405, 405, lambda: client().update_mode(subject, "READWRITE"))
refused(405, 405, lambda: client().update_global_mode("READWRITE"))
print("all is well")
