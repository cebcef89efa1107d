//! PulseStream: processors.
