//! `pulse-gateway`: ingest alone.
