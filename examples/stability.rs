//! Placeholder of stability.

fn main() {}
