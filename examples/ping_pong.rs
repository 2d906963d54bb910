//! Placeholder of ping_pong.

fn main() {}
