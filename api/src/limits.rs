//! How much a tenant and a key may send.
