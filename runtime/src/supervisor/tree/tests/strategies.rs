//! Who else is restarted.

use super::*;

#[test]
fn one_for_one_restarts_only_the_one_that_has_ended() {
    let (mut world, _, [_, b, _]) = with_group(flags(Strategy::OneForOne), [PERMANENT; 3]);
    crash(&mut world, b);
    assert_eq!(seen(&mut world), [Starts(b)]);
    assert!(world.is_up(b));
}

#[test]
fn one_for_all_stops_the_others_in_reverse_and_starts_all_in_order() {
    let (mut world, _, [a, b, c]) = with_group(flags(Strategy::OneForAll), [PERMANENT; 3]);
    crash(&mut world, b);
    assert_eq!(seen(&mut world), [Stops(c), Stops(a), Starts(a), Starts(b), Starts(c)]);
}

#[test]
fn rest_for_one_restarts_those_that_were_started_after_it() {
    let (mut world, _, [a, b, c]) = with_group(flags(Strategy::RestForOne), [PERMANENT; 3]);
    crash(&mut world, b);
    assert_eq!(seen(&mut world), [Stops(c), Starts(b), Starts(c)]);
    assert_eq!((world.launched(a), world.launched(b)), (1, 2));
}

#[test]
fn a_permanent_child_is_restarted_after_a_normal_end_too() {
    let (mut world, _, [a]) = with_group(flags(Strategy::OneForOne), [PERMANENT]);
    end(&mut world, a);
    assert!(world.is_up(a));
}

#[test]
fn a_transient_child_is_restarted_after_a_crash_only_and_its_spec_is_kept() {
    let (mut world, _, [a]) = with_group(flags(Strategy::OneForAll), [TRANSIENT]);
    crash(&mut world, a);
    assert!(world.is_up(a));
    end(&mut world, a);
    assert_eq!(phase(&world, a), Some(Phase::Stopped));
}

#[test]
fn a_temporary_child_is_never_restarted_and_its_spec_is_forgotten() {
    let (mut world, _, [a, b]) = with_group(flags(Strategy::OneForAll), [TEMPORARY, PERMANENT]);
    crash(&mut world, a);
    assert!(!world.is_known(a));
    assert!(seen(&mut world).is_empty());
    assert_eq!(world.launched(b), 1);
}

#[test]
fn a_temporary_child_that_is_stopped_with_its_group_is_removed() {
    for (strategy, expected) in [(Strategy::OneForAll, false), (Strategy::RestForOne, false)] {
        let (mut world, _, [a, b, c]) = with_group(flags(strategy), [PERMANENT, TEMPORARY, PERMANENT]);
        crash(&mut world, a);
        assert_eq!(seen(&mut world), [Stops(c), Stops(b), Starts(a), Starts(c)]);
        assert_eq!(world.is_known(b), expected);
    }
}

#[test]
fn a_child_that_had_ended_is_started_again_with_its_group() {
    let (mut world, _, [a, b]) = with_group(flags(Strategy::OneForAll), [PERMANENT, TRANSIENT]);
    end(&mut world, b);
    seen(&mut world);
    crash(&mut world, a);
    assert_eq!(seen(&mut world), [Starts(a), Starts(b)]);
}

#[test]
fn a_child_that_was_stopped_by_hand_is_started_again_with_its_group_too() {
    let (mut world, _, [a, b]) = with_group(flags(Strategy::OneForAll), [PERMANENT; 2]);
    world.terminate(b);
    world.settle();
    crash(&mut world, a);
    assert!(world.is_up(b));
}

#[test]
fn whoever_is_stopped_with_its_group_is_told_so() {
    let (mut world, _, [a, b]) = with_group(flags(Strategy::OneForAll), [PERMANENT; 2]);
    world.crash(a);
    let commands = world.step(Event::Exited(b, End::Normal));
    assert_eq!(verdict(&commands), Some(&Verdict::WithGroup));
    world.finish();
}

#[test]
fn a_nested_groups_children_are_told_that_they_come_back_with_it() {
    let [outer, a, inner, b] = ids(1);
    let inner_plan = group(inner, flags(Strategy::OneForOne), vec![actor(b)]);
    let plan = group(outer, flags(Strategy::OneForAll), vec![actor(a), inner_plan]);
    let mut world = with_all([plan]);
    world.crash(a);
    let commands = world.step(Event::Exited(b, End::Normal));
    assert_eq!(verdict(&commands), Some(&Verdict::WithGroup));
    world.settle();
    assert_eq!(seen(&mut world), [Stops(b), Down(inner, Outcome::Stopped), Starts(a), Starts(b), Up(inner)]);
}

#[test]
fn a_child_that_crashes_before_its_turn_to_stop_counts_nothing() {
    let (mut world, _, [a, b, c]) = with_group(allowing(Strategy::OneForAll, 1), [PERMANENT; 3]);
    world.crash(a);
    // c has been asked; b has not, and is faster.
    let commands = world.step(Event::Exited(b, End::Abnormal));
    assert_eq!(verdict(&commands), Some(&Verdict::WithGroup));
    world.settle();
    assert_eq!(seen(&mut world), [Stops(c), Starts(a), Starts(b), Starts(c)]);
    assert_eq!((world.tree.restarts(a), world.tree.restarts(b)), (1, 0));
}

#[test]
fn nothing_in_a_nested_group_is_restarted_when_the_group_is_about_to_be_stopped() {
    let [outer, a, inner, b, c] = ids(1);
    let inner_plan = group(inner, flags(Strategy::OneForOne), vec![actor(b)]);
    let plan = group(outer, flags(Strategy::OneForAll), vec![actor(a), inner_plan, actor(c)]);
    let mut world = with_all([plan]);
    world.crash(a);
    // The inner group's turn comes after c's.
    world.crash(b);
    assert_eq!(seen(&mut world), [Stops(c)]);
    world.settle();
    assert_eq!(seen(&mut world), [Down(inner, Outcome::Stopped), Starts(a), Starts(b), Up(inner), Starts(c)]);
    assert_eq!(world.tree.restarts(b), 0);
}

#[test]
fn a_second_crash_in_the_middle_of_a_restart_starts_it_over() {
    let (mut world, _, [a, b]) = with_group(flags(Strategy::OneForAll), [PERMANENT; 2]);
    behaves(&mut world, b, [Start::Hangs, Start::Ready]);
    crash(&mut world, a);
    assert_eq!(seen(&mut world), [Stops(b), Starts(a), Starts(b)]);
    crash(&mut world, a);
    assert_eq!(seen(&mut world), [Stops(b), Starts(a), Starts(b)]);
    assert!(world.is_up(b));
}

#[test]
fn a_changed_strategy_lets_those_start_that_waited_for_their_turn() {
    let (mut world, g, [a, b]) = with_group(flags(Strategy::OneForAll), [PERMANENT; 2]);
    world.crash(a);
    world.step(Event::Exited(b, End::Normal));
    // b rests until a is up.
    assert_eq!(phase(&world, b), Some(Phase::Restarting));
    world.set_flags(g, flags(Strategy::OneForOne));
    world.settle();
    assert!(world.is_up(a) && world.is_up(b));
}
