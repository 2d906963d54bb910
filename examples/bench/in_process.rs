//! The same message within one process, by kameo: what it costs with no process border, and with no protection.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use kameo::actor::{ActorRef, Spawn};
use kameo::message::{Context, Message};
use tokio::sync::oneshot;
use watertight::{Error, Result};

use crate::subjects::Sample;

/// Which tokio runtime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// What `#[tokio::main]` makes.
    MultiThread,
    /// All on one thread.
    CurrentThread,
}

struct Receiver {
    counted: u64,
    sum: f64,
}

impl kameo::Actor for Receiver {
    type Args = ();
    type Error = Infallible;

    async fn on_start(_: (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Receiver { counted: 0, sum: 0.0 })
    }
}

struct Count(Sample);
struct Counted;
struct First(Sample);

impl Message<Count> for Receiver {
    type Reply = ();

    async fn handle(&mut self, Count(sample): Count, _: &mut Context<Self, ()>) {
        self.counted += 1;
        self.sum += sample.values[0];
    }
}

impl Message<First> for Receiver {
    type Reply = f64;

    async fn handle(&mut self, First(sample): First, _: &mut Context<Self, f64>) -> f64 {
        sample.values[0]
    }
}

impl Message<Counted> for Receiver {
    type Reply = u64;

    async fn handle(&mut self, _: Counted, _: &mut Context<Self, u64>) -> u64 {
        std::hint::black_box(self.sum);
        self.counted
    }
}

/// `senders` tasks tell one actor `count` messages in all, until the last one is handled. The mailbox is the default
/// one, with its bound.
pub async fn tell(runtime: Runtime, senders: u64, count: u64) -> Result<Duration> {
    timed(runtime, async move |receiver| {
        for task in each(senders, || {
            let receiver = receiver.clone();
            async move {
                for number in 0..count / senders {
                    receiver.tell(Count(Sample::new(number))).await.map_err(Error::new)?;
                }
                Ok::<_, Error>(())
            }
        }) {
            task.await??;
        }
        let counted = receiver.ask(Counted).await.map_err(Error::new)?;
        if counted == count / senders * senders { Ok(()) } else { Err(Error::new("kameo lost a message")) }
    })
    .await
}

/// `under_way` tasks ask one actor `count` times in all.
pub async fn ask(runtime: Runtime, under_way: u64, count: u64) -> Result<Duration> {
    timed(runtime, async move |receiver| {
        for task in each(under_way, || {
            let receiver = receiver.clone();
            async move {
                for number in 0..count / under_way {
                    receiver.ask(First(Sample::new(number))).await.map_err(Error::new)?;
                }
                Ok::<_, Error>(())
            }
        }) {
            task.await??;
        }
        Ok(())
    })
    .await
}

fn each<F>(tasks: u64, mut task: impl FnMut() -> F) -> Vec<tokio::task::JoinHandle<Result<()>>>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    (0..tasks).map(|_| tokio::spawn(task())).collect()
}

/// Runs `work` on a runtime and threads of its own, while the caller's thread sleeps.
async fn timed<W>(runtime: Runtime, work: W) -> Result<Duration>
where
    W: AsyncFnOnce(ActorRef<Receiver>) -> Result<()> + Send + 'static,
{
    let (done, result) = oneshot::channel();
    std::thread::spawn(move || {
        let mut builder = match runtime {
            Runtime::MultiThread => tokio::runtime::Builder::new_multi_thread(),
            Runtime::CurrentThread => tokio::runtime::Builder::new_current_thread(),
        };
        let timed = builder.enable_all().build().map_err(Error::from).and_then(|runtime| {
            runtime.block_on(async {
                let receiver = Receiver::spawn(());
                receiver.wait_for_startup().await;
                let begun = Instant::now();
                work(receiver).await.map(|()| begun.elapsed())
            })
        });
        // The one who waits is there until this is sent.
        let _ = done.send(timed);
    });
    result.await?
}
