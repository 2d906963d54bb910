//! A program whose actors say what is meant to deceive; the tests read what comes out of it.

use std::process::ExitCode;
use std::time::Duration;

use watertight::prelude::*;
use watertight_tests::loud::{FailWith, Loud, PanicWith, Say, Start, deceit};

/// Megabytes of output take a while on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    watertight::run(async |sys: System| {
        let spec = |start| Spec::<Loud>::new(start).backoff(Backoff::NONE);
        let loud = sys.spawn_with(spec(Start::Well).name("loud")).await?;
        loud.ask(Say(deceit().into_bytes(), 1)).deadline(PATIENCE).await?;
        loud.ask(Say(b"\xff\xfe\x00 no text\n".to_vec(), 1)).deadline(PATIENCE).await?;
        // A line of eight megabytes, then a flood of short ones.
        loud.ask(Say(vec![b'x'; 64 << 10], 128)).deadline(PATIENCE).await?;
        loud.ask(Say(b"\n\x1b[31mflood\n".to_vec(), 20_000)).deadline(PATIENCE).await?;
        for words in [deceit(), deceit().repeat(20_000)] {
            if let Err(died) = loud.ask(PanicWith(words)).await {
                eprintln!("program: {died}");
            }
        }
        // Such a name is not taken at all.
        for name in [&*deceit(), "two\nlines", "\u{202e}drow", "a\ttab"] {
            if let Err(refused) = sys.spawn_with(spec(Start::Well).name(name)).await {
                println!("program: refused {}", refused.to_string().len());
            }
        }
        for start in [Start::Fails(deceit()), Start::Declines(deceit()), Start::Fails("x".repeat(500_000))] {
            if let Err(error) = sys.spawn_with(spec(start)).await {
                println!("program: {error}");
            }
        }
        // It ends the program, which then says so.
        Ok(loud.ask(FailWith(deceit())).await?)
    })
}
