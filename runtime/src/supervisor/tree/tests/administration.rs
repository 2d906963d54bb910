//! What people ask for, and what they are told in every phase.

use super::*;

fn refused(world: &World, ticket: u64) -> Option<Refused> {
    world.refusal(ticket)
}

#[test]
fn a_stopped_child_keeps_its_spec_and_can_be_restarted_or_deleted() {
    let (mut world, _, [a]) = with_group(flags(Strategy::OneForOne), [PERMANENT]);
    let stopped = world.terminate(a);
    assert_eq!(world.answer(stopped), None, "not before it has ended");
    world.settle();
    assert_eq!(world.answer(stopped), Some(Reply::Done));
    assert_eq!(phase(&world, a), Some(Phase::Stopped));
    let started = world.restart(a);
    world.settle();
    assert_eq!(world.answer(started), Some(Reply::Started));
    world.terminate(a);
    world.settle();
    let deleted = world.delete(a);
    assert_eq!(world.answer(deleted), Some(Reply::Done));
    assert!(!world.is_known(a));
    let ticket = world.restart(a);
    assert_eq!(refused(&world, ticket), Some(Refused::NotFound));
}

#[test]
fn a_stopped_temporary_child_is_forgotten() {
    let (mut world, _, [a]) = with_group(flags(Strategy::OneForOne), [TEMPORARY]);
    world.terminate(a);
    world.settle();
    assert!(!world.is_known(a));
}

#[test]
fn stopping_what_is_stopped_is_done_at_once() {
    let (mut world, _, [a]) = with_group(flags(Strategy::OneForOne), [PERMANENT]);
    world.terminate(a);
    world.settle();
    let again = world.terminate(a);
    assert_eq!(world.answer(again), Some(Reply::Done));
}

#[test]
fn restart_and_delete_are_refused_for_the_exact_reason_in_every_phase() {
    let second = Duration::from_secs(1);
    let backoff = Backoff { first: second, most: second, quiet: Duration::MAX };
    let [g, a] = ids(1);
    let plan = Plan { rules: Rules { backoff, ..rules() }, ..actor(a) };
    let mut world = with_all([group(g, flags(Strategy::OneForOne), vec![plan])]);
    let both = |world: &mut World, why| {
        let (restart, delete) = (world.restart(a), world.delete(a));
        assert_eq!((refused(world, restart), refused(world, delete)), (Some(why), Some(why)));
    };
    both(&mut world, Refused::Running);
    crash(&mut world, a);
    crash(&mut world, a);
    both(&mut world, Refused::Restarting);
    behaves(&mut world, a, [Start::Hangs]);
    world.advance(second);
    assert_eq!(phase(&world, a), Some(Phase::Starting));
    both(&mut world, Refused::Running);
    world.act(Event::Ready(a));
    stops(&mut world, a, Stop::Ignores);
    world.terminate(a);
    both(&mut world, Refused::Running);
    world.finish();
    assert_eq!(phase(&world, a), Some(Phase::Stopped));
}

#[test]
fn what_is_about_to_be_started_with_its_group_is_restarting() {
    let (mut world, _, [a, b]) = with_group(flags(Strategy::OneForAll), [PERMANENT; 2]);
    world.crash(a);
    world.step(Event::Exited(b, End::Normal));
    let ticket = world.restart(b);
    assert_eq!(refused(&world, ticket), Some(Refused::Restarting));
    world.finish();
}

#[test]
fn what_stands_alone_or_in_a_dynamic_group_has_no_spec_to_restart() {
    let [alone, g, a] = ids(1);
    let mut plan = group(g, flags(Strategy::OneForOne), vec![]);
    plan.what =
        super::super::What::Group { flags: flags(Strategy::OneForOne), dynamic: true, children: vec![] };
    let mut world = with_all([actor(alone), plan]);
    world.start(g, actor(a));
    world.settle();
    for node in [alone, a, g] {
        let (restart, delete) = (world.restart(node), world.delete(node));
        assert_eq!(refused(&world, restart), Some(Refused::Dynamic));
        assert_eq!(refused(&world, delete), Some(Refused::Dynamic));
    }
}

#[test]
fn nobody_finds_the_root_or_what_never_was() {
    let mut world = empty();
    for node in [ROOT, ActorId(77)] {
        for ticket in [world.terminate(node), world.restart(node), world.delete(node)] {
            assert_eq!(refused(&world, ticket), Some(Refused::NotFound));
        }
    }
}

#[test]
fn a_restart_by_hand_that_fails_keeps_the_spec_and_counts_nothing() {
    let (mut world, _, [a]) = with_group(allowing(Strategy::OneForOne, 0), [PERMANENT]);
    world.terminate(a);
    world.settle();
    behaves(&mut world, a, [Start::Fails, Start::Declines]);
    let failed = world.restart(a);
    world.settle();
    assert_eq!(world.answer(failed), Some(Reply::Failed(a)));
    assert_eq!((phase(&world, a), world.tree.restarts(a)), (Some(Phase::Stopped), 0));
    let declined = world.restart(a);
    world.settle();
    assert_eq!(world.answer(declined), Some(Reply::Declined));
    assert_eq!(phase(&world, a), Some(Phase::Stopped));
}

#[test]
fn a_child_that_was_stopped_before_it_was_ever_up_keeps_its_spec_when_its_restart_fails() {
    let [g, a] = ids(1);
    let mut world = empty();
    world.start(ROOT, group(g, flags(Strategy::OneForOne), vec![actor(a)]));
    world.terminate(a);
    world.settle();
    assert!(world.is_up(g));
    behaves(&mut world, a, [Start::Fails]);
    let failed = world.restart(a);
    world.settle();
    assert_eq!(world.answer(failed), Some(Reply::Failed(a)));
    assert_eq!(phase(&world, a), Some(Phase::Stopped));
}

#[test]
fn a_new_child_that_does_not_start_is_not_kept() {
    let (mut world, g, [a]) = with_group(flags(Strategy::OneForOne), [PERMANENT]);
    let [fails, declines] = ids(5);
    behaves(&mut world, fails, [Start::Fails]);
    behaves(&mut world, declines, [Start::Declines]);
    let (one, two) = (world.start(g, actor(fails)), world.start(g, actor(declines)));
    world.settle();
    assert_eq!(world.answer(one), Some(Reply::Failed(fails)));
    assert_eq!(world.answer(two), Some(Reply::Declined));
    assert!(!world.is_known(fails) && world.is_up(a));
    assert_eq!(phase(&world, declines), Some(Phase::Stopped), "as in OTP, one that declines is");
}

#[test]
fn a_new_child_waits_until_its_group_is_whole_and_is_told_if_it_never_is() {
    let (mut world, g, [a]) = with_group(flags(Strategy::OneForAll), [PERMANENT]);
    behaves(&mut world, a, [Start::Hangs]);
    crash(&mut world, a);
    let b = ActorId(9);
    let ticket = world.start(g, actor(b));
    assert_eq!((world.launched(b), phase(&world, b)), (0, Some(Phase::Starting)));
    world.terminate(g);
    world.finish();
    assert_eq!(world.answer(ticket), Some(Reply::Failed(b)));
}

#[test]
fn what_somebody_waits_for_in_vain_cannot_be_deleted_before_that_is_told() {
    let (mut world, g, [a, b, c]) = with_group(flags(Strategy::OneForAll), [PERMANENT; 3]);
    world.terminate(a);
    world.settle();
    stops(&mut world, c, Stop::Ignores);
    // The restart of b stops c, which takes its time; a waits for its turn.
    world.terminate(a);
    world.crash(b);
    world.terminate(a);
    let started = world.restart(a);
    world.terminate(g);
    let deleted = world.delete(a);
    assert_eq!(refused(&world, deleted), Some(Refused::Running));
    world.finish();
    assert_eq!(world.answer(started), Some(Reply::Failed(a)));
    assert!(!world.is_known(c));
}

#[test]
fn a_new_child_that_is_swept_away_with_its_group_comes_back_and_answers_then() {
    let (mut world, g, [a]) = with_group(flags(Strategy::OneForAll), [PERMANENT]);
    let b = ActorId(9);
    let ticket = world.start(g, actor(b));
    crash(&mut world, a);
    assert_eq!(world.answer(ticket), Some(Reply::Started));
    assert_eq!(world.launched(b), 2);
}

#[test]
fn nothing_is_started_under_what_stops_or_rests() {
    let (mut world, g, [a]) = with_group(flags(Strategy::OneForOne), [PERMANENT]);
    stops(&mut world, a, Stop::Ignores);
    world.terminate(g);
    let ticket = world.start(g, actor(ActorId(9)));
    assert_eq!(refused(&world, ticket), Some(Refused::Stopping));
    world.finish();
    let ticket = world.start(g, actor(ActorId(10)));
    assert_eq!(refused(&world, ticket), Some(Refused::Stopping));
}

#[test]
fn nothing_is_started_in_a_group_that_is_about_to_be_stopped() {
    let [outer, a, inner, b, c] = ids(1);
    let inner_plan = group(inner, flags(Strategy::OneForOne), vec![actor(b)]);
    let plan = group(outer, flags(Strategy::OneForAll), vec![actor(a), inner_plan, actor(c)]);
    let mut world = with_all([plan]);
    world.crash(a);
    let ticket = world.start(inner, actor(ActorId(9)));
    assert_eq!(refused(&world, ticket), Some(Refused::Stopping));
    world.finish();
}

#[test]
fn a_child_of_a_stopped_group_cannot_be_restarted_and_can_be_deleted() {
    let [outer, inner, a] = ids(1);
    let inner_plan = group(inner, flags(Strategy::OneForOne), vec![actor(a)]);
    let mut world = with_all([group(outer, flags(Strategy::OneForOne), vec![inner_plan])]);
    world.terminate(inner);
    world.settle();
    let ticket = world.restart(a);
    assert_eq!(refused(&world, ticket), Some(Refused::Stopping));
    let ticket = world.delete(a);
    assert_eq!(world.answer(ticket), Some(Reply::Done));
    let ticket = world.restart(inner);
    assert_eq!(world.answer(ticket), Some(Reply::Started), "it is empty now");
}

#[test]
fn deleting_a_stopped_group_forgets_all_that_is_in_it() {
    let [outer, inner, a] = ids(1);
    let inner_plan = group(inner, flags(Strategy::OneForOne), vec![actor(a)]);
    let mut world = with_all([group(outer, flags(Strategy::OneForOne), vec![inner_plan])]);
    world.terminate(inner);
    world.settle();
    world.hear();
    world.delete(inner);
    let retired = |node| Command::Retired { node, given_up: false };
    let commands = world.hear();
    assert!(commands.contains(&retired(inner)) && commands.contains(&retired(a)));
    assert!(!world.is_known(a));
}

#[test]
fn flags_change_all_at_once_or_not_at_all() {
    let [g, a, b] = ids(1);
    let significant = Plan { rules: Rules { restart: TRANSIENT, significant: true, ..rules() }, ..actor(a) };
    let any = Flags { auto_shutdown: AutoShutdown::AnySignificant, ..flags(Strategy::OneForOne) };
    let mut world = with_all([group(g, any, vec![significant, actor(b)])]);
    let ticket = world.set_flags(g, allowing(Strategy::OneForAll, 9));
    assert_eq!(refused(&world, ticket), Some(Refused::Significant(a)));
    assert_eq!(world.tree.flags(g), Some(any));
    let ticket = world.set_flags(b, any);
    assert_eq!(refused(&world, ticket), Some(Refused::NotAGroup));
    let ticket = world.set_flags(ActorId(77), any);
    assert_eq!(refused(&world, ticket), Some(Refused::NotFound));
    let new = Flags { strategy: Strategy::OneForAll, intensity: within(9), ..any };
    let ticket = world.set_flags(g, new);
    assert_eq!(world.answer(ticket), Some(Reply::Done));
    assert_eq!(world.tree.flags(g), Some(new));
}

#[test]
fn a_dynamic_group_keeps_its_strategy() {
    let [g] = ids(1);
    let mut plan = group(g, flags(Strategy::OneForOne), vec![]);
    plan.what =
        super::super::What::Group { flags: flags(Strategy::OneForOne), dynamic: true, children: vec![] };
    let mut world = with_all([plan]);
    let ticket = world.set_flags(g, flags(Strategy::OneForAll));
    assert_eq!(refused(&world, ticket), Some(Refused::Dynamic));
    let ticket = world.set_flags(g, allowing(Strategy::OneForOne, 7));
    assert_eq!(world.answer(ticket), Some(Reply::Done));
}

#[test]
fn a_smaller_budget_counts_from_the_next_decision_on() {
    let (mut world, g, [a]) = with_group(allowing(Strategy::OneForOne, 5), [PERMANENT]);
    crash(&mut world, a);
    crash(&mut world, a);
    world.set_flags(g, allowing(Strategy::OneForOne, 2));
    assert!(world.is_up(a));
    crash(&mut world, a);
    assert!(!world.is_known(g));
}
