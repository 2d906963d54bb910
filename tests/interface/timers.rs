//! Timers: `cx.send_after`, `cx.send_every`, and their end.

use std::time::Instant;

use watertight::Timer;

use super::*;

/// Sets timers and writes down when they come.
struct Clock {
    last: Option<Timer>,
    rings: Vec<u32>,
    reader: Option<(u32, ReplyTo<Vec<u32>>)>,
    busy: Option<Address<Gate>>,
}

#[message]
struct Ring(u32);

/// After so many milliseconds, ring with this number.
#[message]
struct After(u32, u32);

/// From now on, every so many milliseconds, with 0, 1, 2, …
#[message]
struct Every(u32);

/// Cancels the last timer that was set.
#[message]
struct Cancel;

/// The rings so far, once they are so many.
#[message(reply = Vec<u32>)]
struct Rings(u32);

/// The next ring waits at this gate.
#[message]
struct BeBusy(Address<Gate>);

impl Actor for Clock {
    type Args = ();
    type Messages = (Ring, After, Every, Cancel, Rings, BeBusy);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Clock { last: None, rings: Vec::new(), reader: None, busy: None })
    }
}

impl Handler<Ring> for Clock {
    async fn handle(&mut self, Ring(n): Ring, cx: &mut Context<Self>) -> Result<()> {
        assert_eq!(cx.sender(), cx.address().actor(), "a timer speaks with one's own voice");
        self.rings.push(n);
        if let Some((_, reader)) = self.reader.take_if(|(count, _)| self.rings.len() >= *count as usize) {
            reader.send(self.rings.clone());
        }
        if let Some(gate) = self.busy.take() {
            gate.ask(Pass).deadline(PATIENCE).await?;
        }
        Ok(())
    }
}

impl Handler<After> for Clock {
    async fn handle(&mut self, After(wait, n): After, cx: &mut Context<Self>) -> Result<()> {
        self.last = Some(cx.send_after(Duration::from_millis(wait.into()), Ring(n)));
        Ok(())
    }
}

impl Handler<Every> for Clock {
    async fn handle(&mut self, Every(period): Every, cx: &mut Context<Self>) -> Result<()> {
        let mut n = 0;
        self.last = Some(cx.send_every(Duration::from_millis(period.into()), move || {
            n += 1;
            Ring(n - 1)
        }));
        Ok(())
    }
}

impl Handler<Cancel> for Clock {
    async fn handle(&mut self, _: Cancel, _: &mut Context<Self>) -> Result<()> {
        if let Some(timer) = self.last.take() {
            timer.cancel();
        }
        Ok(())
    }
}

impl Handler<Rings> for Clock {
    async fn handle(&mut self, Rings(count): Rings, cx: &mut Context<Self>) -> Result<Vec<u32>> {
        if self.rings.len() >= count as usize {
            return Ok(self.rings.clone());
        }
        cx.defer(|reader| self.reader = Some((count, reader)))
    }
}

impl Handler<BeBusy> for Clock {
    async fn handle(&mut self, BeBusy(gate): BeBusy, _: &mut Context<Self>) -> Result<()> {
        self.busy = Some(gate);
        Ok(())
    }
}

#[test]
fn timers_ring_once_in_the_order_of_their_times_and_not_before() {
    watertight::test(async |sys| {
        let clock = sys.spawn::<Clock>(()).await?;
        let began = Instant::now();
        for (wait, n) in [(120, 3), (40, 1), (80, 2), (0, 0)] {
            clock.tell(After(wait, n)).await?;
        }
        assert_eq!(clock.ask(Rings(4)).await?, [0, 1, 2, 3]);
        assert!(began.elapsed() >= Duration::from_millis(120));
        Ok(())
    });
}

#[test]
fn a_cancelled_timer_does_not_ring() {
    watertight::test(async |sys| {
        let clock = sys.spawn::<Clock>(()).await?;
        clock.tell(After(40, 1)).await?;
        clock.tell(Cancel).await?;
        clock.tell(Cancel).await?;
        clock.tell(After(80, 2)).await?;
        assert_eq!(clock.ask(Rings(1)).await?, [2]);
        clock.tell(Every(2)).await?;
        clock.ask(Rings(4)).await?;
        clock.ask(Cancel).await?;
        clock.tell(After(40, 77)).await?;
        while clock.ask(Rings(1)).await?.last() != Some(&77) {}
        let before = clock.ask(Rings(1)).await?;
        clock.tell(After(40, 78)).await?;
        let rings = loop {
            let rings = clock.ask(Rings(1)).await?;
            if rings.len() > before.len() {
                break rings;
            }
        };
        assert_eq!(rings[before.len()..], [78], "the periodic one is silent");
        Ok(())
    });
}

#[test]
fn a_periodic_timer_does_not_pile_up_behind_a_busy_actor() {
    watertight::test(async |sys| {
        let clock = sys.spawn::<Clock>(()).await?;
        let gate = sys.spawn::<Gate>(()).await?;
        let other = sys.spawn::<Clock>(()).await?;
        clock.ask(BeBusy(gate.clone())).await?;
        clock.ask(Every(2)).await?;
        gate.ask(Waiting(1)).await?;
        // Another clock tells that many periods have passed.
        other.tell(After(100, 0)).await?;
        other.ask(Rings(1)).await?;
        gate.ask(Open).await?;
        let rings = clock.ask(Rings(2)).await?;
        assert!(rings.len() < 10, "{} rings after one busy moment", rings.len());
        Ok(())
    });
}

#[test]
fn timers_end_with_their_incarnation() {
    watertight::test(async |sys| {
        let clock = sys.spawn_with(Spec::<Clock>::new(()).backoff(Backoff::NONE)).await?;
        clock.ask(Every(2)).await?;
        clock.ask(Rings(2)).await?;
        sys.kill(&clock).await?;
        // The next life has a timer of its own and hears no other.
        while clock.ask(Rings(0)).await?.len() > 1 {}
        clock.tell(After(40, 5)).await?;
        let rings = clock.ask(Rings(1)).await?;
        assert_eq!(rings, [5]);
        Ok(())
    });
}
