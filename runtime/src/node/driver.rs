//! The task that moves one outgoing link's bytes: reads acknowledgements and replies, writes what has collected, waits
//! for room where the socket is full, and ends asks whose time is up. One timer a link, not one an ask.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use super::outgoing::{OutLink, Phase, State};
use crate::clock;
use crate::sync::lock;
use crate::wire::transport::{DataSocket, Room};

/// Reads in one run before others get their turn.
const READS: u32 = 16;

/// Runs until the receiver has ended for good.
pub(super) async fn drive(link: Arc<OutLink>) {
    let mut driver =
        Driver { room: None, timer: Box::pin(tokio::time::sleep(Duration::ZERO)), armed: u64::MAX };
    poll_fn(|cx| driver.poll(&link, cx)).await;
}

struct Driver {
    /// The watch for room, and the socket that it watches.
    room: Option<(Arc<DataSocket>, Room)>,
    timer: Pin<Box<Sleep>>,
    armed: u64,
}

impl Driver {
    fn poll(&mut self, link: &OutLink, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&link.state);
        if !state.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.driver = Some(cx.waker().clone());
        }
        self.read(link, &mut state, cx);
        self.write(&mut state, cx);
        self.keep_time(link, &mut state, cx);
        if state.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn read(&mut self, link: &OutLink, state: &mut State, cx: &mut Context<'_>) {
        for _ in 0..READS {
            let Phase::Up(socket) = &state.phase else { return };
            if state.broken {
                return;
            }
            match socket.poll_read(cx, state.answers.space(), state.descriptors) {
                Poll::Ready(Ok(read)) if read.bytes > 0 => link.absorb(state, read),
                // The end: what is known of the receiver will come from the supervisor.
                Poll::Ready(_) => state.ended(),
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }

    fn write(&mut self, state: &mut State, cx: &mut Context<'_>) {
        state.burst = false;
        state.flush();
        let Phase::Up(socket) = &state.phase else {
            self.room = None;
            return;
        };
        if !state.blocked {
            self.room = None;
            return;
        }
        let socket = Arc::clone(socket);
        if !self.room.as_ref().is_some_and(|(watched, _)| Arc::ptr_eq(watched, &socket)) {
            match socket.watch_room() {
                Ok(room) => self.room = Some((socket, room)),
                Err(error) => {
                    // Out of descriptors: try again at the next tick rather than never.
                    tracing::warn!(%error, "cannot wait for room on a link");
                    state.armed = clock::after(Duration::from_millis(10));
                    return;
                }
            }
        }
        while let Some((_, room)) = &self.room
            && state.blocked
            && room.poll(cx).is_ready()
        {
            state.blocked = false;
            state.flush();
        }
    }

    fn keep_time(&mut self, link: &OutLink, state: &mut State, cx: &mut Context<'_>) {
        if state.armed == u64::MAX && self.armed == u64::MAX {
            return;
        }
        if state.armed != self.armed {
            self.armed = state.armed;
            if self.armed == u64::MAX {
                return;
            }
            self.timer.as_mut().reset(clock::instant(self.armed).into());
        }
        while self.armed != u64::MAX && self.timer.as_mut().poll(cx).is_ready() {
            (state.blocked, state.retry) = (false, u64::MAX);
            link.report_broken(state);
            state.flush();
            state.expire(clock::now());
            self.armed = state.armed;
            if self.armed != u64::MAX {
                self.timer.as_mut().reset(clock::instant(self.armed).into());
            }
        }
    }
}
