//! Placeholder of docs.
