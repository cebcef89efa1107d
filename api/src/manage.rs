//! Routes that change what a tenant defines: itself, keys, meters, feeds.
