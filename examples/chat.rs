//! Placeholder of chat.

fn main() {}
