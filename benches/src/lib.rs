//! PulseStream: benches.
