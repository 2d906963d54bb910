//! That actors work inside a sandbox, that it is refused where it cannot be had, and that limits end what exceeds them.

use std::time::Duration;

use watertight::prelude::*;
use watertight::{AskError, Confinement, Exit, Profile, Sandbox, SpawnError, Spec};
use watertight_tests::attack::{Attack, Attacker, OrdinaryWork, Target, Try};
use watertight_tests::confined::{Burn, Fall, Hoard, Launch, Launched, Opens, Worker, Write};
use watertight_tests::specimen::{Add, Commit, Setup};
use watertight_tests::{Fault, Specimen};

fn target() -> Target {
    let nobody = String::from("/nobody");
    Target {
        pid: std::process::id(),
        canary: 0,
        socket: nobody.clone(),
        secret: "/etc/passwd".into(),
        folder: nobody,
    }
}

#[test]
fn every_fault_of_a_sandboxed_actor_is_seen_as_what_it_is_and_it_is_restarted() {
    watertight::test(async |sys| {
        let limit = Duration::from_millis(500);
        let spec =
            Spec::<Specimen>::new(Setup::default()).sandboxed().backoff(Backoff::NONE).hang_limit(limit);
        let actor = sys.spawn_with(spec.intensity(20, Duration::from_secs(60)).memory(64 << 20)).await?;
        for (fault, expected) in [
            (Fault::Panic, Exit::Panicked("told to panic".into())),
            (Fault::Abort, Exit::Signal(libc::SIGABRT)),
            (Fault::Segfault, Exit::Signal(libc::SIGSEGV)),
            (Fault::StackOverflow, Exit::StackOverflow),
            (Fault::OutOfMemory, Exit::OutOfMemory),
            (Fault::Exit(3), Exit::Code(3)),
            (Fault::KillSelf, Exit::Signal(libc::SIGKILL)),
            (Fault::PanicInThread, Exit::Panicked("told to panic in a thread".into())),
        ] {
            match actor.ask(Commit(fault)).deadline(Duration::from_secs(30)).await.unwrap_err() {
                AskError::Died { report, .. } => assert_eq!(report.exit, expected, "{fault:?}"),
                other => panic!("{fault:?}: {other:?}"),
            }
            assert_eq!(actor.ask(Add(1)).await?, 1, "after {fault:?}");
        }
        Ok(())
    });
}

#[test]
fn a_sandboxed_actor_that_hangs_still_says_where() {
    watertight::test(async |sys| {
        let limit = Duration::from_millis(500);
        let spec = Spec::<Specimen>::new(Setup::default()).sandboxed().hang_limit(limit);
        let actor = sys.spawn_with(spec.backoff(Backoff::NONE)).await?;
        let error = actor.ask(Commit(Fault::Loop)).deadline(Duration::from_secs(60)).await.unwrap_err();
        let stack = error.report().and_then(|report| report.stack.clone()).unwrap_or_default();
        assert!(stack.contains("loops_for_ever"), "{error:?}: {stack}");
        Ok(())
    });
}

#[test]
fn a_sandboxed_actor_works_with_threads_timers_pipes_and_blobs() {
    watertight::test(async |sys| {
        for sandbox in [Sandbox::new(), Sandbox::new().no_files()] {
            let spec = Spec::<Attacker>::new(()).profile(Profile::Sandboxed(sandbox));
            let actor = sys.spawn_with(spec).await?;
            assert_eq!(actor.ask(OrdinaryWork).await?, "4 8388608 through a pipe 100000");
            let refused = actor.ask(Try(Attack::OpenSocket, target())).await?;
            assert_eq!(refused, Err("EPERM".into()));
        }
        Ok(())
    });
}

#[test]
fn under_a_test_harness_a_sandbox_says_that_it_is_no_boundary() {
    watertight::test(async |sys| {
        let actor = sys.spawn_with(Spec::<Attacker>::new(()).sandboxed()).await?;
        let confinement = sys.info(&actor).await?.confinement.unwrap();
        assert!(confinement.calls && confinement.landlock.is_some() && !confinement.whole_process);
        assert!(!confinement.is_boundary());
        let open = sys.spawn::<Attacker>(()).await?;
        assert_eq!(sys.info(&open).await?.confinement, Some(Confinement::default()));
        Ok(())
    });
}

#[test]
fn files_are_opened_as_the_sandbox_says() {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["read", "written", "other"] {
            std::fs::create_dir(path(name))?;
            std::fs::write(path(&format!("{name}/file")), "text")?;
        }
        let sandbox = Sandbox::new().read(path("read")).write(path("written"));
        let worker = sys.spawn_with(Spec::<Worker>::new(()).profile(Profile::Sandboxed(sandbox))).await?;
        for (file, write, expected) in [
            ("read/file", false, None),
            ("read/file", true, Some(libc::EACCES)),
            ("read/new", true, Some(libc::EACCES)),
            ("written/file", false, None),
            ("written/new", true, None),
            ("other/file", false, Some(libc::EACCES)),
            // Up and down again is no way around.
            ("read/../other/file", false, Some(libc::EACCES)),
        ] {
            assert_eq!(worker.ask(Opens { path: path(file), write }).await?, expected, "{file} {write}");
        }
        let system = Opens { path: "/usr/bin/env".into(), write: false };
        assert_eq!(worker.ask(system).await?, None);
        for own in ["/proc/self/status", "/proc/self/maps"] {
            assert_eq!(worker.ask(Opens { path: own.into(), write: false }).await?, None, "{own}");
        }
        let parent = Opens { path: format!("/proc/{}/status", std::process::id()), write: false };
        assert_eq!(worker.ask(parent).await?, Some(libc::EACCES));
        let closed =
            sys.spawn_with(Spec::<Worker>::new(()).profile(Profile::Sandboxed(Sandbox::new().no_files())));
        let file = Opens { path: "/usr/bin/env".into(), write: false };
        assert_eq!(closed.await?.ask(file).await?, Some(libc::EPERM));
        Ok(())
    });
}

#[test]
fn what_cannot_be_had_is_refused_by_name_unless_best_effort_will_do() {
    watertight::test(async |sys| {
        let sandbox = Sandbox::new().read("/there/is/no/such/place");
        let spec = |sandbox| Spec::<Worker>::new(()).profile(Profile::Sandboxed(sandbox));
        match sys.spawn_with(spec(sandbox.clone())).await.unwrap_err() {
            SpawnError::Start(report) => match report.exit {
                Exit::Unconfined(reason) => assert!(reason.contains("/there/is/no/such/place"), "{reason}"),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
        let worker = sys.spawn_with(spec(sandbox.best_effort())).await?;
        let confinement = sys.info(&worker).await?.confinement.unwrap();
        assert!(confinement.calls && confinement.landlock.is_none());
        Ok(())
    });
}

#[test]
fn each_limit_ends_what_exceeds_it_and_the_exit_names_it() {
    watertight::test(async |sys| {
        let spec = || Spec::<Worker>::new(()).backoff(Backoff::NONE);
        let exit = |error: AskError| error.report().map(|report| report.exit.clone());

        let busy = sys.spawn_with(spec().cpu_time(1).hang_limit(None)).await?;
        let ended = busy.ask(Burn).deadline(Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(exit(ended), Some(Exit::CpuTime));

        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file").display().to_string();
        let writer = sys.spawn_with(spec().file_size(1 << 20)).await?;
        writer.ask(Write { path: path.clone(), bytes: 1 << 20 }).await?;
        let ended = writer.ask(Write { path, bytes: (1 << 20) + 1 }).await.unwrap_err();
        assert_eq!(exit(ended), Some(Exit::FileSize));

        // The kernel ends nobody for this one: the call fails.
        let hoarder = sys.spawn_with(spec().descriptors(40)).await?;
        let had = hoarder.ask(Hoard(100)).await?;
        assert!((5..40).contains(&had), "{had}");
        let had = sys.spawn_with(spec().descriptors(200)).await?.ask(Hoard(100)).await?;
        assert_eq!(had, 100);
        Ok(())
    });
}

#[test]
fn an_actor_that_may_start_no_processes_starts_none_and_works_as_any_other() {
    watertight::test(async |sys| {
        let worker = sys.spawn_with(Spec::<Worker>::new(()).no_processes()).await?;
        for launched in [Launched::Child, Launched::Daemon, Launched::Copy] {
            let error = worker.ask(Launch(launched)).await.unwrap_err();
            assert!(error.to_string().contains("Operation not permitted"), "{launched:?}: {error}");
        }
        let attacker = sys.spawn_with(Spec::<Attacker>::new(()).no_processes()).await?;
        for attack in [Attack::StartProgram, Attack::LeaveGroup] {
            assert_eq!(attacker.ask(Try(attack, target())).await?, Err("EPERM".into()), "{attack:?}");
        }
        // It is no sandbox: files and sockets are as its user's.
        assert_eq!(attacker.ask(Try(Attack::OpenSocket, target())).await?, Ok(()));
        assert_eq!(attacker.ask(OrdinaryWork).await?, "4 8388608 through a pipe 100000");
        // A crash is what it was: its stack is said and its exit is seen.
        let error = worker.ask(Fall).await.unwrap_err();
        assert!(error.report().is_some_and(|report| matches!(report.exit, Exit::Signal(_))), "{error:?}");
        Ok(())
    });
}

#[test]
fn limits_in_which_nothing_starts_are_refused_before() {
    use watertight::error::SpawnError::Spec as Refused;
    use watertight::spec::SpecError;
    watertight::test(async |sys| {
        let spec = || Spec::<Worker>::new(());
        let relative = Profile::Sandboxed(Sandbox::new().read("here"));
        for (spec, expected) in [
            (spec().descriptors(3), SpecError::Descriptors(3)),
            (spec().cpu_time(0), SpecError::Zero("the processor time".into())),
            (spec().profile(relative), SpecError::RelativePath("here".into())),
        ] {
            assert_eq!(sys.spawn_with(spec).await.unwrap_err(), Refused(expected));
        }
        // The least that is allowed is enough.
        sys.spawn_with(spec().descriptors(16)).await?.ask(Hoard(0)).await?;
        Ok(())
    });
}
