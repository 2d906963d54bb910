//! Placeholder of bad_input.
