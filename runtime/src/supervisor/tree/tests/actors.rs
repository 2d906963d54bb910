//! Children of actors.

use super::*;

/// An actor above two others, and what outlives it.
fn family() -> (World, [NodeId; 4]) {
    let [above, a, b, heir] = ids(1);
    let mut world = with_all([actor(above)]);
    world.start(above, actor(a));
    world.start(above, actor(b));
    world.start(above, Plan { rules: Rules { outlives_parent: true, ..rules() }, ..actor(heir) });
    world.settle();
    world.hear();
    (world, [above, a, b, heir])
}

#[test]
fn they_die_with_the_actor_above_but_for_what_outlives_it() {
    let (mut world, [above, a, b, heir]) = family();
    let commands = world.step(Event::Exited(above, End::Abnormal));
    for child in [a, b] {
        assert!(commands.contains(&Command::Kill(child, Why::Parent)));
        assert!(commands.contains(&Command::Retired { node: child, given_up: false }));
    }
    world.settle();
    assert!(!world.is_known(a) && !world.is_known(b));
    assert!(world.is_up(above) && world.is_up(heir));
    assert_eq!(world.launched(heir), 1);
}

#[test]
fn they_die_at_any_depth() {
    let [above, g, a, under] = ids(1);
    let mut world = with_all([actor(above)]);
    world.start(above, group(g, flags(Strategy::OneForOne), vec![actor(a)]));
    world.settle();
    let heir = Plan { rules: Rules { outlives_parent: true, ..rules() }, ..actor(under) };
    world.start(a, heir);
    world.settle();
    crash(&mut world, above);
    assert!([g, a, under].iter().all(|&node| !world.is_known(node)), "it outlives a, not the one above");
}

#[test]
fn a_normal_end_of_the_actor_above_ends_them_as_well() {
    let (mut world, [above, a, ..]) = family();
    end(&mut world, above);
    assert!(world.is_up(above) && !world.is_known(a));
}

#[test]
fn they_are_stopped_in_reverse_before_the_actor_above_when_it_is_stopped() {
    let (mut world, [above, a, b, heir]) = family();
    let ticket = world.terminate(above);
    world.settle();
    assert_eq!(seen(&mut world), [Stops(heir), Stops(b), Stops(a), Stops(above)]);
    assert_eq!(world.answer(ticket), Some(Reply::Done));
}

#[test]
fn what_outlived_it_is_stopped_when_it_does_not_come_back() {
    let [above, heir] = ids(1);
    let once = Plan { rules: Rules { intensity: within(0), ..rules() }, ..actor(above) };
    let mut world = with_all([once]);
    world.start(above, Plan { rules: Rules { outlives_parent: true, ..rules() }, ..actor(heir) });
    world.settle();
    world.hear();
    crash(&mut world, above);
    assert_eq!(seen(&mut world), [Stops(heir)]);
    assert!(!world.is_known(above) && !world.is_known(heir));
}

#[test]
fn what_outlives_one_that_waits_for_its_turn_is_stopped_with_the_group() {
    let [g, a, b, heir] = ids(1);
    let mut world = with_all([group(g, flags(Strategy::OneForAll), vec![actor(a), actor(b)])]);
    world.start(b, Plan { rules: Rules { outlives_parent: true, ..rules() }, ..actor(heir) });
    world.settle();
    behaves(&mut world, a, [Start::Hangs]);
    world.crash(b);
    world.settle();
    // a does not come up, so b rests; its heir runs.
    world.hear();
    world.terminate(g);
    world.settle();
    assert!(seen(&mut world).contains(&Stops(heir)));
    assert!(!world.is_known(heir) && !world.is_known(g));
}

#[test]
fn one_alone_under_an_actor_has_its_own_budget() {
    let (mut world, [above, a, b, _]) = family();
    crash(&mut world, a);
    assert!(world.is_up(a));
    assert_eq!((world.launched(above), world.launched(b)), (1, 1));
}

#[test]
fn nothing_is_started_under_an_actor_that_is_dead_or_stops() {
    let (mut world, [above, a, ..]) = family();
    stops(&mut world, a, Stop::Ignores);
    world.terminate(above);
    let ticket = world.start(above, actor(ActorId(9)));
    assert_eq!(world.refusal(ticket), Some(Refused::Stopping));
    world.finish();
}

#[test]
fn a_child_of_a_dying_family_that_was_being_stopped_is_still_answered() {
    let (mut world, [above, a, ..]) = family();
    stops(&mut world, a, Stop::Ignores);
    let ticket = world.terminate(a);
    crash(&mut world, above);
    assert_eq!(world.answer(ticket), Some(Reply::Done));
}
