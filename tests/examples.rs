//! Placeholder of examples.
