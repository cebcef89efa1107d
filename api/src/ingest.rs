//! Events over HTTP: from a body to acknowledged records, with an outcome for each event.
