//! For tests of whole systems.
//!
//! - [`Test`] is [`test`](fn@crate::test) with a fault plan, or another limit. Faults at exact places: [`fault`](crate::fault).
//! - [`Timeline`] waits for what happens, step by step; [`Happened`] judges what has happened: who was restarted and nobody
//!   else, how each life ended, what came within which time. [`Expected`] is one thing that may happen.
//! - [`Chaos`] kills and stops actors of a running system at random, by a seed; [`ChaosVerdict`] says what was done, who
//!   came back, how soon, and whether every message is accounted for.
//! - [`history`] judges what became of numbered messages, from what senders and receivers wrote down themselves.
//! - [`state_of`] says what a system looks like; a test that fails says it by itself.
//!
//! Of what every program has, tests use [`System::events`](crate::System::events), [`System::monitor`](crate::System::monitor),
//! [`System::stack`](crate::System::stack), [`System::balance`](crate::System::balance) with
//! [`Ledger::assert_even`](crate::Ledger::assert_even), and [`System::tree`](crate::System::tree).

mod chaos;
mod expected;
pub mod history;
mod limit;
mod run;
mod state;
mod timeline;

pub use chaos::{Chaos, ChaosVerdict};
pub use expected::Expected;
pub use run::{Test, test};
pub use state::state_of;
pub use timeline::{Happened, Timeline};
