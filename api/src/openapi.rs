//! The API's description, made from its code.
