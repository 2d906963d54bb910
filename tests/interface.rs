//! Placeholder of interface.
