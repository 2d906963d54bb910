//! The message in whose handling this thread is right now: where its deadline and its call chain come from.
//!
//! It is set while the handler's own future is polled and at no other time, so a task that the handler has spawned
//! asks on its own account.

use std::cell::RefCell;

use crate::wire::frame::{CHAIN_LIMIT, ChainLink};

#[derive(Default)]
struct Call {
    polling: bool,
    deadline: Option<u64>,
    chain: Vec<ChainLink>,
}

thread_local! {
    static CALL: RefCell<Call> = RefCell::default();
}

/// A message is about to be handled: the chain that led to it, and its own place at the end.
pub(crate) fn begin(deadline: Option<u64>, led: impl Iterator<Item = ChainLink>, own: ChainLink) {
    CALL.with_borrow_mut(|call| {
        call.deadline = deadline;
        call.chain.clear();
        call.chain.extend(led.take(CHAIN_LIMIT - 1));
        call.chain.push(own);
    });
}

/// What is about to be handled is no message from anybody: it has neither deadline nor chain.
pub(crate) fn begin_own() {
    CALL.with_borrow_mut(|call| {
        call.deadline = None;
        call.chain.clear();
    });
}

/// Runs one poll of the handler's future.
pub(crate) fn polling<R>(poll: impl FnOnce() -> R) -> R {
    CALL.with_borrow_mut(|call| call.polling = true);
    let result = poll();
    CALL.with_borrow_mut(|call| call.polling = false);
    result
}

/// The deadline of the message being handled, if the caller is in its handler.
pub(crate) fn deadline() -> Option<u64> {
    CALL.with_borrow(|call| call.deadline.filter(|_| call.polling))
}

/// Gives the chain of the message being handled to `use_it`; empty outside a handler.
pub(crate) fn with_chain<R>(use_it: impl FnOnce(&[ChainLink]) -> R) -> R {
    CALL.with_borrow(|call| use_it(if call.polling { &call.chain } else { &[] }))
}
