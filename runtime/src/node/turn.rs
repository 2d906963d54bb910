//! One turn of a process's runtime: first the links that have something to do, then whoever waits for them.
//!
//! The drivers of the outgoing links could be tasks. But a task that completes an ask wakes the future that the runtime
//! blocks on, and before it polls that one, tokio's current-thread runtime looks at its event queue: a system call on
//! the way of every reply. Here both are polled in one go: reply read, asker woken, next message written.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::lock;

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The drivers of a process's links, polled beside the future that the process lives in.
pub(crate) struct Turn {
    drivers: Mutex<Vec<Place>>,
    /// Which places want to be polled.
    ready: Mutex<Vec<usize>>,
    /// The future beside them wants to be polled.
    main: AtomicBool,
    /// A turn is under way on the runtime's thread, and looks again at its end at what has been woken.
    under_way: AtomicBool,
    runtime: Mutex<Option<Waker>>,
}

enum Place {
    Free,
    /// Being polled right now.
    Busy,
    Driver(Driver, Arc<Signal>),
}

/// Wakes one driver.
struct Signal {
    place: usize,
    queued: AtomicBool,
    turn: Arc<Turn>,
}

/// Wakes the future beside the drivers.
struct Main(Arc<Turn>);

impl Turn {
    pub(crate) fn new() -> Arc<Turn> {
        Arc::new(Turn {
            drivers: Mutex::default(),
            ready: Mutex::default(),
            main: AtomicBool::new(true),
            under_way: AtomicBool::new(false),
            runtime: Mutex::default(),
        })
    }

    /// Takes a driver in; it is polled with the next turn.
    pub(crate) fn add(self: &Arc<Self>, driver: impl Future<Output = ()> + Send + 'static) {
        let signal = {
            let mut drivers = lock(&self.drivers);
            let place = drivers.iter().position(|place| matches!(place, Place::Free)).unwrap_or_else(|| {
                drivers.push(Place::Free);
                drivers.len() - 1
            });
            let signal = Arc::new(Signal { place, queued: AtomicBool::new(false), turn: Arc::clone(self) });
            drivers[place] = Place::Driver(Box::pin(driver), Arc::clone(&signal));
            signal
        };
        signal.wake();
    }

    /// Runs `main` to its end, and the drivers for as long.
    pub(crate) async fn run<T>(self: &Arc<Self>, main: impl Future<Output = T>) -> T {
        let mut main = pin!(main);
        let waker = Waker::from(Arc::new(Main(Arc::clone(self))));
        poll_fn(|cx| {
            self.remember(cx.waker());
            self.under_way.store(true, Ordering::SeqCst);
            for _ in 0..ROUNDS {
                self.poll_drivers();
                if self.main.swap(false, Ordering::SeqCst)
                    && let Poll::Ready(result) = main.as_mut().poll(&mut Context::from_waker(&waker))
                {
                    self.under_way.store(false, Ordering::SeqCst);
                    return Poll::Ready(result);
                }
                if !self.has_work() {
                    break;
                }
            }
            // From here on a wake-up goes to the runtime; what came just before is seen by the second look.
            self.under_way.store(false, Ordering::SeqCst);
            if self.has_work() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    fn has_work(&self) -> bool {
        self.main.load(Ordering::SeqCst) || !lock(&self.ready).is_empty()
    }

    fn poll_drivers(&self) {
        let ready = std::mem::take(&mut *lock(&self.ready));
        for place in ready {
            let taken = std::mem::replace(&mut lock(&self.drivers)[place], Place::Busy);
            let Place::Driver(mut driver, signal) = taken else { continue };
            // Before the poll: what wakes it from here on queues it again.
            signal.queued.store(false, Ordering::SeqCst);
            let waker = Waker::from(Arc::clone(&signal));
            let polled = driver.as_mut().poll(&mut Context::from_waker(&waker));
            lock(&self.drivers)[place] = match polled {
                Poll::Ready(()) => Place::Free,
                Poll::Pending => Place::Driver(driver, signal),
            };
        }
    }

    fn remember(&self, waker: &Waker) {
        let mut runtime = lock(&self.runtime);
        if !runtime.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *runtime = Some(waker.clone());
        }
    }

    fn woken(&self) {
        if !self.under_way.load(Ordering::SeqCst)
            && let Some(runtime) = &*lock(&self.runtime)
        {
            runtime.wake_by_ref();
        }
    }
}

/// Rounds in one turn before the rest of the runtime has its own: timers, control messages, the user's tasks.
const ROUNDS: u32 = 32;

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            lock(&self.turn.ready).push(self.place);
            self.turn.woken();
        }
    }
}

impl Wake for Main {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.0.main.swap(true, Ordering::SeqCst) {
            self.0.woken();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::{mpsc, oneshot};

    #[tokio::test]
    async fn a_driver_that_is_added_and_woken_from_anywhere_runs_beside_the_main_future() {
        let turn = Turn::new();
        let (to_driver, mut from_main) = mpsc::unbounded_channel::<oneshot::Sender<u32>>();
        let adding = Arc::clone(&turn);
        let total = turn
            .run(async move {
                adding.add(async move {
                    let mut n = 0;
                    while let Some(reply) = from_main.recv().await {
                        n += 1;
                        reply.send(n).unwrap();
                    }
                });
                let mut total = 0;
                for _ in 0..1000 {
                    let (reply, answer) = oneshot::channel();
                    to_driver.send(reply).unwrap();
                    total += answer.await.unwrap();
                }
                // From another thread.
                let remote = std::thread::spawn(move || {
                    let (reply, answer) = oneshot::channel();
                    to_driver.send(reply).unwrap();
                    answer.blocking_recv().unwrap()
                });
                while !remote.is_finished() {
                    tokio::task::yield_now().await;
                }
                total + remote.join().unwrap()
            })
            .await;
        assert_eq!(total, 1000 * 1001 / 2 + 1001);
    }

    #[tokio::test]
    async fn wake_ups_from_other_threads_are_never_lost() {
        let turn = Turn::new();
        let (ask, asked) = std::sync::mpsc::channel::<oneshot::Sender<()>>();
        let answering = std::thread::spawn(move || {
            for reply in asked {
                reply.send(()).unwrap();
            }
        });
        let rounds = turn.run(async move {
            for _ in 0..20_000 {
                let (reply, answer) = oneshot::channel();
                ask.send(reply).unwrap();
                answer.await.unwrap();
            }
        });
        tokio::time::timeout(std::time::Duration::from_secs(60), rounds).await.unwrap();
        answering.join().unwrap();
    }
}
