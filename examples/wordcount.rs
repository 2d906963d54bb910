//! Placeholder of wordcount.

fn main() {}
