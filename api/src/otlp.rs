//! OpenTelemetry's traces and logs as events.
