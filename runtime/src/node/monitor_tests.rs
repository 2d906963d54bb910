//! A program's monitors: what is said of them, and what is left of them.

use std::future::poll_fn;

use super::*;
use crate::monitor::Monitor;

#[tokio::test]
async fn a_monitor_that_is_dropped_is_ended_and_leaves_nothing() {
    let (node, _, control) = node(1, SystemId(77 << 32));
    let mut listener = Listener::new(Role::Actor, node.identity.system);
    let pair = Pair::new();
    let answer = |number, answer| node.hear(ToPeer::Answer { number, answer }, Vec::new());
    // Before its answer, behind it, refused, and when it has told.
    for when in 0..4 {
        let mut monitor = Box::pin(Monitor::begin(&node, &pair.address));
        assert!(poll_fn(|cx| std::task::Poll::Ready(monitor.as_mut().poll(cx).is_pending())).await);
        let said = requests(&control, &mut listener);
        let [(number, Request::Monitor { .. })] = said[..] else { panic!("{said:?}") };
        match when {
            0 => {
                drop(monitor);
                answer(number, Ok(Answer::Done));
            }
            1 => {
                answer(number, Ok(Answer::Done));
                drop(monitor.await.unwrap());
            }
            2 => {
                answer(number, Err(Refusal::Unreachable(Unreachable::NoSuchActor)));
                monitor.await.unwrap_err();
            }
            _ => {
                answer(number, Ok(Answer::Done));
                let monitor = monitor.await.unwrap();
                let (actor, exit) = (ActorId(2), Exit::Killed);
                let name = String::new();
                node.told_down(Down { monitor: number, actor, name, incarnation: Incarnation(1), exit });
                assert_eq!(monitor.down().await.unwrap().monitor, number);
            }
        }
        let said = requests(&control, &mut listener);
        if when < 2 {
            let [(question, Request::Demonitor { monitor })] = said[..] else { panic!("{said:?}") };
            assert_eq!(monitor, number);
            answer(question, Ok(Answer::Done));
        } else {
            assert!(said.is_empty(), "{said:?}");
        }
        assert!(lock(&node.monitors).is_empty() && lock(&node.requests).waiting.is_empty());
    }
}
