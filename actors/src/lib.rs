//! Ready-made actors for Watertight, each file a model of how an actor module is written: its promise, its messages,
//! the actor, its tests.
//!
//! # Which to choose
//!
//! | You want | Choose | After a restart of it |
//! |---|---|---|
//! | to be told something at a period | [`Ticker`](ticker::Ticker) | it ticks on, and counts from 1 again |
//! | sums by key from many senders | [`Tally`](tally::Tally) | the sums begin at zero, and the report says so |
//! | a value by key that several actors read and write | [`Table`](table::Table) | its first entries are there again, later ones are not |
//!
//! # Shared things
//!
//! What several processes hold, wait for or write, each with a typed handle that is cloned and sent to others, and no
//! death of a user wedges it. `docs/shared.md` compares them with Python's, and says what each promises when a holder or
//! its own process dies.
//!
//! | You want | Choose |
//! |---|---|
//! | items from many producers for many consumers | [`Queue`](queue::Queue) |
//! | one at a time; so many at a time | [`Lock`](lock::Lock); [`Semaphore`](semaphore::Semaphore) |
//! | to wait until something has happened | [`Event`](event::Event) |
//! | to wait until all are there | [`Barrier`](barrier::Barrier) |
//! | to wait until what a lock protects has changed | [`Condition`](condition::Condition) |
//! | a number, a value, values by key, attributes | [`Counter`](counter::Counter), [`Value`](value::Value), [`KeyValue`](key_value::KeyValue), [`Namespace`](namespace::Namespace) |
//! | messages for whoever is interested | [`Topics`](pubsub::Topics) |
//!
//! ```no_run
//! use watertight::prelude::*;
//! use watertight_actors::queue::Queue;
//!
//! # async fn f(sys: System) -> Result<()> {
//! let queue = Queue::<String>::start(&sys, 100).await?;
//! queue.put("x".into()).await?;
//! let item = queue.get().await?;
//! # drop(item); Ok(()) }
//! ```
//!
//! # What is kept
//!
//! None of them keeps anything on disk: what an actor's memory holds ends with its process. What must outlive a crash
//! of the keeper belongs where the keeper's crash does not reach: in the arguments, in a file, in another actor.
//!
//! ```no_run
//! use watertight::prelude::*;
//! use watertight_actors::tally::{Add, Report, Tally};
//!
//! fn main() -> std::process::ExitCode {
//!     watertight::run(async |sys: System| {
//!         let tally = sys.spawn::<Tally>(100).await?;
//!         tally.tell(Add { key: "apples".into(), by: 3 }).await?;
//!         println!("{} in all", tally.ask(Report).await?.total());
//!         Ok(())
//!     })
//! }
//! ```

pub mod barrier;
pub mod condition;
pub mod counter;
pub mod event;
mod handle;
pub mod key_value;
pub mod lock;
pub mod namespace;
mod permits;
pub mod pubsub;
pub mod queue;
pub mod semaphore;
pub mod table;
pub mod tally;
pub mod ticker;
pub mod value;
mod waiting;

pub use handle::{FOREVER, Home, SharedError, TypedSpec};
