//! Three workers share a queue of jobs, a lock around the printer, an event that starts them and a counter. Watch for the
//! worker that is killed with the lock in its hands: the lock is free at once, its job goes to another one, and no job is
//! missing in the end.

use watertight::prelude::*;
use watertight_actors::FOREVER;
use watertight_actors::counter::Counter;
use watertight_actors::event::Event;
use watertight_actors::lock::Lock;
use watertight_actors::queue::Queue;

/// Does jobs, one after another.
struct Worker;

/// What all share; handles are small and travel as any data.
#[data]
#[derive(Clone)]
struct Office {
    jobs: Queue<u32>,
    begin: Event,
    printer: Lock,
    printed: Counter,
    /// Set by whoever holds the printer when it is time to be killed.
    doomed: Event,
}

impl Actor for Worker {
    type Args = Office;
    type Messages = ();

    async fn start(office: Office, cx: &mut Context<Self>) -> Result<Self> {
        let first_life = cx.incarnation().0 == 1;
        let name = cx.name().to_owned();
        tokio::spawn(async move {
            if let Err(error) = work(&office, &name, first_life).await {
                println!("{name} goes home: {error}");
            }
        });
        Ok(Worker)
    }
}

async fn work(office: &Office, name: &str, first_life: bool) -> Result<()> {
    office.begin.wait_within(FOREVER).await?;
    loop {
        // Leased, so that it goes to another worker if this one dies.
        let job = office.jobs.lease_within(FOREVER).await?;
        let printer = office.printer.acquire_within(FOREVER).await?;
        if *job == 7 && job.deaths() == 0 && first_life {
            println!("{name} dies with job {} and the printer in its hands", *job);
            office.doomed.set().await?;
            std::process::abort();
        }
        office.printed.add(1).await?;
        job.done().await?;
        drop(printer);
    }
}

fn main() -> std::process::ExitCode {
    watertight::run(async |sys: System| {
        let office = Office {
            jobs: Queue::start(&sys, 5).await?,
            begin: Event::start(&sys).await?,
            printer: Lock::start(&sys).await?,
            printed: Counter::start(&sys, 0).await?,
            doomed: Event::start(&sys).await?,
        };
        for name in ["ann", "bob", "cid"] {
            let spec = Spec::<Worker>::new(office.clone()).name(name).backoff(Backoff::NONE);
            sys.spawn_with(spec.output(watertight::Output::Plain)).await?;
        }
        office.begin.set().await?;
        for job in 1..=20 {
            office.jobs.put(job).await?;
        }
        let account = office.jobs.join().await?;
        office.doomed.wait().await?;
        println!("{} jobs put, {} done, {} came back", account.put, account.finished, account.returned);
        println!("{} printed, and the printer is free: {}", office.printed.get().await?, {
            office.printer.try_acquire().await?.is_some()
        });
        office.jobs.close().await?;
        Ok(())
    })
}
