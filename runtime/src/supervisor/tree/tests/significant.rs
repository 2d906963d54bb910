//! Groups that end with their significant children.

use super::*;

fn shop(auto_shutdown: AutoShutdown, restart: Restart) -> (World, NodeId, [NodeId; 3]) {
    let [g, a, b, c] = ids(1);
    let significant = |id| Plan { rules: Rules { restart, significant: true, ..rules() }, ..actor(id) };
    let flags = Flags { auto_shutdown, ..flags(Strategy::OneForOne) };
    (with_all([group(g, flags, vec![significant(a), significant(b), actor(c)])]), g, [a, b, c])
}

#[test]
fn any_significant_ends_the_group_with_the_first_that_ends() {
    let (mut world, g, [a, b, c]) = shop(AutoShutdown::AnySignificant, TRANSIENT);
    end(&mut world, a);
    assert_eq!(seen(&mut world), [Stops(c), Stops(b), Down(g, Outcome::AutoShutdown)]);
    assert!(!world.is_known(g));
}

#[test]
fn all_significant_ends_the_group_with_the_last_that_ends() {
    let (mut world, g, [a, b, c]) = shop(AutoShutdown::AllSignificant, TEMPORARY);
    crash(&mut world, a);
    assert!(world.is_up(g));
    end(&mut world, b);
    assert_eq!(seen(&mut world), [Stops(c), Down(g, Outcome::AutoShutdown)]);
}

#[test]
fn one_that_is_restarted_has_not_ended() {
    let (mut world, g, [a, ..]) = shop(AutoShutdown::AnySignificant, TRANSIENT);
    crash(&mut world, a);
    assert!(world.is_up(g) && world.is_up(a));
}

#[test]
fn one_that_is_stopped_by_hand_ends_nothing() {
    let (mut world, g, [a, b, _]) = shop(AutoShutdown::AllSignificant, TRANSIENT);
    for child in [a, b] {
        world.terminate(child);
        world.settle();
    }
    assert!(world.is_up(g));
    let (mut world, g, [a, ..]) = shop(AutoShutdown::AnySignificant, TRANSIENT);
    world.terminate(a);
    world.settle();
    assert!(world.is_up(g));
}

#[test]
fn one_that_was_stopped_by_hand_does_not_run_when_the_last_ends() {
    let (mut world, g, [a, b, _]) = shop(AutoShutdown::AllSignificant, TRANSIENT);
    world.terminate(a);
    world.settle();
    end(&mut world, b);
    assert!(!world.is_known(g));
}

#[test]
fn one_that_waits_for_its_turn_still_runs() {
    let [g, a, b, c] = ids(1);
    let significant =
        |id| Plan { rules: Rules { restart: TRANSIENT, significant: true, ..rules() }, ..actor(id) };
    let flags = Flags { auto_shutdown: AutoShutdown::AllSignificant, ..flags(Strategy::OneForAll) };
    let mut world = with_all([group(g, flags, vec![significant(a), actor(b), significant(c)])]);
    behaves(&mut world, b, [Start::Hangs]);
    crash(&mut world, b);
    // a is up again, b does not come up, c waits for b.
    end(&mut world, a);
    assert!(world.is_known(g), "c will run");
    world.finish();
}

#[test]
fn one_that_only_waits_for_what_stands_under_it_has_ended() {
    let (mut world, g, [a, b, _]) = shop(AutoShutdown::AllSignificant, TRANSIENT);
    let under = ActorId(9);
    world.start(a, Plan { rules: Rules { outlives_parent: true, ..rules() }, ..actor(under) });
    world.settle();
    stops(&mut world, under, Stop::Ignores);
    end(&mut world, a);
    assert_eq!(phase(&world, a), Some(Phase::Stopping));
    end(&mut world, b);
    world.finish();
    assert!(!world.is_known(g));
}

#[test]
fn a_significant_group_counts_when_it_ends_by_itself() {
    for restart in [TRANSIENT, TEMPORARY] {
        let [outer, inner, a, b] = ids(1);
        let inner_plan = Plan {
            rules: Rules { restart, significant: true, ..group_rules() },
            ..group(inner, allowing(Strategy::OneForOne, 0), vec![actor(a)])
        };
        let any = Flags { auto_shutdown: AutoShutdown::AnySignificant, ..flags(Strategy::OneForOne) };
        let mut world = with_all([group(outer, any, vec![inner_plan, actor(b)])]);
        crash(&mut world, a);
        assert_eq!(
            seen(&mut world),
            [Down(inner, Outcome::GaveUp(a)), Stops(b), Down(outer, Outcome::AutoShutdown)],
            "{restart:?}"
        );
    }
}
