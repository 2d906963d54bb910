//! Runs only in an actor process.
//!
//! ```text
//!  runtime (one process)                            user
//!  ─────────────────────────────────────────────    ───────────────────
//!  begin        ticket, limits, code reference
//!  main_loop    ─────────────────────────────────▶  Actor::start
//!    loop       wait for a frame on any link
//!               recorder: started
//!               decode ──────────────────────────▶  Handler::handle
//!               reply to the kernel  ◀────────────   Ok | Err
//!               recorder: processed
//!               stop, or cx.stop() ──────────────▶  Actor::stopped
//!  control      a thread of its own: hears the supervisor; its end is this process's end
//!  last_look    a hung thread's stack, taken by the control thread
//!  last_words   a panic on any thread: said, then abort
//! ```

pub(crate) mod begin;
mod control;
mod last_look;
mod last_words;
pub(crate) mod main_loop;

pub(crate) use begin::become_actor;
