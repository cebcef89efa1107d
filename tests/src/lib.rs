//! PulseStream: tests.
