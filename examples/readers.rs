//! Readers join a group, the program spreads lines over whoever is in it. Watch for the reader that is killed half way:
//! it leaves the group, its next life joins again, and the sums by reader add up to all lines.

use std::time::Duration;

use watertight::prelude::*;
use watertight::{Change, Members};
use watertight_actors::tally::{Add, Report, Tally};

/// Counts the words of a line, and tells a tally that it finds by its name.
struct Reader {
    tally: Address<Tally>,
}

/// May be read again: the program adds nothing up by itself.
#[message(reply = u64, idempotent)]
struct Read {
    line: String,
}

impl Actor for Reader {
    type Args = ();
    type Messages = (Read,);

    async fn start(_: (), cx: &mut Context<Self>) -> Result<Self> {
        // Started before the tally: it waits until that is there.
        let tally = cx.wait_for("tally", Duration::from_secs(5)).await?;
        // Every life joins again.
        cx.join("readers").await?;
        Ok(Reader { tally })
    }
}

impl Handler<Read> for Reader {
    async fn handle(&mut self, Read { line }: Read, cx: &mut Context<Self>) -> Result<u64> {
        self.tally.ask(Add { key: cx.name().to_owned(), by: 1 }).await?;
        Ok(line.split_whitespace().count() as u64)
    }
}

async fn spread(readers: &Members<Reader>, lines: std::ops::Range<u32>) -> Result<u64> {
    let mut words = 0;
    for n in lines {
        words += readers.ask_one(Read { line: format!("this is line {n}") }).await?;
    }
    Ok(words)
}

fn main() -> std::process::ExitCode {
    watertight::run(async |sys: System| {
        for name in ["ann", "bob", "cid"] {
            let sys = sys.clone();
            tokio::spawn(async move {
                let named = Spec::<Reader>::new(()).name(name).backoff(Backoff::NONE);
                if let Err(error) = sys.spawn_with(named).await {
                    eprintln!("{error}");
                }
            });
        }
        let mut readers = sys.members::<Reader>("readers").await?;
        let tally = sys.spawn_with(Spec::<Tally>::new(10).name("tally")).await?;
        while readers.len() < 3 {
            readers.changed().await.ok_or(Error::new("the system ended"))?;
        }
        let mut words = spread(&readers, 0..30).await?;

        // The changes so far are of the beginning; a fresh view tells what comes now.
        let mut readers = sys.members::<Reader>("readers").await?;
        sys.kill(&readers.addresses()[0]).await?;
        words += spread(&readers, 30..60).await?;
        for _ in 0..2 {
            match readers.changed().await {
                Some(Change::Left(reader)) => println!("{} left", sys.info(&reader).await?.name),
                Some(Change::Joined(reader)) => println!("{} joined again", sys.info(&reader).await?.name),
                None => return Err(Error::new("the system ended")),
            }
        }
        let sums = tally.ask(Report).await?;
        println!("{words} words in {} lines, by {} readers", sums.total(), sums.by_key.len());
        Ok(())
    })
}
