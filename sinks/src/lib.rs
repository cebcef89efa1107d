//! PulseStream: sinks.
