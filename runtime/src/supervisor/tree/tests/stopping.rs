//! Polite, then timed, then forced; in reverse.

use super::*;

fn how(shutdown: Shutdown) -> (World, NodeId) {
    let [a] = ids(1);
    (with_all([Plan { rules: Rules { shutdown, ..rules() }, ..actor(a) }]), a)
}

const GRACE: Duration = Duration::from_secs(5);

#[test]
fn a_brutal_kill_asks_nobody() {
    let (mut world, a) = how(Shutdown::BrutalKill);
    world.terminate(a);
    assert_eq!(world.hear(), [Command::Kill(a, Why::Brutal)]);
    world.finish();
}

#[test]
fn one_that_obeys_within_its_grace_is_not_killed() {
    let (mut world, a) = how(Shutdown::Grace(GRACE));
    let ticket = world.terminate(a);
    assert_eq!(world.hear(), [Command::Ask(a)]);
    world.settle();
    assert_eq!(world.answer(ticket), Some(Reply::Done));
    assert_eq!(world.tree.due(), None);
}

#[test]
fn one_that_does_not_is_killed_at_the_end_of_its_grace_and_then_awaited() {
    let (mut world, a) = how(Shutdown::Grace(GRACE));
    stops(&mut world, a, Stop::Ignores);
    let ticket = world.terminate(a);
    world.advance(GRACE - Duration::from_millis(1));
    assert_eq!(world.hear(), [Command::Ask(a)]);
    world.now += Duration::from_millis(1);
    world.step(Event::Tick);
    assert_eq!(world.hear(), [Command::Kill(a, Why::StopDeadline)]);
    assert_eq!(world.answer(ticket), None, "it has been killed, and has not ended");
    world.settle();
    assert_eq!(world.answer(ticket), Some(Reply::Done));
}

#[test]
fn an_infinite_grace_has_no_end() {
    let (mut world, a) = how(Shutdown::Infinity);
    stops(&mut world, a, Stop::Ignores);
    let ticket = world.terminate(a);
    world.advance(Duration::from_secs(1_000_000));
    assert_eq!(world.hear(), [Command::Ask(a)]);
    assert_eq!(world.answer(ticket), None);
    world.finish();
}

#[test]
fn a_start_that_returns_while_it_is_stopped_is_not_killed_at_its_start_deadline() {
    let [a] = ids(1);
    let mut world = empty();
    stops(&mut world, a, Stop::Ignores);
    world.start(ROOT, Plan { rules: Rules { shutdown: Shutdown::Infinity, ..rules() }, ..actor(a) });
    world.terminate(a);
    world.hear();
    world.advance(Duration::from_secs(60));
    assert_eq!(world.hear(), [], "its start has returned; its stop may take as long as it wants");
    world.finish();
}

#[test]
fn one_that_crashes_while_it_is_stopped_is_stopped() {
    let (mut world, _, [a, b]) = with_group(allowing(Strategy::OneForOne, 0), [PERMANENT; 2]);
    stops(&mut world, a, Stop::Crashes);
    let ticket = world.terminate(a);
    world.settle();
    assert_eq!(world.answer(ticket), Some(Reply::Done));
    assert!(world.is_up(b));
    assert_eq!(phase(&world, a), Some(Phase::Stopped));
}

#[test]
fn one_that_starts_can_be_stopped_and_its_starter_is_told() {
    let [a] = ids(1);
    let mut world = empty();
    behaves(&mut world, a, [Start::Hangs]);
    let (started, stopped) = (world.start(ROOT, actor(a)), world.terminate(a));
    world.settle();
    assert_eq!(world.answer(started), Some(Reply::Failed(a)));
    assert_eq!(world.answer(stopped), Some(Reply::Done));
    assert!(!world.is_known(a));
}

#[test]
fn a_group_stops_its_children_in_reverse_one_after_another() {
    let (mut world, g, [a, b, c]) = with_group(flags(Strategy::OneForOne), [PERMANENT; 3]);
    let ticket = world.terminate(g);
    assert_eq!(seen(&mut world), [Stops(c)], "b waits until c is down");
    world.settle();
    assert_eq!(seen(&mut world), [Stops(b), Stops(a), Down(g, Outcome::Stopped)]);
    assert_eq!(world.answer(ticket), Some(Reply::Done));
}

#[test]
fn everybody_who_asked_for_a_stop_is_answered() {
    let (mut world, g, [a]) = with_group(flags(Strategy::OneForOne), [PERMANENT]);
    let tickets = [world.terminate(g), world.terminate(g), world.terminate(a), world.shut_down()];
    world.settle();
    assert!(tickets.iter().all(|&ticket| world.answer(ticket) == Some(Reply::Done)));
}

#[test]
fn a_shutdown_stops_all_the_youngest_first_and_leaves_nothing() {
    let [g, a, b, alone] = ids(1);
    let plan = group(g, flags(Strategy::OneForAll), vec![actor(a), actor(b)]);
    let mut world = with_all([plan, actor(alone)]);
    let ticket = world.shut_down();
    world.settle();
    assert_eq!(seen(&mut world), [Stops(alone), Stops(b), Stops(a), Down(g, Outcome::Stopped)]);
    assert_eq!(world.answer(ticket), Some(Reply::Done));
    let late = world.start(ROOT, actor(ActorId(9)));
    assert_eq!(world.refusal(late), Some(Refused::Stopping));
    let again = world.shut_down();
    assert_eq!(world.answer(again), Some(Reply::Done));
}

#[test]
fn a_shutdown_in_the_middle_of_a_restart_restarts_nothing() {
    let (mut world, _, [a, b]) = with_group(flags(Strategy::OneForAll), [PERMANENT; 2]);
    world.crash(a);
    let ticket = world.shut_down();
    world.settle();
    assert_eq!(world.answer(ticket), Some(Reply::Done));
    assert_eq!((world.launched(a), world.launched(b)), (1, 1));
}
