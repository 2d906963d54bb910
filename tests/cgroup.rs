//! Control groups: whatever an actor starts ends with it, however it tries to leave, and limits hold for all of it.
//!
//! Each test finds a hierarchy that it may write, and says `not tested` where there is none; with
//! `WATERTIGHT_NEEDS_CGROUP` set it fails then. `tests/cgroup/run` runs them on a machine of their own that has one, with
//! every controller.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use watertight::error::SpawnError;
use watertight::prelude::*;
use watertight::spec::SpecError;
use watertight::testing::Test;
use watertight::{Cgroup, Exit};
use watertight_tests::confined::{Fill, Launch, Launched, Work, Worker};
use watertight_tests::doomed::{Doomed, is_alive, is_there, survivor_of};

/// A user without privileges.
const NOBODY: u32 = 65534;

/// Why a test cannot be what it is here. It fails where somebody has promised that it can.
fn not_tested(test: &str, reason: &str) {
    // Past the harness, which shows only what tests print that fail.
    let mut shown = std::io::stderr();
    writeln!(shown, "not tested: {test}: {reason}").unwrap();
    assert!(std::env::var_os("WATERTIGHT_NEEDS_CGROUP").is_none(), "{test}: {reason}");
}

/// A group for one test, in which it makes others.
struct Ground(PathBuf);

impl Ground {
    /// With these controllers, if any.
    fn of(test: &str, controllers: &str) -> Option<Ground> {
        match Ground::find(test, controllers) {
            Ok(ground) => Some(ground),
            Err(reason) => {
                not_tested(test, &reason);
                None
            }
        }
    }

    fn find(test: &str, controllers: &str) -> Result<Ground, String> {
        let own = std::fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let place = own.lines().find_map(|line| line.strip_prefix("0::/")).ok_or("it is in no hierarchy")?;
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = mount.into_iter().find(|fields| fields[2] == "cgroup2").ok_or("none is mounted")?;
        let parent = Path::new(mount[1]).join(place);
        let started_as = std::env::args_os().next().unwrap_or_default();
        if started_as.to_str().is_some_and(|name| name.starts_with("watertight-")) {
            // An actor of the test, which comes by here on its way: nothing is made for it.
            return Ok(Ground(parent));
        }
        for controller in controllers.split_ascii_whitespace() {
            let enabled = std::fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
            enabled.map_err(|error| format!("{} has no {controller}: {error}", parent.display()))?;
        }
        let path = parent.join(format!("test-of-{}-{test}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Ground(path))
    }

    /// The directories of programs in it.
    fn programs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        entries.filter(|path| path.is_dir() && name(path) != "watertight-supervisor").collect()
    }

    fn run(&self) -> Doomed {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doomed"));
        command.env("WATERTIGHT_CGROUP", &self.0);
        Doomed::run(command)
    }

    /// Runs it inside, as somebody to whom it is delegated.
    fn run_inside(&self, user: Option<u32>) -> Doomed {
        for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            std::os::unix::fs::chown(self.0.join(file), user, user).unwrap();
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read moved && exec \"$0\"", env!("CARGO_BIN_EXE_doomed")]);
        command.env("WATERTIGHT_CGROUP", "auto").current_dir("/").env_remove("XDG_RUNTIME_DIR");
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let mut program = Doomed::run(command);
        std::fs::write(self.0.join("cgroup.procs"), program.child.id().to_string()).unwrap();
        program.tell("moved");
        program
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let began = Instant::now();
        // What has just died may still be counted.
        while let Err(error) = std::fs::remove_dir(&self.0) {
            let own = self.0.join("watertight-supervisor");
            let _ = std::fs::remove_dir(own);
            if began.elapsed() > Duration::from_secs(10) {
                if !std::thread::panicking() {
                    panic!("{} has something left in it: {error}", self.0.display());
                }
                return;
            }
            std::thread::yield_now();
        }
    }
}

fn cgroup_of(pid: u32) -> String {
    let all = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    all.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10), "not so after 10 s: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn what_a_dead_actor_has_started_is_ended_wherever_it_went_and_its_group_is_removed() {
    let Some(ground) = Ground::of("death", "") else { return };
    let mut program = ground.run();
    let actor = program.starts("worker");
    let sibling = program.starts("worker");
    let left = ["stray 0", "daemon 0", "copy 0", "child 0"].map(|command| program.starts(command));
    let stray_of_sibling = program.starts("stray 1");
    let group = cgroup_of(actor);
    assert!(group.contains(&format!("/watertight-{}-", program.child.id())), "{group}");
    assert!(left.iter().all(|pid| cgroup_of(*pid) == group) && cgroup_of(sibling) != group);
    assert_eq!(program.say("fell 0"), "true");
    wait_until("all of it is dead and reaped", || !left.iter().any(|pid| is_there(*pid)));
    let [ours] = &*ground.programs() else { panic!("{:?}", ground.programs()) };
    let of_the_dead = ours.join(group.rsplit('/').next().unwrap());
    wait_until("its group is gone", || !of_the_dead.exists());
    assert!(is_alive(stray_of_sibling), "it was none of the dead actor's");
    // Its next life has a group of its own, and ends with the program.
    let stray = program.starts("stray 0");
    program.end();
    assert!(!is_alive(stray) && !is_alive(stray_of_sibling));
    assert_eq!(ground.programs(), [] as [PathBuf; 0]);
}

#[test]
fn without_a_group_a_stray_is_not_found() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doomed"));
    command.env_remove("WATERTIGHT_CGROUP");
    let mut program = Doomed::run(command);
    program.starts("worker");
    let (stray, daemon) = (program.starts("stray 0"), program.starts("daemon 0"));
    assert_eq!(program.say("fell 0"), "true");
    wait_until("the daemon is gone", || !is_there(daemon));
    // The look that has found the one has seen the other.
    assert!(is_alive(stray), "it is known after all: the documentation says otherwise");
    watertight_tests::doomed::signal(stray, libc::SIGKILL);
}

#[test]
fn a_killed_program_leaves_neither_strays_nor_groups() {
    let Some(ground) = Ground::of("killed", "") else { return };
    let mut program = ground.run();
    let actor = program.starts("worker");
    let left = ["stray 0", "daemon 0", "copy 0"].map(|command| program.starts(command));
    // There is a survivor with the first actor that runs; it is the program's other child.
    wait_until("it has a survivor", || survivor_of(program.child.id()).is_some());
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    wait_until("all of it is dead", || !left.iter().chain([&actor]).any(|pid| is_alive(*pid)));
    wait_until("its groups are gone", || ground.programs().is_empty());
}

#[test]
fn the_next_program_ends_what_a_program_without_a_survivor_has_left() {
    let Some(ground) = Ground::of("stale", "") else { return };
    let mut program = ground.run();
    program.starts("worker");
    let stray = program.starts("stray 0");
    wait_until("it has a survivor", || survivor_of(program.child.id()).is_some());
    let survivor = survivor_of(program.child.id()).unwrap();
    // The program cannot start another one in between.
    watertight_tests::doomed::signal(program.child.id(), libc::SIGSTOP);
    watertight_tests::doomed::signal(survivor, libc::SIGKILL);
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    assert!(is_alive(stray) && ground.programs().len() == 1, "nobody was there to end it");
    let mut next = ground.run();
    next.starts("worker");
    assert!(!is_alive(stray));
    // The first of them is gone, the second lives: a third touches neither it nor what is in it.
    let stray = next.starts("stray 0");
    let mut third = ground.run();
    third.starts("worker");
    assert!(is_alive(stray) && ground.programs().len() == 2);
    third.end();
    next.end();
}

#[test]
fn who_is_given_a_group_divides_it_himself() {
    for (test, user) in [("own", None), ("delegated", Some(NOBODY))] {
        if !rustix::process::geteuid().is_root() {
            return not_tested(test, "only root can delegate here");
        }
        let Some(ground) = Ground::of(test, "") else { return };
        let mut program = ground.run_inside(user);
        let actor = program.starts("worker");
        let stray = program.starts("stray 0");
        let group = cgroup_of(actor);
        let name = ground.0.file_name().unwrap().to_str().unwrap();
        assert!(group.contains(&format!("/{name}/watertight-{}-", program.child.id())), "{test}: {group}");
        assert_eq!(program.say("fell 0"), "true");
        wait_until("the stray is gone", || !is_there(stray));
        program.end();
    }
}

#[test]
fn a_program_that_is_in_the_group_moves_out_of_what_it_divides() {
    let Some(ground) = Ground::of("leaf", "memory pids cpu") else { return };
    let mut program = ground.run_inside(Some(NOBODY));
    let actor = program.starts("worker");
    let own = cgroup_of(program.child.id());
    assert!(own.ends_with("/watertight-supervisor"), "{own}");
    let group = cgroup_of(actor);
    let (above, _) = group.rsplit_once('/').unwrap();
    let [ours] = &*ground.programs() else { panic!("{:?}", ground.programs()) };
    assert!(ours.ends_with(above.rsplit('/').next().unwrap()));
    let handed_down = std::fs::read_to_string(ours.join("cgroup.subtree_control")).unwrap();
    for controller in ["memory", "pids", "cpu"] {
        assert!(handed_down.split_whitespace().any(|it| it == controller), "{handed_down}");
    }
    assert_eq!(program.say("bounded 20"), "bounded");
    program.end();
}

#[test]
fn beside_others_in_its_group_a_program_has_groups_that_kill_and_do_not_limit() {
    let Some(ground) = Ground::of("beside", "memory pids cpu") else { return };
    let mut other = Command::new("/bin/sleep").arg("3600").spawn().unwrap();
    std::fs::write(ground.0.join("cgroup.procs"), other.id().to_string()).unwrap();
    let mut program = ground.run_inside(Some(NOBODY));
    program.starts("worker");
    let stray = program.starts("stray 0");
    let refused = program.say("bounded 20");
    let why = format!("none was enabled: other processes are in it: {}", other.id());
    assert!(
        refused.contains("a number of processes cannot be limited") && refused.contains(&why),
        "{refused}"
    );
    assert_eq!(program.say("fell 0"), "true");
    wait_until("the stray is gone", || !is_there(stray));
    program.end();
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn what_cannot_be_had_is_said_before_anything_starts() {
    let run = |directory: &str, user: Option<u32>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doomed"));
        command.env("WATERTIGHT_CGROUP", directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let mut child = command.current_dir("/").stderr(Stdio::piped()).spawn().unwrap();
        // It may have ended already.
        let _ = child.stdin.take().unwrap().write_all(b"end\n");
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (directory, expected) in [
        ("/proc", "/proc is no directory of a control group hierarchy"),
        ("/no/such/place", "failed to find /no/such/place: No such file"),
        ("sometimes", "WATERTIGHT_CGROUP is \"sometimes\", but has to be `auto`, `off`, or a directory"),
    ] {
        let (code, said) = run(directory, None);
        assert!(code == Some(1) && said.contains(expected), "{code:?} {said}");
    }
    if !rustix::process::geteuid().is_root() {
        return not_tested("refused", "only root can become somebody else");
    }
    let Some(ground) = Ground::of("refused", "") else { return };
    let (code, said) = run(ground.0.to_str().unwrap(), Some(NOBODY));
    assert!(code == Some(1) && said.contains("Permission denied") && said.contains("Delegate=yes"), "{said}");
    // Where it would only be nice to have, it is no reason not to start.
    let (code, said) = run("auto", Some(NOBODY));
    assert!(code == Some(0) && said.contains("actors have no control groups"), "{code:?} {said}");
}

#[test]
fn limits_that_only_a_group_keeps_are_refused_without_one() {
    Test::new().run(async |sys| {
        let refused = |error| match error {
            SpawnError::Spec(SpecError::NoControlGroup { limit, reason }) => (limit, reason),
            other => panic!("{other:?}"),
        };
        let (limit, reason) =
            refused(sys.spawn_with(Spec::<Worker>::new(()).processes(20)).await.unwrap_err());
        assert!(
            limit == "a number of processes" && reason == "control groups were not asked for",
            "{limit} {reason}"
        );
        let (limit, _) = refused(sys.spawn_with(Spec::<Worker>::new(()).cpu_share(20)).await.unwrap_err());
        assert_eq!(limit, "a share of a processor");
        match sys.spawn_with(Spec::<Worker>::new(()).processes(1)).await.unwrap_err() {
            SpawnError::Spec(error) => assert_eq!(error, SpecError::Processes(1)),
            other => panic!("{other:?}"),
        }
        Ok(())
    });
}

#[test]
fn a_sandboxed_actor_has_its_group_too() {
    let Some(ground) = Ground::of("sandbox", "") else { return };
    Test::new().cgroup(Cgroup::At(ground.0.clone())).run(async |sys| {
        let worker = sys.spawn_with(Spec::<Worker>::new(()).sandboxed()).await?;
        let info = sys.info(&worker).await?;
        let pid = info.pid.unwrap();
        let name = ground.0.file_name().unwrap().to_str().unwrap();
        assert!(cgroup_of(pid).contains(&format!("/{name}/watertight-{}-", std::process::id())));
        let group = info.control_group.unwrap();
        assert_eq!(std::fs::read_to_string(group.join("cgroup.procs"))?.trim(), pid.to_string());
        Ok(())
    });
}

#[test]
fn so_many_processes_are_there_and_no_more() {
    let Some(ground) = Ground::of("pids", "pids") else { return };
    Test::new().cgroup(Cgroup::At(ground.0.clone())).run(async |sys| {
        let worker = sys.spawn_with(Spec::<Worker>::new(()).processes(8)).await?;
        // Its own threads are among the eight: two, and that of the harness.
        let pid = sys.info(&worker).await?.pid.unwrap();
        let own = std::fs::read_dir(format!("/proc/{pid}/task"))?.count();
        for started in 0..8 - own {
            let launched = worker.ask(Launch(Launched::Child)).await;
            assert!(launched.is_ok(), "after {started}: {launched:?}");
        }
        let error = worker.ask(Launch(Launched::Child)).await.unwrap_err().to_string();
        assert!(error.contains("Resource temporarily unavailable"), "{error}");
        Ok(())
    });
}

#[test]
fn who_uses_more_memory_together_is_killed_together_and_the_exit_says_why() {
    let Some(ground) = Ground::of("memory", "memory") else { return };
    Test::new().cgroup(Cgroup::At(ground.0.clone())).run(async |sys| {
        let spec = || Spec::<Worker>::new(()).backoff(Backoff::NONE).memory(64 << 20);
        let worker = sys.spawn_with(spec()).await?;
        worker.ask(Fill(16 << 20)).await?;
        let stray = worker.ask(Launch(Launched::Stray)).await?;
        // The limit of the process itself does not count what is no memory of its own.
        let error = worker.ask(Fill(256 << 20)).deadline(Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(error.report().map(|report| report.exit.clone()), Some(Exit::OutOfMemory), "{error}");
        wait_until("the stray is dead", || !is_alive(stray));
        Ok(())
    });
}

#[test]
fn an_actor_gets_its_share_of_a_processor() {
    let Some(ground) = Ground::of("cpu", "cpu") else { return };
    Test::new().cgroup(Cgroup::At(ground.0.clone())).run(async |sys| {
        let worker = sys.spawn_with(Spec::<Worker>::new(()).cpu_share(20)).await?;
        let used = worker.ask(Work(2000)).deadline(Duration::from_secs(60)).await?;
        // A fifth of two seconds, and one period of a tenth that it had before it was stopped.
        assert!(used < 700, "{used} ms of 2000");
        Ok(())
    });
}
