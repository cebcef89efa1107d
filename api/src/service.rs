//! `pulse-api`: all of it.
