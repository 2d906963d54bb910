//! What a test expects of a system.

use std::fmt;

use crate::fault::matches;
use crate::{CrashReport, Event, Exit};

/// One thing that may happen in a system: to be waited for, or looked for in what has happened. Names may contain `*` for
/// any characters.
///
/// ```
/// use watertight::Exit;
/// use watertight::testing::Expected;
///
/// let killed = Expected::exited("till").by(Exit::Killed).and("idle", |report| report.in_hand.is_none());
/// assert_eq!(killed.to_string(), "the exit of till: killed on request, idle");
/// ```
pub struct Expected {
    words: String,
    is: Box<dyn Fn(&Event) -> bool + Send>,
}

impl Expected {
    /// This incarnation of an actor is ready.
    pub fn started(name: impl Into<String>, incarnation: u32) -> Expected {
        let wanted = name.into();
        let words = format!("the start of {wanted}#{incarnation}");
        Expected::event(words, move |event| match event {
            Event::Started { name, incarnation: this, .. } => this.0 == incarnation && matches(&wanted, name),
            _ => false,
        })
    }

    /// A life of an actor has ended, as it meant to or not.
    pub fn exited(name: impl Into<String>) -> Expected {
        let wanted = name.into();
        let words = format!("the exit of {wanted}");
        Expected::event(words, move |event| match event {
            Event::Exited(report) => matches(&wanted, &report.name),
            _ => false,
        })
    }

    /// An actor has ended for good, given up or not.
    pub fn ended(name: impl Into<String>) -> Expected {
        let wanted = name.into();
        let words = format!("the end of {wanted} for good");
        Expected::event(words, move |event| match event {
            Event::Ended { name, .. } => matches(&wanted, name),
            _ => false,
        })
    }

    /// A fault of the plan has been injected into an actor.
    pub fn injected(name: impl Into<String>) -> Expected {
        let wanted = name.into();
        let words = format!("an injection into {wanted}");
        Expected::event(words, move |event| match event {
            Event::Injected(injection) => matches(&wanted, &injection.name),
            _ => false,
        })
    }

    /// Anything else, in your words.
    pub fn event(words: impl Into<String>, is: impl Fn(&Event) -> bool + Send + 'static) -> Expected {
        Expected { words: words.into(), is: Box::new(is) }
    }

    /// Of exits only this one.
    pub fn by(self, exit: Exit) -> Expected {
        let words = format!("{}: {exit}", self.words);
        Expected::event(words, move |event| {
            (self.is)(event) && matches!(event, Event::Exited(report) if report.exit == exit)
        })
    }

    /// Of exits only those of which the report says this too.
    pub fn and(self, words: &str, says: impl Fn(&CrashReport) -> bool + Send + 'static) -> Expected {
        let words = format!("{}, {words}", self.words);
        Expected::event(words, move |event| {
            (self.is)(event) && matches!(event, Event::Exited(report) if says(report))
        })
    }

    /// Whether it is this.
    pub fn is(&self, event: &Event) -> bool {
        (self.is)(event)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expected({})", self.words)
    }
}
