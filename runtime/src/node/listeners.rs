//! Who in this process listens to the events of the system.
//!
//! The supervisor sends each event once to each process that listens; here it is given to everybody who does. A listener
//! counts from where the supervisor's answer stands among the events, so what was before is not told again.

use tokio::sync::{mpsc, oneshot};

use super::{Node, Waiting};
use crate::error::SystemError;
use crate::event::Event;
use crate::sync::lock;
use crate::wire::control::{Refusal, Request};

/// Events that may wait for a listener; then it misses some, and is told how many.
const EVENTS: usize = 1 << 16;

/// All of them.
#[derive(Default)]
pub(super) struct Listeners {
    open: Vec<Listener>,
    /// Asked for, and not answered yet.
    asked: usize,
    last: u64,
}

/// One of them, from the side that tells it.
pub(super) struct Listener {
    number: u64,
    sender: mpsc::Sender<(u64, Event)>,
    missed: u64,
}

impl Node {
    /// Everything that happens in the system from the supervisor's answer on, and the number under which that ends.
    pub(crate) async fn listen(&self) -> Result<(u64, mpsc::Receiver<(u64, Event)>), Refusal> {
        let (listener, number, events) = lock(&self.listeners).ask();
        let (waiter, answer) = oneshot::channel();
        self.ask_supervisor(Request::Events, Waiting::Events(listener, waiter));
        match answer.await {
            Ok(Ok(_)) => Ok((number, events)),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(Refusal::System(SystemError::ShuttingDown)),
        }
    }

    /// The listener of this number does not listen any more.
    pub(crate) fn end_listening(&self, number: u64) {
        let mut listeners = lock(&self.listeners);
        if !listeners.remove(number) {
            self.nobody_listens();
        }
    }

    /// To be said while the listeners are locked, so that it does not overtake the question of a new one.
    pub(super) fn nobody_listens(&self) {
        drop(self.request_numbered(Request::EndEvents));
    }
}

impl Listeners {
    /// A listener that is to be added as soon as the supervisor has answered, its number, and where its events come out.
    pub(super) fn ask(&mut self) -> (Listener, u64, mpsc::Receiver<(u64, Event)>) {
        let (sender, receiver) = mpsc::channel(EVENTS);
        self.asked += 1;
        self.last += 1;
        (Listener { number: self.last, sender, missed: 0 }, self.last, receiver)
    }

    /// The supervisor has answered: `listener` hears everything from now on, unless it was refused.
    pub(super) fn answered(&mut self, listener: Option<Listener>) {
        self.asked = self.asked.saturating_sub(1);
        self.open.extend(listener);
    }

    /// Tells everybody. `false` when nobody is left to tell.
    pub(super) fn tell(&mut self, at: u64, event: &Event) -> bool {
        self.open.retain_mut(|listener| listener.tell(at, event));
        !self.is_empty()
    }

    /// Forgets one. `false` when nobody is left to tell.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        self.open.retain(|listener| listener.number != number);
        !self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.asked == 0
    }

    /// The system is gone: everybody's events end.
    pub(super) fn close(&mut self) {
        self.open.clear();
    }
}

impl Listener {
    /// `false` when nobody listens at its other end.
    fn tell(&mut self, at: u64, event: &Event) -> bool {
        if self.sender.is_closed() {
            return false;
        }
        if self.missed > 0 && self.sender.try_send((at, Event::Missed(self.missed))).is_ok() {
            self.missed = 0;
        }
        if self.missed > 0 || self.sender.try_send((at, event.clone())).is_err() {
            self.missed += 1;
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn event(count: u64) -> Event {
        Event::Missed(count)
    }

    fn next(hears: &mut mpsc::Receiver<(u64, Event)>) -> Event {
        hears.try_recv().unwrap().1
    }

    #[test]
    fn each_hears_everything_from_its_own_beginning_and_whoever_has_gone_is_forgotten() {
        let mut all = Listeners::default();
        let (first, one, mut hears_first) = all.ask();
        all.answered(Some(first));
        assert!(all.tell(0, &event(1)));
        let (second, two, mut hears_second) = all.ask();
        // Not answered yet: what comes now was before.
        assert!(all.tell(0, &event(2)));
        all.answered(Some(second));
        assert!(all.tell(0, &event(3)));
        assert_eq!([1, 2, 3].map(|_| next(&mut hears_first)), [1, 2, 3].map(event));
        assert_eq!(next(&mut hears_second), event(3));
        assert!(all.remove(one) && !all.remove(two));
        let (third, _, hears_third) = all.ask();
        assert!(all.tell(0, &event(4)), "somebody is about to listen");
        all.answered(Some(third));
        drop(hears_third);
        assert!(!all.tell(0, &event(5)));
        // One that was refused.
        let _ = all.ask();
        all.answered(None);
        assert!(!all.tell(0, &event(6)));
    }

    #[test]
    fn a_slow_one_is_told_how_many_it_has_missed_and_the_others_miss_none() {
        let mut all = Listeners::default();
        let (slow, _, mut hears_slow) = all.ask();
        let (quick, _, mut hears_quick) = all.ask();
        all.answered(Some(slow));
        all.answered(Some(quick));
        for n in 0..EVENTS as u64 + 7 {
            all.tell(0, &event(n));
            assert_eq!(next(&mut hears_quick), event(n));
        }
        for n in 0..EVENTS as u64 {
            assert_eq!(next(&mut hears_slow), event(n));
        }
        all.tell(0, &event(99));
        assert_eq!([next(&mut hears_slow), next(&mut hears_slow)], [event(7), event(99)]);
    }
}
