//! PulseStream: connectors.
