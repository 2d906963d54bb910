//! For tests of whole systems.
//!
//! - [`Chaos`] kills and stops actors of a running system at random, by a seed; [`ChaosVerdict`] says what was done, who
//!   came back, how soon, and whether every message is accounted for.
//! - [`history`] judges what became of numbered messages, from what senders and receivers wrote down themselves.
//!
//! For faults at exact places there are fault plans: [`fault`](crate::fault). Tests themselves begin with
//! [`test`](crate::test).

mod chaos;
pub mod history;
mod limit;
mod run;
mod state;

pub use chaos::{Chaos, ChaosVerdict};
pub use run::{Test, test};
pub use state::state_of;
