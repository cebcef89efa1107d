//! A type of event by its name on the wire, in JSON.

use super::{Deserialize, Deserializer, EventType, Serializer};

pub(super) fn serialize<S: Serializer>(
    value: &Option<EventType>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(event_type) => serializer.serialize_str(event_type.as_str()),
        None => serializer.serialize_none(),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<EventType>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(serde::de::Error::custom)
}
