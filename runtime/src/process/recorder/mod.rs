//! The flight recorder: what a process had in hand when it died, to be read by its supervisor afterwards.
//!
//! One sealed memory file per process, mapped by the process and by its supervisor. The process notes what it does
//! with plain stores; the kernel keeps what was stored whatever kills the process. The first row is about the
//! process; the supervisor hands out each of the others to one end of a link.
//!
//! **Killed between any two stores.** Each operation has one store that commits it. All of them are `Release`, so
//! they happen in the order in which they are written here (on x86-64 that costs nothing), and what was stored when
//! the process died is a prefix of that order:
//!
//! | operation | stores | commit |
//! |---|---|---|
//! | `start`   | key, key's check, `started` | `started`: it is ahead of `settled`, so a message is in hand |
//! | `finish`  | `processed`, `settled`      | `settled`: it has caught up, so no message is in hand |
//! | `skip`    | `skipped`, `settled`, `started` | `settled` |
//!
//! A count is stored one operation before it counts. `settled` holds the lowest bit of both counts, so a reader sees
//! by them that a count is one ahead, and takes one off.
//!
//! **Scribbled on.** A process that dies of a stray pointer may have written anything here. Each cell that matters
//! is a `seal`: 50 bits of value and 14 of checksum over the value, the row and the cell's role. What was stored
//! by accident passes once in 16384 times, and then has to agree with the other cells.
//!
//! In tests the process also notes its last messages one by one: [`messages`].

mod messages;
mod page;
mod rows;

pub use page::Recorder;
pub use rows::{IncomingRow, OutgoingRow};
#[cfg(feature = "fuzzing")]
pub use rows::{IncomingState, OutgoingState, Scribbled};
