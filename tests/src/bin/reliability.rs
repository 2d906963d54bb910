//! The reliability suite: what the runtime promises, tried on real processes and scored.
//!
//! ```text
//! cargo run --release -p watertight-tests --bin reliability                  # everything in full: two to three hours
//! cargo run --release -p watertight-tests --bin reliability -- --quick       # everything, small
//! cargo run --release -p watertight-tests --bin reliability -- kills orphans # some of it; `list` lists all
//! ```
//!
//! Each experiment runs in a process and a system of its own. Exit code: 0 if every promise was kept, 1 if one was
//! broken, 2 for wrong usage.

use std::process::ExitCode;

use watertight::prelude::*;
use watertight_tests::reliability;

fn main() -> ExitCode {
    // What is measured beside actors is no actor and has nothing of the runtime.
    if let Some(code) = reliability::plain_part() {
        return code;
    }
    watertight::run(async |sys: System| reliability::run(sys).await)
}
