//! Placeholder of ring.

fn main() {}
