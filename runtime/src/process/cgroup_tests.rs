//! On a real hierarchy, where this machine has one that may be written; each test says so where it has not.
#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};

use super::*;

/// A group of the test's own to make others in. Not named as a program's are, or another test could sweep it away.
struct Ground(PathBuf);

impl Ground {
    fn of(test: &str) -> Option<Ground> {
        let made = own_directory().and_then(|own| {
            let path = own.join(format!("test-of-watertight-{}-{test}", std::process::id()));
            std::fs::create_dir(&path).map_err(refused("make the group", &path)).map(|()| Ground(path))
        });
        let not_tested = |error: &CgroupError| {
            // Past the harness, which shows only what tests print that fail.
            let mut shown = io::stderr();
            writeln!(shown, "not tested: {test}: {error}").unwrap();
            assert!(std::env::var_os("WATERTIGHT_NEEDS_CGROUP").is_none(), "{test}: {error}");
        };
        made.inspect_err(not_tested).ok()
    }

    fn groups(&self) -> Groups {
        Groups::make(&self.0, "ab").unwrap()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        remove_soon(&self.0).unwrap();
    }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("3600").env_clear().spawn().unwrap()
}

fn sleeper_in(group: &Path) -> Child {
    let child = sleeper();
    write(&group.join("cgroup.procs"), &child.id().to_string()).unwrap();
    child
}

#[test]
fn all_that_is_in_a_group_or_below_it_is_killed_and_nothing_beside_it() {
    let Some(ground) = Ground::of("kill") else { return };
    let groups = ground.groups();
    for (life, by_kernel) in [("ab.3.1", true), ("ab.3.2", false)] {
        let (group, _door) = groups.group(life, &Limits::default()).unwrap();
        let (other, _door) = groups.group(&format!("{life}0"), &Limits::default()).unwrap();
        let below = group.path.join("below");
        std::fs::create_dir(&below).unwrap();
        let mut inside = [sleeper_in(&group.path), sleeper_in(&below)];
        let mut beside = [sleeper_in(&other.path), sleeper()];
        if by_kernel {
            group.kill().unwrap()
        } else {
            kill_each(&group.path).unwrap()
        }
        let pids = inside.each_ref().map(Child::id);
        remove_soon(&group.path).unwrap();
        assert!(!group.path.exists() && pids.iter().all(|pid| group.holds(*pid)), "dead, and not reaped");
        assert!(beside.iter().all(|child| !group.holds(child.id())));
        for child in &mut inside {
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        }
        for child in &mut beside {
            assert!(child.try_wait().unwrap().is_none(), "it was beside the group");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    let path = groups.path().to_owned();
    groups.finish();
    assert!(!path.exists());
}

#[test]
fn a_process_enters_by_the_descriptor() {
    let Some(ground) = Ground::of("enter") else { return };
    let groups = ground.groups();
    let (group, door) = groups.group("ab.1.1", &Limits::default()).unwrap();
    // What this test's own process would do cannot be tried: its other threads would come along.
    let mut child =
        Command::new("sh").args(["-c", "echo 0 >&0 && exec sleep 3600"]).stdin(door).spawn().unwrap();
    let began = Instant::now();
    while !group.holds(child.id()) {
        assert!(began.elapsed() < Duration::from_secs(10), "it does not enter");
        std::thread::yield_now();
    }
    group.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    assert!(!group.has_run_out_of_memory());
}

#[test]
fn what_a_dead_program_has_left_is_ended_and_removed_and_a_living_ones_is_not() {
    let Some(ground) = Ground::of("sweep") else { return };
    let (dead, other) = (ground.0.join("watertight-1-dead"), ground.0.join("somebody"));
    for path in [&dead, &other] {
        std::fs::create_dir(path).unwrap();
    }
    std::fs::create_dir(dead.join("3.1")).unwrap();
    let mut left = sleeper_in(&dead.join("3.1"));
    let living = ground.groups();
    assert!(!dead.exists() && other.exists());
    assert_eq!(left.wait().unwrap().signal(), Some(libc::SIGKILL));
    sweep(&ground.0);
    assert!(living.path().exists());
    living.finish();
}

#[test]
fn a_group_that_nobody_has_entered_is_gone_with_its_owner() {
    let Some(ground) = Ground::of("unused") else { return };
    let groups = ground.groups();
    let (group, _door) = groups.group("ab.1.1", &Limits::default()).unwrap();
    let path = group.path.clone();
    assert!(path.exists());
    drop(group);
    assert!(!path.exists());
    groups.finish();
}

#[test]
fn a_directory_that_cannot_be_had_is_refused_with_what_was_tried_and_what_to_do() {
    let error = Groups::make(Path::new("/proc"), "ab").unwrap_err();
    assert!(matches!(&error, CgroupError::NoGroup(path) if path == Path::new("/proc")), "{error}");
    let error = Groups::make(Path::new("/no/such/directory"), "ab").unwrap_err().to_string();
    assert!(
        error.contains("failed to find /no/such/directory: No such file") && error.contains("Delegate=yes")
    );
}

#[test]
fn without_a_controller_it_is_said_which_and_why() {
    let Some(ground) = Ground::of("lack") else { return };
    let groups = ground.groups();
    let limits = Limits { processes: Some(9), ..Limits::default() };
    match groups.lack(&limits) {
        None => assert!(groups.controllers.pids),
        Some((what, why)) => {
            assert!(!groups.controllers.pids && what == "a number of processes");
            assert!(why.starts_with(&format!("{} has the controllers [", ground.0.display())), "{why}");
        }
    }
    groups.finish();
}
