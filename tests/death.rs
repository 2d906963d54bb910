//! Placeholder of death.
