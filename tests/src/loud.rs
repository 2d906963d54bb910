//! An actor whose every word is meant to deceive whoever reads a terminal or a log.

use watertight::prelude::*;

/// Begins a line that passes for the supervisor's, if it stands where a line begins.
pub const FORGED: &str = "2026-01-01T00:00:00.000000Z ERROR forged#1 (pid 1): SIGKILL; restarted";

/// Clears the screen, sets the title, goes up, hides, turns the direction, ends the line in every way, and forges one.
pub fn deceit() -> String {
    format!(
        "\x1b[2J\x1b]0;owned\x07\x1b[1A\x1b[8mhidden\u{9b}31m\u{202e}drow\u{2028}\r\n{FORGED}\n\x08\x7f\x0b\x0c{FORGED}"
    )
}

/// Says what it is told to.
pub struct Loud;

/// How its start goes.
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    Well,
    Fails(String),
    Declines(String),
}

/// Writes these bytes so many times to both standard streams.
#[message]
pub struct Say(pub Vec<u8>, pub u32);

/// Panics with these words.
#[message]
pub struct PanicWith(pub String);

/// Answers with an error in these words.
#[message]
pub struct FailWith(pub String);

impl Actor for Loud {
    type Args = Start;
    type Messages = (Say, PanicWith, FailWith);
    async fn start(how: Start, cx: &mut Context<Self>) -> Result<Self> {
        match how {
            Start::Well => Ok(Loud),
            Start::Fails(words) => Err(Error::new(words)),
            Start::Declines(words) => cx.decline(words),
        }
    }
}

impl Handler<Say> for Loud {
    async fn handle(&mut self, Say(bytes, times): Say, _: &mut Context<Self>) -> Result<()> {
        use std::io::Write;
        for _ in 0..times {
            std::io::stdout().write_all(&bytes)?;
            std::io::stderr().write_all(&bytes)?;
        }
        std::io::stdout().flush()?;
        Ok(())
    }
}

impl Handler<PanicWith> for Loud {
    async fn handle(&mut self, PanicWith(words): PanicWith, _: &mut Context<Self>) -> Result<()> {
        panic!("{words}")
    }
}

impl Handler<FailWith> for Loud {
    async fn handle(&mut self, FailWith(words): FailWith, _: &mut Context<Self>) -> Result<()> {
        Err(Error::new(words))
    }
}
