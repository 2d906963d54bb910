//! One actor in a process of its own: spawn, tell, ask. Watch for the two process numbers.

use std::process::ExitCode;

use watertight::prelude::*;

/// Lives in a process of its own.
struct Counter {
    total: i64,
}

#[message]
struct Add(i64);

#[message(reply = i64)]
struct Total;

#[message(reply = u32)]
struct Process;

impl Actor for Counter {
    type Args = i64;
    type Messages = (Add, Total, Process);

    async fn start(total: i64, _: &mut Context<Self>) -> Result<Self> {
        Ok(Counter { total })
    }
}

impl Handler<Add> for Counter {
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> Result<()> {
        self.total += n;
        Ok(())
    }
}

impl Handler<Total> for Counter {
    async fn handle(&mut self, _: Total, _: &mut Context<Self>) -> Result<i64> {
        Ok(self.total)
    }
}

impl Handler<Process> for Counter {
    async fn handle(&mut self, _: Process, _: &mut Context<Self>) -> Result<u32> {
        Ok(std::process::id())
    }
}

fn main() -> ExitCode {
    watertight::run(async |sys: System| {
        let counter = sys.spawn::<Counter>(0).await?;
        for n in 1..=10 {
            counter.tell(Add(n)).await?;
        }
        println!("process {} asks process {}", std::process::id(), counter.ask(Process).await?);
        println!("1 + 2 + ... + 10 = {}", counter.ask(Total).await?);
        Ok(())
    })
}
