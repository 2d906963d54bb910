//! Actors that may segfault.
//!
//! Each actor is one operating-system process. A supervisor starts them, watches them and restarts them; they talk only
//! in typed messages over local sockets. A crash costs the one message in hand, and you are told which; nothing else
//! that was accepted is lost silently.
//!
//! ```no_run
//! use watertight::prelude::*;
//!
//! /// Lives in a process of its own.
//! struct Counter { total: i64 }
//!
//! #[message] struct Add(i64);
//! #[message(reply = i64)] struct Total;
//!
//! impl Actor for Counter {
//!     type Args = i64;
//!     type Messages = (Add, Total);
//!     async fn start(total: i64, _: &mut Context<Self>) -> Result<Self> { Ok(Self { total }) }
//! }
//! impl Handler<Add> for Counter {
//!     async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> Result<()> { self.total += n; Ok(()) }
//! }
//! impl Handler<Total> for Counter {
//!     async fn handle(&mut self, _: Total, _: &mut Context<Self>) -> Result<i64> { Ok(self.total) }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     watertight::run(async |sys: System| {
//!         let counter = sys.spawn::<Counter>(0).await?;
//!         counter.tell(Add(5)).await?;
//!         println!("{}", counter.ask(Total).await?);
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # Reading order
//!
//! 1. `system.rs`: `run` becomes the supervisor process or an actor's.
//! 2. What users touch: [`mod@message`], [`actor`], [`address`], [`reply`], `names.rs`, [`members`], [`mod@blob`],
//!    [`mod@array`], [`mod@channel`], [`mod@byte_stream`], [`spec`], [`report`], [`event`], [`error`].
//! 3. `wire/`: what crosses a socket. `delivery/`: outbox and inbox, pure.
//! 4. `node/`: one process's end of the system, the same in the program and in every actor.
//! 5. `host/`: an actor's process. `supervisor/`: the supervisor's loop. They never import each other.
//! 6. `process/`: the operating system, and all `unsafe`.

pub mod actor;
pub mod address;
pub mod administration;
pub mod array;
pub mod blob;
pub mod byte_stream;
mod caught;
pub mod channel;
mod clock;
mod closed_output;
mod delivery;
mod encoded;
pub mod error;
pub mod event;
pub mod fault;
pub mod function_process;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod group;
mod harmless;
mod host;
pub mod ledger;
mod logging;
pub mod members;
pub mod message;
mod monitor;
mod names;
mod node;
pub mod pool;
mod process;
mod profile;
mod program;
mod recent;
pub mod reply;
pub mod report;
mod run;
mod schema;
mod sender;
#[cfg(test)]
mod simulation;
pub mod spec;
mod supervisor;
mod sync;
mod system;
mod task;
pub mod testing;
mod wire;

pub use actor::{Actor, Context, Handler, Timer};
pub use address::{Address, DEFAULT_DEADLINE, Recipient};
pub use administration::{ChildCount, NodeInfo, SpecInfo, SupervisionTree};
pub use array::{Array, ArrayPart, OutOfRange};
pub use blob::{Blob, Plain, ViewError};
pub use byte_stream::{ByteReader, ByteWriter, byte_stream};
pub use channel::{ChannelError, Receiver, Sender, channel};
pub use encoded::Encoded;
pub use error::{
    AdministrationError, AskError, Error, Executed, Result, SpawnError, SystemError, TellError, Unreachable,
};
pub use event::{ActorInfo, Down, Event, Events, GroupEnd, Membership, Phase};
pub use function_process::{Process, ProcessError, wait_any};
pub use group::{AutoShutdown, Flags, Group, Strategy};
pub use ledger::Ledger;
pub use members::{AskOneError, Change, Members, TellOneError, ToldAll};
pub use message::{Message, MessageKey};
pub use monitor::Monitor;
pub use pool::Pool;
pub use process::cgroup_rules::Cgroup;
pub use reply::ReplyTo;
pub use report::{CrashReport, Exit};
pub use run::Run;
pub use sender::SenderEnded;
pub use spec::{Backoff, Confinement, Intensity, Output, Profile, Restart, Sandbox, Shutdown, Spec};
pub use system::{System, attach, hide_program, run};
pub use testing::test;
pub use watertight_macros::{data, message};
pub use wire::ids::{ActorId, Incarnation, Sequence};

/// What nearly every actor module needs.
pub mod prelude {
    pub use crate::actor::{Actor, Context, Handler};
    pub use crate::address::{Address, Recipient};
    pub use crate::array::Array;
    pub use crate::blob::Blob;
    pub use crate::error::{AskError, Error, Result, TellError};
    pub use crate::event::Down;
    pub use crate::message::Message;
    pub use crate::reply::ReplyTo;
    pub use crate::spec::{Backoff, Restart, Spec};
    pub use crate::system::System;
    pub use watertight_macros::{data, message};
}

/// For the code that `#[message]` and `#[data]` write.
#[doc(hidden)]
pub mod internal {
    pub use crate::schema::{decode, owns_descriptors};
    pub use postcard_schema::{self, Schema};
    pub use serde::{self, Deserialize, Serialize};
}
