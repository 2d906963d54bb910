#![allow(clippy::unwrap_used)]

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use super::*;

fn sleeper(change: impl FnOnce(&mut Command)) -> Child {
    let mut command = Command::new("sleep");
    command.arg("60");
    change(&mut command);
    command.spawn().unwrap()
}

#[test]
fn numbers_are_heard_however_they_are_cut() {
    let told = [7, 300, -7, 1, 0, i32::MIN, 70_000, -1, 300];
    let bytes: Vec<u8> = told.iter().flat_map(|number: &i32| number.to_le_bytes()).collect();
    for size in 1..bytes.len() {
        let mut heard = Told::default();
        bytes.chunks(size).for_each(|part| heard.hear(part));
        assert_eq!(heard.groups, HashSet::from([300, 70_000]), "in pieces of {size}");
    }
}

#[test]
fn groups_and_whatever_is_named_by_the_system_are_ended_and_nothing_else_is() {
    let system = "a1b2";
    let mut group = sleeper(|it| _ = it.process_group(0));
    let mut member = sleeper(|it| _ = it.process_group(group.id().cast_signed()).env_clear());
    let mut marked = sleeper(|it| _ = it.env(VARIABLE, "a1b2.4.1").process_group(0));
    let mut copy = sleeper(|it| _ = it.arg0("watertight-actor: some name a1b2.5.2").process_group(0));
    let mut others = [
        sleeper(|it| _ = it.env(VARIABLE, "a1b23.4.1")),
        sleeper(|it| _ = it.env(VARIABLE, "a1b")),
        sleeper(|it| _ = it.env("OTHER", "a1b2.4.1")),
        sleeper(|it| _ = it.arg0("watertight-actor: a1b2.5.2 c3d4.1.1")),
        sleeper(|it| _ = it.arg0("something a1b2.5.2")),
    ];
    clear(system, &HashSet::from([group.id().cast_signed()]));
    for ended in [&mut group, &mut member, &mut marked, &mut copy] {
        // It was killed before `clear` came back, and is a child of this process, so it is dead or about to be.
        assert!(ended.wait().unwrap().to_string().contains("signal: 9"));
    }
    for other in &mut others {
        assert!(other.try_wait().unwrap().is_none(), "it was none of the system's");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
