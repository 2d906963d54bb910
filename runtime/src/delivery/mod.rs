//! Getting messages across, pure: no socket, no clock, no lock.
//!
//! ```text
//! sender                                                            receiver
//! append ──► Outbox ── unsent, wrote ──► socket ── space, filled ──► Inbox ── next ──► handler
//!               ▲                                                                        │
//!          acknowledge ◄── FrameBuffer ◄── socket ◄────────── acks and replies ◄─────────┘
//! ```
//!
//! The [outbox] keeps what it sent until it is known to be processed, so that a new incarnation of the receiver gets
//! what the old one did not start. The [inbox] skips what was processed before. The [frame buffer](frame_buffer) is the reading
//! half that both directions share. What becomes of a message when the receiver dies is decided in the outbox and
//! nowhere else.

pub mod descriptors;
pub mod frame_buffer;
pub mod inbox;
pub mod outbox;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
