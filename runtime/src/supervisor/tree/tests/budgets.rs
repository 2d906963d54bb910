//! How many restarts are borne, and when.

use super::*;

#[test]
fn one_restart_more_than_allowed_ends_the_group_in_reverse_and_a_permanent_one_at_the_root_escalates() {
    let (mut world, g, [a, b]) = with_group(allowing(Strategy::OneForOne, 2), [PERMANENT; 2]);
    for _ in 0..2 {
        crash(&mut world, b);
        assert!(world.is_up(b));
    }
    seen(&mut world);
    crash(&mut world, b);
    assert_eq!(seen(&mut world), [Stops(a), Down(g, Outcome::GaveUp(b)), Escalate(g, b)]);
    assert!(!world.is_known(g));
}

#[test]
fn restarts_of_all_children_count_together() {
    let (mut world, g, [a, b]) = with_group(allowing(Strategy::OneForOne, 1), [PERMANENT; 2]);
    crash(&mut world, a);
    crash(&mut world, b);
    assert!(!world.is_known(g));
}

#[test]
fn restarts_older_than_the_period_do_not_count() {
    let (mut world, _, [a]) = with_group(allowing(Strategy::OneForOne, 1), [PERMANENT]);
    for _ in 0..5 {
        crash(&mut world, a);
        assert!(world.is_up(a));
        world.advance(Duration::from_millis(10_001));
    }
    crash(&mut world, a);
    world.advance(Duration::from_secs(10));
    crash(&mut world, a);
    assert!(!world.is_known(a), "exactly the period ago still counts, as in OTP");
}

#[test]
fn a_whole_groups_restart_counts_once() {
    let (mut world, _, [a, b, c]) = with_group(allowing(Strategy::OneForAll, 1), [PERMANENT; 3]);
    crash(&mut world, b);
    assert!([a, b, c].iter().all(|&child| world.is_up(child)));
}

#[test]
fn a_group_that_is_given_up_is_restarted_by_its_own_with_a_fresh_budget() {
    let [outer, inner, a] = ids(1);
    let inner_plan = group(inner, allowing(Strategy::OneForOne, 1), vec![actor(a)]);
    let mut world = with_all([group(outer, allowing(Strategy::OneForOne, 1), vec![inner_plan])]);
    crash(&mut world, a);
    seen(&mut world);
    crash(&mut world, a);
    assert_eq!(seen(&mut world), [Down(inner, Outcome::GaveUp(a)), Starts(a), Up(inner)]);
    crash(&mut world, a);
    assert!(world.is_up(a), "the new group bears one again");
    seen(&mut world);
    crash(&mut world, a);
    assert_eq!(
        seen(&mut world),
        [Down(inner, Outcome::GaveUp(a)), Down(outer, Outcome::GaveUp(a)), Escalate(outer, a)]
    );
}

#[test]
fn a_group_of_a_zero_budget_ends_with_the_first_crash() {
    let (mut world, g, [a]) = with_group(allowing(Strategy::OneForOne, 0), [PERMANENT]);
    crash(&mut world, a);
    assert_eq!(seen(&mut world), [Down(g, Outcome::GaveUp(a)), Escalate(g, a)]);
}

#[test]
fn a_failed_restart_counts_and_is_tried_again() {
    let (mut world, _, [a]) = with_group(allowing(Strategy::OneForOne, 3), [PERMANENT]);
    behaves(&mut world, a, [Start::Fails, Start::Fails, Start::Ready]);
    crash(&mut world, a);
    assert_eq!(seen(&mut world), [Starts(a), Starts(a), Starts(a)]);
    assert_eq!(world.tree.restarts(a), 3);
    assert!(world.is_up(a));
}

#[test]
fn a_restart_that_fails_for_ever_spends_the_budget() {
    let (mut world, g, [a]) = with_group(allowing(Strategy::OneForOne, 2), [PERMANENT]);
    behaves(&mut world, a, [Start::Fails; 9]);
    crash(&mut world, a);
    assert_eq!(seen(&mut world), [Starts(a), Starts(a), Down(g, Outcome::GaveUp(a)), Escalate(g, a)]);
}

#[test]
fn a_failed_start_in_a_one_for_all_restart_counts_and_all_are_started_again() {
    let (mut world, _, [a, b, c]) = with_group(allowing(Strategy::OneForAll, 3), [PERMANENT; 3]);
    behaves(&mut world, b, [Start::Fails]);
    crash(&mut world, c);
    let first = [Stops(b), Stops(a), Starts(a), Starts(b)];
    let again = [Stops(a), Starts(a), Starts(b), Starts(c)];
    assert_eq!(seen(&mut world), [&first[..], &again[..]].concat());
    assert_eq!((world.tree.restarts(c), world.tree.restarts(b)), (1, 1));
}

#[test]
fn a_failed_start_in_a_rest_for_one_restart_starts_again_from_there() {
    let (mut world, _, [a, b, c]) = with_group(allowing(Strategy::RestForOne, 3), [PERMANENT; 3]);
    behaves(&mut world, b, [Start::Fails]);
    crash(&mut world, a);
    assert_eq!(seen(&mut world), [Stops(c), Stops(b), Starts(a), Starts(b), Starts(b), Starts(c)]);
}

#[test]
fn one_that_stands_alone_has_its_own_budget_and_is_given_up_alone() {
    let [a, b] = ids(1);
    let alone = |id| Plan { rules: Rules { intensity: within(1), ..rules() }, ..actor(id) };
    let mut world = with_all([alone(a), alone(b)]);
    crash(&mut world, a);
    crash(&mut world, b);
    assert!(world.is_up(a) && world.is_up(b));
    world.hear();
    crash(&mut world, a);
    assert!(world.hear().contains(&Command::Retired { node: a, given_up: true }));
    assert!(!world.is_known(a) && world.is_up(b));
}

#[test]
fn the_first_restart_is_at_once_and_the_next_waits_until_a_quiet_life_forgives() {
    let [a] = ids(1);
    let second = Duration::from_secs(1);
    let backoff = Backoff { first: second, most: 4 * second, quiet: 20 * second };
    let mut world = with_all([Plan { rules: Rules { backoff, ..rules() }, ..actor(a) }]);
    crash(&mut world, a);
    assert!(world.is_up(a));
    crash(&mut world, a);
    assert_eq!(phase(&world, a), Some(Phase::Restarting));
    world.advance(Duration::from_millis(499));
    assert!(!world.is_up(a), "at least half of its step");
    world.advance(Duration::from_millis(501));
    assert!(world.is_up(a));
    world.advance(20 * second);
    crash(&mut world, a);
    assert!(world.is_up(a));
}

#[test]
fn a_clock_that_jumps_forward_makes_due_what_is_due_and_one_that_jumps_back_stands_still() {
    let (mut world, _, [a]) = with_group(allowing(Strategy::OneForOne, 1), [PERMANENT]);
    crash(&mut world, a);
    let later = world.now + Duration::from_secs(11);
    world.step_at(Event::Tick, later);
    // An hour back: the tree stays at the latest that it has seen, and the first restart is forgiven.
    world.step_at(Event::Exited(a, End::Abnormal), world.now);
    world.now = later;
    world.settle();
    assert!(world.is_up(a));
    world.step_at(Event::Exited(a, End::Abnormal), world.began);
    world.settle();
    assert!(!world.is_known(a), "and this one counts");
}

#[test]
fn what_waits_for_its_restart_can_be_stopped_and_is_not_started_then() {
    let [a] = ids(1);
    let backoff =
        Backoff { first: Duration::from_secs(1), most: Duration::from_secs(1), quiet: Duration::MAX };
    let mut world = with_all([Plan { rules: Rules { backoff, ..rules() }, ..actor(a) }]);
    crash(&mut world, a);
    crash(&mut world, a);
    let ticket = world.terminate(a);
    assert_eq!(world.answer(ticket), Some(Reply::Done));
    world.finish();
    assert_eq!(world.launched(a), 2);
}
