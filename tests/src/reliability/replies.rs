//! Actors that answer and exit with the next thing that they do.

use std::time::Duration;

use watertight::prelude::*;
use watertight::{Event, Output};

use super::{Effort, Score, progress};

/// Answers one message, and exits without a goodbye as soon as the reply has left.
struct Quitter;

#[message(reply = u64)]
struct Last(u64);

impl Actor for Quitter {
    type Args = ();
    type Messages = (Last,);

    async fn start((): (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Quitter)
    }
}

impl Handler<Last> for Quitter {
    async fn handle(&mut self, Last(number): Last, cx: &mut Context<Self>) -> Result<u64> {
        let _: Result<u64> = cx.defer(|reply| reply.send(number));
        // The reply leaves while this is suspended.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        std::process::exit(0);
    }
}

pub async fn run(sys: &System, effort: Effort, score: &mut Score) -> Result<()> {
    let rounds = effort.of(10_000, 200);
    let spec = Spec::<Quitter>::new(()).backoff(Backoff::NONE).output(Output::Silent);
    let quitter = sys.spawn_with(spec.intensity(u32::MAX, Duration::from_secs(1))).await?;
    let mut events = sys.events().await?;
    let (mut lost, mut wrong, mut deaths) = (0, 0, 0);
    for round in 0..rounds {
        match quitter.ask(Last(round)).deadline(Duration::from_secs(60)).await {
            Ok(answer) => wrong += u64::from(answer != round),
            Err(error) => {
                progress(&format!("reply {round} was lost: {error}"));
                lost += 1;
            }
        }
        deaths += tokio::time::timeout(Duration::from_secs(60), next_death(&mut events)).await??;
        if round % 1000 == 999 {
            progress(&format!("{} replies", round + 1));
        }
    }
    let ledger = sys.balance(Duration::from_secs(30)).await?;
    score.zero("replies lost", lost, rounds);
    score.zero("replies to another", wrong, rounds);
    score.zero("asks in doubt by the ledger", ledger.in_doubt, rounds);
    score.same("asks, and processed by the ledger", rounds, ledger.processed);
    score.same("asks, and deaths", rounds, deaths);
    Ok(())
}

async fn next_death(events: &mut watertight::Events) -> Result<u64> {
    events
        .wait_for(|event| match event {
            Event::Exited(_) => Some(1),
            _ => None,
        })
        .await
}
