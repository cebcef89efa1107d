//! The operator's tool, and the local stack that it and the tests run on.

pub mod stack;
