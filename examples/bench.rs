//! Placeholder of bench.

fn main() {}
