//! What ClickHouse knows, for one tenant at a time.
