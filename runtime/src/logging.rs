//! What the runtime says of itself, on standard error: the only file that names tracing-subscriber.
//!
//! `RUST_LOG` chooses (default: warnings), `NO_COLOR` is heeded. A program that has set up its own subscriber keeps it.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging, unless somebody has.
pub(crate) fn start() {
    // `target=level` and levels, as everywhere; not the regular expressions of an `EnvFilter`, whose memory every actor
    // process would have.
    let wanted = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    let colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stderr().is_terminal();
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(false);
    // An error only says that there is a subscriber already.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
