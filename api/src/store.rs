//! The control store: what is defined, in SQL, and the one way from there to `pulse.control`.
