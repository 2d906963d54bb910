//! What an actor starts ends with it: in its group, out of it, as another program or as a copy of itself. And nothing
//! else does.

use std::time::{Duration, Instant};

use watertight_tests::doomed::{self, Doomed, is_alive, is_there};

use crate::profiles::Stage;

/// By a user without privileges, who sees less of other processes; with the directory in which it stands.
fn started() -> (Doomed, Stage) {
    let stage = Stage::new(env!("CARGO_BIN_EXE_doomed"));
    (Doomed::run(stage.command()), stage)
}

fn wait_until_gone(pid: u32, what: &str) {
    let began = Instant::now();
    while is_there(pid) {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        assert!(began.elapsed() < Duration::from_secs(10), "{what} is still there: {state:?}");
        std::thread::yield_now();
    }
}

#[test]
fn whatever_a_dead_actor_has_started_is_ended_and_reaped() {
    let (mut program, _stage) = started();
    program.say("worker");
    let left = ["child 0", "daemon 0", "copy 0"].map(|command| (program.starts(command), command));
    assert_eq!(program.say("fell 0"), "true");
    for (pid, what) in left {
        wait_until_gone(pid, what);
    }
    // The next incarnation is well, and so is what it starts.
    let daemon = program.starts("daemon 0");
    let copy = program.starts("copy 0");
    assert!(is_alive(daemon) && is_alive(copy));
}

#[test]
fn what_others_have_started_is_left_alone() {
    let (mut program, _stage) = started();
    program.say("worker");
    program.say("worker");
    let own = program.starts("own");
    let sibling = ["child 1", "daemon 1", "copy 1"].map(|command| program.starts(command));
    let daemon = program.starts("daemon 0");
    assert_eq!(program.say("fell 0"), "true");
    wait_until_gone(daemon, "the dead actor's daemon");
    // The look that has found the one has seen the others too.
    for pid in sibling.into_iter().chain([own]) {
        assert!(is_alive(pid), "process {pid} was none of the dead actor's");
    }
    assert_eq!(program.say("fell 1"), "true");
    for pid in sibling {
        wait_until_gone(pid, "the sibling's");
    }
    assert!(is_alive(own), "the program's own child was none of an actor's");
    end(own);
}

#[test]
fn the_end_of_a_program_is_the_end_of_what_its_actors_started() {
    let (mut program, _stage) = started();
    program.say("worker");
    let left = ["child 0", "daemon 0", "copy 0"].map(|command| program.starts(command));
    let own = program.starts("own");
    program.end();
    for pid in left {
        assert!(!is_alive(pid), "process {pid} has outlived its program");
    }
    assert!(is_alive(own));
    end(own);
}

#[test]
fn a_killed_program_leaves_neither_actors_nor_what_they_started() {
    let (mut program, _stage) = started();
    let actor: u32 = program.say("worker").parse().unwrap();
    let left = ["child 0", "daemon 0", "copy 0"].map(|command| (program.starts(command), command));
    let own = program.starts("own");
    let survivor = survivor_of(&program);
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    let killed = Instant::now();
    // It may wait to be reaped: by this test's own process, if other tests have made it a subreaper.
    for (pid, what) in left.into_iter().chain([(actor, "the actor")]) {
        while is_alive(pid) {
            assert!(killed.elapsed() < Duration::from_secs(1), "{what} is alive a second later");
            std::thread::yield_now();
        }
    }
    assert!(is_alive(own), "the program's own child was none of an actor's");
    end(own);
    while is_alive(survivor) {
        assert!(killed.elapsed() < Duration::from_secs(5), "the survivor stays");
        std::thread::yield_now();
    }
}

#[test]
fn a_survivor_that_was_killed_has_a_successor_with_the_next_actor() {
    let (mut program, _stage) = started();
    program.say("worker");
    let daemon = program.starts("daemon 0");
    let first = survivor_of(&program);
    end(first);
    wait_until_gone(first, "the survivor, dead and not reaped,");
    let actor: u32 = program.say("worker").parse().unwrap();
    assert_ne!(survivor_of(&program), first);
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    let killed = Instant::now();
    while is_alive(daemon) || is_alive(actor) {
        assert!(killed.elapsed() < Duration::from_secs(1), "something is alive a second later");
        std::thread::yield_now();
    }
}

#[test]
fn a_program_that_ends_takes_its_survivor_along() {
    let (mut program, _stage) = started();
    program.say("worker");
    let survivor = survivor_of(&program);
    program.end();
    assert!(!is_there(survivor), "the survivor of a program that has ended well");
}

/// The process that is to outlive the program; it is started behind the first actor.
fn survivor_of(program: &Doomed) -> u32 {
    let began = Instant::now();
    loop {
        if let Some(pid) = doomed::survivor_of(program.child.id()) {
            return pid;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "the program has no survivor");
    }
}

fn end(pid: u32) {
    watertight_tests::doomed::signal(pid, libc::SIGKILL);
}
