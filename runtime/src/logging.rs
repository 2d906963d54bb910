//! What the runtime says of itself, on standard error: the only file that names tracing-subscriber.
//!
//! `RUST_LOG` chooses (default: warnings), `NO_COLOR` is heeded. A program that has set up its own subscriber keeps it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging, unless somebody has.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stderr().is_terminal();
    // An error only says that there is a subscriber already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .try_init();
}
