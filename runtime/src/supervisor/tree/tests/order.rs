//! No more processes are spawned at once than the cap allows; the others wait in line.

use super::*;

#[test]
fn no_more_than_the_cap_are_spawned_at_once_and_the_next_begins_when_one_has_booted() {
    let mut world = World::new(2, false);
    let [a, b, c, d] = ids(1);
    for id in [a, b, c, d] {
        world.start(ROOT, actor(id));
    }
    assert_eq!(seen(&mut world), [Starts(a), Starts(b)]);
    assert_eq!(phase(&world, c), Some(Phase::Starting));
    world.act(Event::Booted(b));
    assert_eq!(seen(&mut world), [Starts(c)]);
    world.crash(a);
    assert_eq!(seen(&mut world), [Starts(d)], "one that ends has left its place too");
    world.settle();
    assert!([b, c, d].iter().all(|&id| world.is_up(id)));
}

#[test]
fn one_that_waits_in_line_and_is_stopped_is_never_spawned() {
    let mut world = World::new(1, false);
    let [a, b, c] = ids(1);
    world.start(ROOT, actor(a));
    let started = world.start(ROOT, actor(b));
    world.start(ROOT, actor(c));
    let stopped = world.terminate(b);
    assert_eq!(world.answer(stopped), Some(Reply::Done));
    assert_eq!(world.answer(started), Some(Reply::Failed(b)));
    world.settle();
    assert_eq!(world.launched(b), 0);
    assert!(world.is_up(c));
}

#[test]
fn the_verdict_on_one_comes_before_the_next_in_line_is_spawned() {
    let mut world = World::new(1, false);
    let [a, b] = ids(1);
    world.start(ROOT, actor(a));
    world.start(ROOT, actor(b));
    let commands = world.step(Event::Exited(a, End::Abnormal));
    assert_eq!(verdict(&commands), Some(&Verdict::Ended));
    assert_eq!(commands.last(), Some(&Command::Launch(b)));
    world.finish();
}

#[test]
fn what_comes_up_late_does_not_overtake_the_line() {
    let mut world = World::new(1, false);
    let [a, b, c] = ids(1);
    let mut hanging = actor(a);
    hanging.rules.restart = PERMANENT;
    world.start(ROOT, hanging);
    world.settle();
    world.start(ROOT, actor(b));
    world.start(ROOT, actor(c));
    // a is to be restarted at once, but c was first.
    world.crash(a);
    world.step(Event::Tick);
    world.hear();
    world.act(Event::Booted(b));
    assert_eq!(seen(&mut world), [Starts(c)]);
    world.act(Event::Booted(c));
    assert_eq!(seen(&mut world), [Starts(a)]);
    world.finish();
}

#[test]
fn what_waits_in_line_and_is_about_to_be_stopped_is_not_spawned_for_that() {
    let mut world = World::new(1, false);
    let [g, a, b, blocker] = ids(1);
    world.start(ROOT, group(g, flags(Strategy::OneForAll), vec![actor(a), actor(b)]));
    world.settle();
    world.start(ROOT, actor(blocker));
    // Both are to be started again, and wait in line.
    world.crash(a);
    world.terminate(g);
    world.settle();
    assert_eq!(world.launched(a), 1);
    world.finish();
}

#[test]
fn a_start_that_does_not_return_ends_at_its_deadline() {
    let [a] = ids(1);
    let mut world = empty();
    behaves(&mut world, a, [Start::Hangs]);
    let ticket = world.start(ROOT, actor(a));
    world.settle();
    world.hear();
    world.now += super::super::world::START_DEADLINE;
    world.step(Event::Tick);
    assert_eq!(world.hear(), [Command::Kill(a, Why::StartDeadline)]);
    world.settle();
    assert_eq!(world.answer(ticket), Some(Reply::Failed(a)));
}
