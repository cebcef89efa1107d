//! What is kept for the platform's own parts, so that nobody's event can pass for theirs.

use schemas::control::Exchange;
use schemas::event::EventType;
use schemas::refusal::reserved;

/// Types that a client may send.
pub(super) const TYPES: [EventType; 7] = [
    EventType::ApiCall,
    EventType::UserAction,
    EventType::ErrorEvent,
    EventType::SystemEvent,
    EventType::CustomEvent,
    EventType::Trade,
    EventType::Quote,
];

/// True of a type that only connectors may write.
pub(super) fn is_reserved_type(event_type: EventType) -> bool {
    matches!(event_type, EventType::Gap | EventType::Candle)
}

/// True of a subject that is a connector's or the platform's, as every reader of events has it:
/// `coinbase:BTC-USD`, `pulse:limits`.
pub(super) fn is_connectors_subject(subject: &str) -> bool {
    reserved(EventType::CustomEvent, subject).is_some()
}

/// True of a service or subject in whose name only the platform may say how it is: `coinbase`,
/// `pulse`, `pulse-metrics`, `pulse:limits`; not of `pulsar`.
pub(super) fn is_platforms(name: &str) -> bool {
    let is_exchange = Exchange::ALL.iter().any(|exchange| exchange.name() == name);
    if is_exchange || is_connectors_subject(name) {
        return true;
    }
    let rest = name.strip_prefix("pulse");
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_platform_are_told_from_those_that_only_look_like_it() {
        for name in [
            "coinbase",
            "coinbase:feed",
            "pulse",
            "pulse-api",
            "pulse:x",
            "pulse x",
        ] {
            assert!(is_platforms(name), "{name}");
        }
        for name in [
            "coinbases",
            "pulsar",
            "pulse1",
            "impulse",
            "",
            "Coinbase:feed",
        ] {
            assert!(!is_platforms(name), "{name}");
        }
    }

    #[test]
    fn each_type_is_either_for_clients_or_reserved() {
        for event_type in EventType::ALL {
            assert_ne!(TYPES.contains(&event_type), is_reserved_type(event_type));
        }
    }
}
