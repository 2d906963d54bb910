//! What crosses a socket: identities, frames, bodies, control messages and the sockets themselves.
//!
//! [`ids`], [`frame`], [`number`] and [`codec`] are pure. [`control`] is the conversation of a process with its supervisor.
//! [`transport`] is the only file that names interprocess.

pub mod codec;
pub mod control;
pub mod conversation;
pub mod depth;
pub mod frame;
pub mod hello;
pub mod ids;
pub mod number;
pub mod passing;
pub mod place;
pub mod quick;
pub mod records;
pub mod transport;
pub mod weight;
