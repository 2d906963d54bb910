//! A panic anywhere in an actor process is a crash: it is said on the control link and on standard error, then the
//! process aborts. (A panicking tokio task would otherwise leave it alive.)

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::sync::Weak;

use crate::harmless::{BACKTRACE, MESSAGE};
use crate::node::Node;
use crate::report::Panic;
use crate::wire::control::ToSupervisor;

/// Sets the hook.
pub(super) fn prepare(node: Weak<Node>) {
    std::panic::set_hook(Box::new(move |info| {
        let mut panic = Panic {
            message: cut(message(info), MESSAGE),
            location: info.location().map(ToString::to_string).unwrap_or_default(),
            thread: std::thread::current().name().unwrap_or("unnamed").to_owned(),
            backtrace: None,
        };
        eprintln!("thread '{}' panicked at {}:\n{}", panic.thread, panic.location, panic.message);
        let node = node.upgrade();
        // Before the backtrace: finding its symbols can take a tenth of a second.
        if let Some(node) = &node {
            node.try_say(&ToSupervisor::Panicked(panic.clone()));
        }
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            let text = backtrace.to_string();
            eprintln!("{text}");
            panic.backtrace = Some(cut(text, BACKTRACE));
            if let Some(node) = &node {
                node.try_say(&ToSupervisor::Panicked(panic));
            }
        }
        std::process::abort();
    }));
}

fn message(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a panic without a text".to_owned(),
    }
}

fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
