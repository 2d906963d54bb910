//! A ticker: tells a `Recipient<Tick>` at a period.
//!
//! # Promise
//! - Ticks come one at a time: the next is sent only once the listener has handled the last, so they never pile up.
//!   Ticks for which there was no time are left out, not made up for.
//! - What survives a restart: the ticking. What does not: the count, which begins at 1 again.
//! - A listener that dies may lose the tick in its hand and gets the next. When it has ended for good, the ticker ends.
//!
//! An actor that only needs a clock of its own takes `cx.send_every`, which costs no process.

use std::time::Duration;

use watertight::prelude::*;

/// What a listener is told.
#[message]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// 1 for the first of this incarnation of the ticker.
    pub number: u64,
}

/// The ticker's own timer; of no use to others.
#[message]
pub struct Beat;

/// What a ticker is started with.
#[data]
pub struct Every {
    /// From tick to tick; 1 ms at least.
    pub period: Duration,
    /// Who is told.
    pub listener: Recipient<Tick>,
}

/// Shortest period: what the timers of the runtime can tell apart.
const SHORTEST: Duration = Duration::from_millis(1);

/// Tells its listener a [`Tick`] at a period; see the [module](self).
pub struct Ticker {
    listener: Recipient<Tick>,
    number: u64,
}

impl Ticker {
    /// How a ticker is best started: again after a crash, but not after its listener has ended.
    pub fn every(period: Duration, listener: Recipient<Tick>) -> Spec<Ticker> {
        Spec::new(Every { period, listener }).restart(Restart::Transient)
    }
}

impl Actor for Ticker {
    type Args = Every;
    type Messages = (Beat,);

    async fn start(Every { period, listener }: Every, cx: &mut Context<Self>) -> Result<Self> {
        if period < SHORTEST {
            return Err(Error::new(format!("a period of {period:?} is shorter than {SHORTEST:?}")));
        }
        cx.send_every(period, || Beat);
        Ok(Ticker { listener, number: 0 })
    }
}

impl Handler<Beat> for Ticker {
    async fn handle(&mut self, _: Beat, cx: &mut Context<Self>) -> Result<()> {
        self.number += 1;
        // Asked, not told: while the listener is busy this handler waits, and beats are left out meanwhile.
        // If it failed, died or was too slow, the next beat tries again.
        if let Err(AskError::Unreachable(_)) = self.listener.ask(Tick { number: self.number }).await {
            cx.stop();
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use watertight::{Exit, SpawnError};

    use super::*;

    /// Listens, and says what it has heard once that is enough. Holds the first tick for `slow`.
    struct Ears {
        slow: Option<Duration>,
        held: Option<ReplyTo<()>>,
        heard: Vec<u64>,
        enough: Option<(u32, ReplyTo<Vec<u64>>)>,
    }

    /// Answered with the numbers of the ticks once so many have come.
    #[message(reply = Vec<u64>)]
    struct Heard(u32);

    #[message]
    struct LetGo;

    impl Actor for Ears {
        type Args = Option<Duration>;
        type Messages = (Tick, Heard, LetGo);

        async fn start(slow: Option<Duration>, _: &mut Context<Self>) -> Result<Self> {
            Ok(Ears { slow, held: None, heard: Vec::new(), enough: None })
        }
    }

    impl Handler<Tick> for Ears {
        async fn handle(&mut self, tick: Tick, cx: &mut Context<Self>) -> Result<()> {
            self.heard.push(tick.number);
            if let Some((_, reply)) = self.enough.take_if(|(count, _)| self.heard.len() >= *count as usize) {
                reply.send(self.heard.clone());
            }
            match self.slow.take() {
                Some(slow) => {
                    cx.send_after(slow, LetGo);
                    cx.defer(|reply| self.held = Some(reply))
                }
                None => Ok(()),
            }
        }
    }

    impl Handler<Heard> for Ears {
        async fn handle(&mut self, Heard(count): Heard, cx: &mut Context<Self>) -> Result<Vec<u64>> {
            if self.heard.len() >= count as usize && self.held.is_none() {
                return Ok(self.heard.clone());
            }
            cx.defer(|reply| self.enough = Some((count, reply)))
        }
    }

    impl Handler<LetGo> for Ears {
        async fn handle(&mut self, _: LetGo, _: &mut Context<Self>) -> Result<()> {
            // Many periods have passed, and still there was only the one.
            assert_eq!(self.heard.len(), 1, "ticks piled up");
            if let Some(held) = self.held.take() {
                held.send(());
            }
            Ok(())
        }
    }

    const PERIOD: Duration = Duration::from_millis(2);

    #[test]
    fn ticks_come_numbered_from_one() {
        watertight::test(async |sys| {
            let ears = sys.spawn::<Ears>(None).await?;
            sys.spawn_with(Ticker::every(PERIOD, ears.recipient())).await?;
            assert_eq!(ears.ask(Heard(5)).await?[..5], [1, 2, 3, 4, 5]);
            Ok(())
        });
    }

    #[test]
    fn a_slow_listener_gets_one_tick_at_a_time() {
        watertight::test(async |sys| {
            let ears = sys.spawn::<Ears>(Some(25 * PERIOD)).await?;
            sys.spawn_with(Ticker::every(PERIOD, ears.recipient())).await?;
            assert_eq!(ears.ask(Heard(3)).await?[..3], [1, 2, 3]);
            assert_eq!(sys.info(&ears).await?.restarts, 0);
            Ok(())
        });
    }

    #[test]
    fn a_ticker_that_was_killed_ticks_on_and_counts_from_one_again() {
        watertight::test(async |sys| {
            let ears = sys.spawn::<Ears>(None).await?;
            let ticker = sys.spawn_with(Ticker::every(PERIOD, ears.recipient())).await?;
            let before = ears.ask(Heard(2)).await?.len();
            sys.kill(&ticker).await?;
            // Some may have come before the kill; after it the count starts over.
            let mut heard = Vec::new();
            for count in 1.. {
                if heard.iter().skip(before).any(|&number| number == 1) {
                    break;
                }
                heard = ears.ask(Heard(count)).await?;
            }
            Ok(())
        });
    }

    #[test]
    fn a_ticker_ends_when_its_listener_has() {
        watertight::test(async |sys| {
            let mut events = sys.events().await?;
            let ears = sys.spawn::<Ears>(None).await?;
            sys.spawn_with(Ticker::every(PERIOD, ears.recipient()).name("ticker")).await?;
            ears.ask(Heard(1)).await?;
            sys.stop(&ears).await?;
            let exit = events.exited("ticker").await?.exit;
            assert_eq!(exit, Exit::Finished);
            assert!(sys.list().await?.is_empty(), "a transient actor that finished is not started again");
            Ok(())
        });
    }

    #[test]
    fn a_period_of_nothing_is_refused_in_words() {
        watertight::test(async |sys| {
            let ears = sys.spawn::<Ears>(None).await?;
            match sys.spawn_with(Ticker::every(Duration::ZERO, ears.recipient())).await.unwrap_err() {
                SpawnError::Start(report) => {
                    assert_eq!(report.exit, Exit::StartFailed("a period of 0ns is shorter than 1ms".into()));
                }
                other => panic!("{other:?}"),
            }
            Ok(())
        });
    }
}
