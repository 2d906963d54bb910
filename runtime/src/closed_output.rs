//! A program that prints although nobody reads any more, as in `program | head`: it ends quietly.
//!
//! `println!` panics then, and Rust's own way to say so is pages of a backtrace. The signal that ends other programs at
//! this point, SIGPIPE, stays ignored: to the supervisor a closed socket is an error like any other. So the panic is
//! known by its words, which `tests/examples.rs` watches over.

use std::any::Any;
use std::panic::resume_unwind;
use std::thread;

use crate::caught::caught;

/// What a shell says of a program that SIGPIPE has ended: 128 and the signal's number.
pub(crate) const EXIT_CODE: u8 = 128 + 13;

/// Nobody reads what the program prints.
#[derive(Debug)]
pub(crate) struct OutputClosed;

/// From here on this thread says nothing when it panics for that reason; other threads and other reasons do as before.
pub(crate) fn keep_quiet() {
    let program = thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if thread::current().id() != program || !is_closed_output(info.payload()) {
            before(info);
        }
    }));
}

/// Runs the program until it returns or prints to nobody. Any other panic goes on.
pub(crate) async fn watched<T>(program: impl Future<Output = T>) -> Result<T, OutputClosed> {
    match caught(program).await {
        Ok(value) => Ok(value),
        Err(panic) if is_closed_output(&*panic) => Err(OutputClosed),
        Err(panic) => resume_unwind(panic),
    }
}

/// As `print!` and `eprint!` say it: "failed printing to stdout: Broken pipe (os error 32)".
fn is_closed_output(panic: &(dyn Any + Send)) -> bool {
    panic
        .downcast_ref::<String>()
        .is_some_and(|text| text.starts_with("failed printing to std") && text.contains("(os error 32)"))
}
