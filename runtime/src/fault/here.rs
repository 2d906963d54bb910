//! The injector of this thread, and what the runtime calls at its cuts.
//!
//! It is one for each thread, not one for each process: a test process holds several systems, each with a supervisor's
//! thread and a program's thread of its own. In an actor's process it is the thread on which the actor runs.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Injection;
use super::injector::{Firing, Injector, Site};
use super::plan::{Call, Cut, Fault};
use crate::clock;
use crate::process::misbehave;
use crate::wire::ids::{ActorId, Incarnation, MessageKey, Sequence};

/// Whether any thread of this process ever had a plan. Without one nothing else is looked at.
static INSTALLED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// Who runs on this thread.
#[derive(Clone)]
pub(crate) struct Who {
    pub(crate) actor: ActorId,
    pub(crate) name: String,
    pub(crate) incarnation: Incarnation,
}

/// Tells the supervisor what is about to be done, before it is.
pub(crate) type Tell = Rc<dyn Fn(Injection)>;

struct Here {
    injector: Injector,
    who: Who,
    tell: Tell,
}

/// What the runtime itself must do; everything else has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Nothing,
    Wait(Duration),
    Drop,
    Duplicate,
    Reorder,
    /// Which bit, of as many as there are.
    Corrupt(u64),
    /// How much is left, of as much as there is.
    Truncate(u64),
    Close,
    Fail(i32),
}

/// Gives this thread a plan, in place of what it had.
pub(crate) fn install(injector: Injector, who: Who, tell: Tell) {
    if injector.is_empty() {
        uninstall();
        return;
    }
    INSTALLED.store(true, Ordering::Relaxed);
    HERE.set(Some(Here { injector, who, tell }));
}

/// Takes this thread's plan away.
pub(crate) fn uninstall() {
    HERE.set(None);
}

/// Lets what this thread does be told in another way from now on.
pub(crate) fn tell_by(tell: Tell) {
    HERE.with_borrow_mut(|here| {
        if let Some(here) = here {
            here.tell = tell;
        }
    });
}

/// Whether there may be a plan: one load of what never changes in a process without one.
#[inline]
pub(crate) fn installed() -> bool {
    INSTALLED.load(Ordering::Relaxed)
}

/// Whether this thread's plan has a rule for this cut.
pub(crate) fn looks_at(cut: &Cut) -> bool {
    installed() && HERE.with_borrow(|here| here.as_ref().is_some_and(|here| here.injector.looks_at(cut)))
}

/// A cut at which no message is at hand.
#[inline]
pub(crate) fn at(cut: Cut) -> Effect {
    if installed() { reached(&cut, None, None, None) } else { Effect::Nothing }
}

/// A cut of a message's way.
#[inline]
pub(crate) fn at_message(cut: Cut, key: MessageKey, sequence: Sequence) -> Effect {
    if installed() { reached(&cut, None, Some(key), Some(sequence)) } else { Effect::Nothing }
}

/// The runtime is about to make this call: it fails if the plan says so.
#[inline]
pub(crate) fn call(call: Call) -> io::Result<()> {
    if installed() { failed(reached(&Cut::Call(call), None, None, None)) } else { Ok(()) }
}

/// The supervisor is about to start a process of this actor.
pub(crate) fn spawn(who: &Who) -> io::Result<()> {
    if installed() { failed(reached(&Cut::Spawn, Some(who), None, None)) } else { Ok(()) }
}

/// A place of your own for faults: with a rule for [`Cut::point`](super::Cut::point) of this name something happens
/// here, otherwise nothing.
///
/// Call it on the actor's own thread, in the middle of what should bear a crash there.
///
/// ```no_run
/// # fn write_ahead() {} fn apply() {}
/// write_ahead();
/// watertight::fault::point("between the log and the table");
/// apply();
/// ```
#[inline]
pub fn point(name: &str) {
    if installed() {
        reached(&Cut::Point(name.to_owned()), None, None, None);
    }
}

fn failed(effect: Effect) -> io::Result<()> {
    match effect {
        Effect::Fail(number) => Err(io::Error::from_raw_os_error(number)),
        _ => Ok(()),
    }
}

/// Does what the plan says. The first thing that is the runtime's to do is returned.
#[cold]
fn reached(cut: &Cut, whom: Option<&Who>, message: Option<MessageKey>, sequence: Option<Sequence>) -> Effect {
    // Asked again while it is being answered, by what tells of it: then nothing happens.
    let Some((firing, who, tell)) = HERE.with(|here| {
        let mut here = here.try_borrow_mut().ok()?;
        let Here { injector, who, tell } = here.as_mut()?;
        let whom = whom.unwrap_or(who);
        let site = Site { cut, actor: &whom.name, incarnation: whom.incarnation, message };
        let firing = injector.fire(site);
        (!firing.is_empty()).then(|| (firing, whom.clone(), Rc::clone(tell)))
    }) else {
        return Effect::Nothing;
    };
    let mut effect = Effect::Nothing;
    for one in firing {
        tell(injection(&one, cut, &who, sequence));
        let own = carry_out(one);
        if effect == Effect::Nothing {
            effect = own;
        }
    }
    effect
}

fn injection(firing: &Firing, cut: &Cut, who: &Who, sequence: Option<Sequence>) -> Injection {
    Injection {
        rule: firing.rule,
        fault: firing.fault.clone(),
        cut: cut.clone(),
        actor: who.actor,
        name: who.name.clone(),
        incarnation: who.incarnation,
        occasion: firing.occasion,
        message: firing.message.clone(),
        sequence,
        at: clock::now(),
    }
}

fn carry_out(firing: Firing) -> Effect {
    match (firing.fault, firing.after) {
        (Fault::Delay(time), _) => Effect::Wait(time),
        (Fault::Drop, _) => Effect::Drop,
        (Fault::Duplicate, _) => Effect::Duplicate,
        (Fault::Reorder, _) => Effect::Reorder,
        (Fault::Corrupt, _) => Effect::Corrupt(firing.random),
        (Fault::Truncate, _) => Effect::Truncate(firing.random),
        (Fault::Close, _) => Effect::Close,
        (Fault::Error(number), _) => Effect::Fail(number),
        (fault, None) => {
            misbehave::commit(&fault);
            Effect::Nothing
        }
        (fault, Some(wait)) => {
            misbehave::commit_later(fault, wait);
            Effect::Nothing
        }
    }
}
