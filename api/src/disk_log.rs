//! Events on this machine's disk while the brokers are away.
