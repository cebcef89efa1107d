//! The released schemas on the paths of a schema registry.
