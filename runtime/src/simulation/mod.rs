//! The pure parts together, in virtual time; only for tests.
//!
//! - [`seeded`]: random tests by seed.
//! - [`link`]: a link between two actors: an outbox, two pipes, an inbox, and the truth about every message.
//! - [`system`]: the supervision tree, pretend processes and the broker's part, driven by one queue of what happens when.
//! - [`random`]: the systems and the troubles that a seed makes.
#![forbid(unsafe_code)]

mod link;
mod random;
pub(crate) mod seeded;
mod system;
