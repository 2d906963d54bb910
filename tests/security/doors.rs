//! What is kept from those who hold no address, run as somebody else, or come first to a system's place.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use watertight::testing::Test;
use watertight::{Address, TellError, Unreachable};
use watertight_tests::Specimen;
use watertight_tests::doomed::Doomed;
use watertight_tests::specimen::{Add, Pid, Setup};

use crate::profiles::{NOBODY, is_root};

fn doomed() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_doomed"))
}

/// A runtime directory of this user, for programs that listen.
fn private() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    folder
}

fn listening_in(folder: &Path) -> Doomed {
    Doomed::start_with(doomed(), &[("XDG_RUNTIME_DIR", folder.as_os_str())])
}

/// Where a field's number stands in an address. As text, because it may be larger than JSON's readers take.
fn number_in(address: &str, field: &str) -> std::ops::Range<usize> {
    let start = address.find(&format!("\"{field}\":")).unwrap() + field.len() + 3;
    start..start + address[start..].find([',', '}']).unwrap()
}

/// The address with another number in one of its fields.
fn with(genuine: &str, field: &str, value: &str) -> Address<Specimen> {
    let mut text = genuine.to_owned();
    text.replace_range(number_in(genuine, field), value);
    serde_json::from_str(&text).unwrap()
}

/// Not a good one, and no need for it: a forger has no better one.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state ^ (*state >> 33)
}

#[test]
fn of_a_hundred_thousand_forged_capabilities_none_delivers() {
    // Half a minute, and several times that on a machine that is busy.
    Test::new().limit(Duration::from_secs(600)).run(async |sys| {
        let actor = sys.spawn::<Specimen>(Setup::default()).await?;
        let genuine = serde_json::to_string(&actor)?;
        let mut state = 7;
        for n in 0..100_000 {
            let forged = with(&genuine, "capability", &next(&mut state).to_string());
            match forged.tell(Add(1)).await.unwrap_err() {
                TellError::Unreachable(Add(1), Unreachable::Forged) => {}
                other => panic!("the {n}th: {other:?}"),
            }
        }
        // The supervisor is well, and nothing has come through.
        assert_eq!(actor.ask(Add(0)).await?, 0);
        let ledger = sys.balance(std::time::Duration::from_secs(10)).await?;
        assert_eq!(ledger.processed, 1, "{ledger:?}");
        Ok(())
    });
}

#[test]
fn a_capability_of_a_dead_actor_or_of_an_earlier_run_opens_nothing() {
    watertight::test(async |sys| {
        // One of a program that has ended; the test itself is not started for every actor, hence in here.
        let earlier: Address<Specimen> = {
            let mut program = Doomed::start(doomed());
            program.say("spawn same");
            serde_json::from_str(&program.say("address 0"))?
        };
        let spec = || watertight::Spec::<Specimen>::new(Setup::default()).name("same");
        let first = sys.spawn_with(spec()).await?;
        first.ask(Pid).await?;
        let old: Address<Specimen> = serde_json::from_str(&serde_json::to_string(&first)?)?;
        sys.stop(&first).await?;
        let second = sys.spawn_with(spec()).await?;
        match old.tell(Add(1)).await.unwrap_err() {
            TellError::Unreachable(_, Unreachable::Ended(_)) => {}
            other => panic!("{other:?}"),
        }
        match earlier.tell(Add(1)).await.unwrap_err() {
            TellError::Unreachable(_, Unreachable::OtherSystem) => {}
            other => panic!("{other:?}"),
        }
        // The old one's capability for the new one's number, and the earlier run's for this system.
        let new = serde_json::to_string(&second)?;
        let capability = |address: &Address<Specimen>| -> watertight::Result<String> {
            let text = serde_json::to_string(address)?;
            Ok(text[number_in(&text, "capability")].to_owned())
        };
        for stolen in [capability(&old)?, capability(&earlier)?] {
            match with(&new, "capability", &stolen).tell(Add(1)).await.unwrap_err() {
                TellError::Unreachable(_, Unreachable::Forged) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(second.ask(Add(0)).await?, 0);
        Ok(())
    });
}

#[test]
fn another_user_does_not_get_in_by_the_directory_the_socket_or_its_name() {
    if !is_root() {
        eprintln!("SKIPPED: becoming another user takes root");
        return;
    }
    let folder = private();
    let mut program = listening_in(folder.path());
    assert_eq!(program.say("listen shop"), "listening");
    let stage = crate::profiles::Stage::new(env!("CARGO_BIN_EXE_attacked"));
    let socket = folder.path().join("watertight/shop/node.sock");
    let connect = |uid: u32| {
        let mut command = Command::new(stage.path("program"));
        let output = command.arg("connect").arg(&socket).uid(uid).gid(uid).current_dir("/").output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let open = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    // Its own user is let in: else all below would prove nothing.
    assert_eq!(connect(0), "heard a supervisor");
    assert_eq!(connect(NOBODY), "EACCES");
    // One safeguard after another is taken away.
    for directory in
        [folder.path().to_owned(), folder.path().join("watertight"), folder.path().join("watertight/shop")]
    {
        open(&directory, 0o755);
    }
    assert_eq!(connect(NOBODY), "EACCES", "the socket has permissions of its own");
    open(&socket, 0o666);
    assert_eq!(connect(NOBODY), "turned away", "and the supervisor asks who comes");
    assert_eq!(connect(0), "heard a supervisor");
    // Nothing listens under a name without permissions.
    let names = std::fs::read_to_string("/proc/net/unix").unwrap();
    let abstract_name = names.lines().any(|line| line.contains('@') && line.contains("watertight"));
    assert!(!abstract_name, "{names}");
}

#[test]
fn of_many_programs_that_want_one_place_at_once_one_gets_it() {
    for round in 0..5 {
        let folder = private();
        let programs: Vec<_> = (0..8).map(|_| listening_in(folder.path())).collect();
        let answers: Vec<String> = std::thread::scope(|scope| {
            let asked: Vec<_> = programs
                .into_iter()
                .map(|mut program| {
                    scope.spawn(move || {
                        let answer = program.say("listen racing");
                        (answer, program)
                    })
                })
                .collect();
            // All of them live until all have answered.
            let answered: Vec<_> = asked.into_iter().map(|thread| thread.join().unwrap()).collect();
            answered.into_iter().map(|(answer, _)| answer).collect()
        });
        let got = answers.iter().filter(|answer| *answer == "listening").count();
        let told = answers.iter().filter(|answer| answer.contains("another system listens as")).count();
        assert_eq!((got, told), (1, 7), "round {round}: {answers:?}");
    }
}

#[test]
fn a_place_that_somebody_else_has_made_is_not_used() {
    let refused = |prepare: &dyn Fn(&Path)| {
        let folder = private();
        prepare(&folder.path().join("watertight"));
        let answer = listening_in(folder.path()).say("listen shop");
        assert!(answer.contains("is not a private directory of this user"), "{answer}");
    };
    let elsewhere = private();
    refused(&|base| std::os::unix::fs::symlink(elsewhere.path(), base).unwrap());
    refused(&|base| std::fs::write(base, "no directory").unwrap());
    refused(&|base| {
        std::fs::create_dir(base).unwrap();
        std::fs::set_permissions(base, PermissionsExt::from_mode(0o770)).unwrap();
    });
    refused(&|base| {
        std::fs::create_dir(base).unwrap();
        std::fs::set_permissions(base, PermissionsExt::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), base.join("shop")).unwrap();
    });
    if is_root() {
        refused(&|base| {
            std::fs::create_dir(base).unwrap();
            std::fs::set_permissions(base, PermissionsExt::from_mode(0o700)).unwrap();
            std::os::unix::fs::chown(base, Some(NOBODY), Some(NOBODY)).unwrap();
        });
    } else {
        eprintln!("SKIPPED: giving a directory to another user takes root");
    }
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing was made behind a link");
}

#[test]
fn an_actor_that_crashes_leaves_no_core_file_where_others_do() {
    let folder = tempfile::tempdir().unwrap();
    let cores = || std::fs::read_dir(folder.path()).unwrap().count();
    let unlimited = |script: &str| {
        let mut command = Command::new("sh");
        command.current_dir(folder.path()).arg("-c").arg(format!("ulimit -c unlimited && {script}"));
        command
    };
    // The control: an ordinary process does leave one here.
    unlimited("kill -SEGV $$").status().unwrap();
    if cores() == 0 {
        eprintln!("SKIPPED: this machine writes no core files here, so their absence would show nothing");
        return;
    }
    // It may have the name that the next one would have.
    for core in std::fs::read_dir(folder.path()).unwrap() {
        std::fs::remove_file(core.unwrap().path()).unwrap();
    }
    let mut command = unlimited("exec \"$0\"");
    command.arg(doomed());
    let mut program = Doomed::run(command);
    program.say("spawn");
    assert_eq!(program.say("crash 0"), "true");
    assert_eq!(program.say("add 0"), "1");
    assert_eq!(cores(), 0, "{:?}", std::fs::read_dir(folder.path()).unwrap().collect::<Vec<_>>());
}
