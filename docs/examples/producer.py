"""Writes an event straight to Kafka.

python producer.py BROKERS REGISTRY TOPIC [SETTING=VALUE ...]
"""
import datetime, decimal, sys
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

brokers, registry, topic, *settings = sys.argv[1:]
now = datetime.datetime.now(datetime.timezone.utc)
event = {
    "event_id": "order-1041-paid",
    "event_type": "custom_event",
    "name": "order_paid",
    "occurred_at": now,
    "received_at": now,
    "source": {"service": "checkout"},
    "subject": "shop:berlin",
    "tags": {"currency": "EUR"},
    "metrics": {"amount": decimal.Decimal("19.90")},
}

client = SchemaRegistryClient({"url": registry})
serialize = AvroSerializer(client, client.get_latest_version(f"{topic}-value").schema)
producer = Producer({
    "bootstrap.servers": brokers,
    "partitioner": "murmur2_random",
    "enable.idempotence": True,
    **dict(setting.split("=", 1) for setting in settings),
})
value = serialize(event, SerializationContext(topic, MessageField.VALUE))
producer.produce(topic, key=event["subject"], value=value,
                 on_delivery=lambda error, _: error and sys.exit(str(error)))
sys.exit("the brokers did not answer" if producer.flush(30) else 0)
