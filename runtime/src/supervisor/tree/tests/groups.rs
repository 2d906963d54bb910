//! How a group starts, fails to start, and ends.

use super::*;

#[test]
fn children_start_one_after_another_and_the_group_is_up_with_the_last() {
    let [g, a, b] = ids(1);
    let mut world = empty();
    let ticket = world.start(ROOT, group(g, flags(Strategy::OneForOne), vec![actor(a), actor(b)]));
    assert_eq!(seen(&mut world), [Starts(a)]);
    world.act(Event::Booted(a));
    assert!(seen(&mut world).is_empty(), "booted is not up");
    world.act(Event::Ready(a));
    assert_eq!(seen(&mut world), [Starts(b)]);
    assert_eq!(world.answer(ticket), None);
    world.settle();
    assert_eq!(seen(&mut world), [Up(g)]);
    assert_eq!(world.answer(ticket), Some(Reply::Started));
}

#[test]
fn an_empty_group_is_up_at_once() {
    let mut world = empty();
    let ticket = world.start(ROOT, group(ActorId(1), flags(Strategy::OneForAll), vec![]));
    assert_eq!(world.answer(ticket), Some(Reply::Started));
}

#[test]
fn a_failed_start_stops_those_before_it_in_reverse_and_leaves_nothing() {
    let [g, a, b, c, d] = ids(1);
    let mut world = empty();
    behaves(&mut world, c, [Start::Fails]);
    let plan = group(g, flags(Strategy::OneForOne), [a, b, c, d].map(actor).into());
    let ticket = world.start(ROOT, plan);
    world.settle();
    assert_eq!(
        seen(&mut world),
        [Starts(a), Starts(b), Starts(c), Stops(b), Stops(a), Down(g, Outcome::StartFailed(c))]
    );
    assert_eq!(world.answer(ticket), Some(Reply::Failed(c)));
    assert!([g, a, b, c, d].iter().all(|&node| !world.is_known(node)));
}

#[test]
fn a_failed_start_deep_inside_fails_every_group_above_it() {
    let [outer, a, inner, b] = ids(1);
    let mut world = empty();
    behaves(&mut world, b, [Start::Hangs]);
    let inner_plan = group(inner, flags(Strategy::OneForOne), vec![actor(b)]);
    let ticket = world.start(ROOT, group(outer, flags(Strategy::OneForOne), vec![actor(a), inner_plan]));
    world.advance(Duration::from_secs(10));
    assert_eq!(
        seen(&mut world),
        [
            Starts(a),
            Starts(b),
            Down(inner, Outcome::StartFailed(b)),
            Stops(a),
            Down(outer, Outcome::StartFailed(b))
        ]
    );
    assert_eq!(world.answer(ticket), Some(Reply::Failed(b)));
}

#[test]
fn a_declined_start_is_no_failure_and_keeps_the_spec_but_for_a_temporary_one() {
    let [g, a, b, c] = ids(1);
    let mut world = empty();
    behaves(&mut world, a, [Start::Declines]);
    behaves(&mut world, b, [Start::Declines]);
    let plan = group(g, flags(Strategy::OneForOne), vec![actor(a), child(b, TEMPORARY), actor(c)]);
    let ticket = world.start(ROOT, plan);
    world.settle();
    assert_eq!(world.answer(ticket), Some(Reply::Started));
    assert_eq!(phase(&world, a), Some(Phase::Stopped));
    assert!(!world.is_known(b) && world.is_up(c));
}

#[test]
fn one_alone_that_declines_leaves_nothing() {
    let [a] = ids(1);
    let mut world = empty();
    behaves(&mut world, a, [Start::Declines]);
    let ticket = world.start(ROOT, actor(a));
    world.settle();
    assert_eq!(world.answer(ticket), Some(Reply::Declined));
    assert!(!world.is_known(a));
}

#[test]
fn a_group_that_ends_by_itself_is_restarted_if_permanent_only_since_its_end_is_normal() {
    for (restart, comes_back) in [(PERMANENT, true), (TRANSIENT, false), (TEMPORARY, false)] {
        let [outer, inner, a] = ids(1);
        let inner_plan = Plan {
            rules: Rules { restart, ..group_rules() },
            ..group(inner, allowing(Strategy::OneForOne, 0), vec![actor(a)])
        };
        let mut world = with_all([group(outer, flags(Strategy::OneForOne), vec![inner_plan])]);
        crash(&mut world, a);
        assert_eq!(world.is_up(inner), comes_back, "{restart:?}");
        assert_eq!(world.is_known(inner), restart != TEMPORARY);
        assert!(world.is_up(outer));
    }
}

#[test]
fn a_group_that_fails_to_restart_is_tried_again_even_if_transient() {
    let [outer, first, inner, a] = ids(1);
    let inner_plan = Plan {
        rules: Rules { restart: TRANSIENT, ..group_rules() },
        ..group(inner, flags(Strategy::OneForOne), vec![actor(a)])
    };
    let mut world = with_all([group(outer, flags(Strategy::OneForAll), vec![actor(first), inner_plan])]);
    behaves(&mut world, a, [Start::Fails, Start::Ready]);
    crash(&mut world, first);
    let down = Down(inner, Outcome::Stopped);
    let failed = Down(inner, Outcome::StartFailed(a));
    assert_eq!(
        seen(&mut world),
        [Stops(a), down, Starts(first), Starts(a), failed, Stops(first), Starts(first), Starts(a), Up(inner)]
    );
}

#[test]
fn a_temporary_group_at_the_root_may_fail() {
    let [g, a] = ids(1);
    let plan = Plan {
        rules: Rules { restart: TEMPORARY, ..group_rules() },
        ..group(g, allowing(Strategy::OneForOne, 0), vec![actor(a)])
    };
    let mut world = with_all([plan]);
    crash(&mut world, a);
    assert_eq!(seen(&mut world), [Down(g, Outcome::GaveUp(a))]);
}

#[test]
fn a_group_under_an_actor_that_is_given_up_takes_the_actor_with_it() {
    let [above, g, a] = ids(1);
    let mut world = with_all([actor(above)]);
    world.start(above, group(g, allowing(Strategy::OneForOne, 0), vec![actor(a)]));
    world.settle();
    world.hear();
    world.crash(a);
    assert!(world.hear().contains(&Command::Kill(above, Why::Escalated(a))));
    world.settle();
    assert_eq!(world.tree.restarts(above), 1);
    assert!(world.is_up(above) && !world.is_known(g));
}

#[test]
fn the_end_of_a_group_is_told_once_for_each_start() {
    let [outer, inner, a] = ids(1);
    let backoff =
        Backoff { first: Duration::from_secs(1), most: Duration::from_secs(1), quiet: Duration::MAX };
    let inner_plan = Plan {
        rules: Rules { backoff, ..group_rules() },
        ..group(inner, allowing(Strategy::OneForOne, 0), vec![actor(a)])
    };
    let mut world = with_all([group(outer, flags(Strategy::OneForOne), vec![inner_plan])]);
    crash(&mut world, a);
    crash(&mut world, a);
    assert_eq!(phase(&world, inner), Some(Phase::Restarting));
    world.hear();
    world.terminate(inner);
    assert!(seen(&mut world).is_empty(), "it was down already");
    assert_eq!(phase(&world, inner), Some(Phase::Stopped));
}

#[test]
fn a_dynamic_group_starts_each_at_once_stops_all_at_once_and_forgets() {
    let [g, a, b] = ids(1);
    let mut plan = group(g, flags(Strategy::OneForOne), vec![]);
    plan.what =
        super::super::What::Group { flags: flags(Strategy::OneForOne), dynamic: true, children: vec![] };
    let mut world = with_all([plan]);
    world.start(g, actor(a));
    world.start(g, actor(b));
    assert_eq!(seen(&mut world), [Starts(a), Starts(b)]);
    world.settle();
    world.terminate(g);
    assert_eq!(seen(&mut world), [Stops(b), Stops(a)], "neither waits for the other");
    world.settle();
    assert_eq!(seen(&mut world), [Down(g, Outcome::Stopped)]);
    assert!(!world.is_known(a) && !world.is_known(b));
}

#[test]
fn an_instance_that_is_stopped_or_ends_is_forgotten_and_one_that_crashes_comes_back() {
    let [g, a, b, c] = ids(1);
    let mut plan = group(g, flags(Strategy::OneForOne), vec![]);
    plan.what =
        super::super::What::Group { flags: flags(Strategy::OneForOne), dynamic: true, children: vec![] };
    let mut world = with_all([plan]);
    for id in [a, b, c] {
        world.start(g, child(id, TRANSIENT));
    }
    world.settle();
    world.terminate(a);
    end(&mut world, b);
    crash(&mut world, c);
    assert!(!world.is_known(a) && !world.is_known(b) && world.is_up(c));
}
