//! Fault plans: faults that are injected where and when a test wants them, the same ones each time.
//!
//! A [`Plan`] is a seed and a list of [`Rule`]s. Each rule says what happens ([`Fault`]), at which place of the way of a
//! message or of a process ([`Cut`]), to whom, and how often. It is given to a system by
//! [`System::inject`](crate::System::inject). What was injected is told as [`Event::Injected`](crate::Event::Injected),
//! stands in the crash report of whom it killed, and is listed by [`System::injected`](crate::System::injected).
//!
//! ```no_run
//! use watertight::fault::{Cut, Fault, Plan};
//! use watertight::prelude::*;
//!
//! # #[message] struct Put(u64);
//! # async fn f(sys: System) -> Result<()> {
//! let plan = Plan::seeded(7)
//!     .with(Fault::Segfault.at(Cut::Started).actor("store").message::<Put>().nth(3))
//!     .with(Fault::Kill.at(Cut::Handled).actor("worker-*").chance(0.01));
//! sys.inject(plan).await?;
//! # Ok(()) }
//! ```
//!
//! **The same seed gives the same plan.** Whether a rule by chance fires at its n-th occasion depends on the seed, the
//! rule's place in the plan, the actor's name, the incarnation and n, and on nothing else. So as long as an actor gets
//! the same messages in the same order, the same ones are hit.
//!
//! Without a plan there is nothing: a process asks one static flag at each cut, which takes a fraction of a
//! nanosecond (a row of `cargo run --release --example bench -- faults`).
//!
//! - `plan.rs`: what users write. `refusal.rs`: which faults are possible where. `injector.rs`: which rules fire, pure.
//! - `here.rs`: the injector of this thread, and what the runtime calls at its cuts. `process/misbehave.rs` commits.

pub(crate) mod here;
mod injector;
mod plan;
mod refusal;
pub(crate) mod tamper;

pub use here::point;
pub(crate) use here::{Effect, at, at_message, call, install, looks_at, uninstall};
pub(crate) use injector::Injector;
pub(crate) use injector::{matches, mix};
pub use plan::{Call, Cut, Fault, Plan, Rule, errno};
pub use refusal::PlanError;
pub(crate) use refusal::{PROGRAM, SUPERVISOR};

use serde::{Deserialize, Serialize};

use crate::wire::ids::{ActorId, Incarnation, Sequence};

/// One fault that was injected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Injection {
    /// The rule's place in the plan, counted from 0.
    pub rule: usize,
    /// What.
    pub fault: Fault,
    /// Where.
    pub cut: Cut,
    /// To which actor; [`ActorId::PROGRAM`] for the program and for the supervisor.
    pub actor: ActorId,
    /// Its name; `program` or `supervisor`.
    pub name: String,
    /// Which of its lives.
    pub incarnation: Incarnation,
    /// The occasion, counted from 1 in each incarnation: which of those that the rule looks at.
    pub occasion: u64,
    /// The type of the message at hand, where the rule names one.
    pub message: Option<String>,
    /// The message's place on its link, where there is one.
    pub sequence: Option<Sequence>,
    /// When, in nanoseconds of the machine's monotonic clock.
    pub at: u64,
}

impl std::fmt::Display for Injection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rule {}: {} at {}", self.rule, self.fault, self.cut)?;
        if let Some(message) = &self.message {
            write!(f, " of {message}")?;
        }
        if let Some(sequence) = self.sequence {
            write!(f, " {sequence}")?;
        }
        write!(f, " in {}#{}, occasion {}", self.name, self.incarnation, self.occasion)
    }
}
