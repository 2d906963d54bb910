//! Placeholder of isolation.
