//! Garbage on every kind of link: its sender is ended with a named reason, nobody else is disturbed, nothing is lost.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use watertight::fuzzing::hostile::{self, Outsider};
use watertight::spec::Backoff;
use watertight::{Address, AskError, Exit, Restart, SpawnError, Spec, System, SystemError};
use watertight_tests::Specimen;
use watertight_tests::doomed::Doomed;
use watertight_tests::siege::Besieged;
use watertight_tests::specimen::{Add, Garbage, Number, Pid, Relay, Setup};

/// What no frame begins with, and what looks like one and is none.
fn corpora() -> Vec<(&'static str, Vec<u8>)> {
    let header = |length: u32, kind: u8, sequence: u64| {
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend_from_slice(&[kind, 0, 1, 0]);
        frame.extend_from_slice(&sequence.to_le_bytes());
        frame.extend_from_slice(&[0; 12]);
        frame
    };
    let mut announces = header(28, 1, 1 << 40);
    announces[7] = 2;
    vec![
        ("descriptors that do not come", announces),
        ("all ones", vec![0xff; 4096]),
        ("text", b"GET / HTTP/1.1\r\n\r\n".repeat(100)),
        ("a frame that claims 4 GiB", header(u32::MAX, 1, 1)),
        ("a frame shorter than its header", header(3, 1, 1)),
        ("an unknown kind", header(28, 99, 1)),
        ("an acknowledgement of what was never sent", header(28, 16, 1 << 40)),
        ("a message that goes back in order", [header(28, 1, 1 << 40), header(28, 1, 7)].concat()),
    ]
}

async fn garbage_ends_its_sender_alone(sys: &System, control: bool) -> watertight::Result<()> {
    let bystander = sys.spawn::<Specimen>(Setup::default()).await?;
    let receiver = sys.spawn::<Specimen>(Setup::default()).await?;
    let pids = [bystander.ask(Pid).await?, receiver.ask(Pid).await?];
    for (what, bytes) in corpora() {
        let spec = Spec::<Specimen>::new(Setup::default()).backoff(Backoff::NONE).restart(Restart::Temporary);
        let offender = sys.spawn_with(spec).await?;
        // It is joined to the program and to the receiver.
        offender.ask(Relay(receiver.clone(), 1)).await?;
        let ended = offender.ask(Garbage { control, bytes }).await.unwrap_err();
        let AskError::Died { report, .. } = &ended else { panic!("{what}: {ended:?}") };
        let Exit::BadPeer(reason) = &report.exit else { panic!("{what}: seen as {:?}", report.exit) };
        assert!(!reason.is_empty());
        assert_eq!([bystander.ask(Pid).await?, receiver.ask(Pid).await?], pids, "{what} disturbed others");
    }
    assert_eq!(receiver.ask(Add(1)).await?, 1);
    let ledger = sys.balance(Duration::from_secs(5)).await?;
    assert!(ledger.is_balanced(), "{ledger:?}");
    Ok(())
}

#[test]
fn garbage_on_a_control_link_ends_its_sender_alone() {
    watertight::test(async |sys| garbage_ends_its_sender_alone(&sys, true).await);
}

#[test]
fn garbage_on_data_links_ends_its_sender_alone() {
    watertight::test(async |sys| garbage_ends_its_sender_alone(&sys, false).await);
}

/// A directory for a test's system, that nobody else uses.
fn private_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    folder
}

fn doomed(runtime_directory: &Path) -> Doomed {
    let path = Path::new(env!("CARGO_BIN_EXE_doomed"));
    Doomed::start_with(path, &[("XDG_RUNTIME_DIR", runtime_directory.as_os_str())])
}

fn socket(runtime_directory: &Path) -> PathBuf {
    runtime_directory.join("watertight/shop/node.sock")
}

#[test]
fn garbage_on_the_node_socket_is_turned_away_and_the_system_goes_on() {
    let folder = private_directory();
    let mut program = doomed(folder.path());
    program.say("spawn clerk");
    assert_eq!(program.say("listen shop"), "listening");
    let hello = |version: u16, role: u8| {
        let mut hello = b"WTRT".to_vec();
        hello.extend_from_slice(&version.to_le_bytes());
        hello.extend_from_slice(&[role, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        hello
    };
    let mut cases = corpora();
    cases.push(("another version", hello(77, 4)));
    cases.push(("another role", hello(1, 2)));
    cases.push(("a hello, then garbage", [hello(1, 4), vec![0xff; 64]].concat()));
    for (what, bytes) in cases {
        let mut stream = UnixStream::connect(socket(folder.path())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // It may be turned away before it has said everything.
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let gone = ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(gone, "{what}: the connection was kept");
    }
    // Somebody who connects and says nothing is turned away too.
    let mut silent = UnixStream::connect(socket(folder.path())).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    silent.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(program.say("add 0"), "1");
}

#[test]
fn a_second_system_of_the_same_name_is_refused_and_told_who_holds_it() {
    let folder = private_directory();
    let mut first = doomed(folder.path());
    assert_eq!(first.say("listen shop"), "listening");
    let mut second = doomed(folder.path());
    let refused = second.say("listen shop");
    assert!(refused.contains(&format!("process {}", first.child.id())), "{refused}");
    // Killed, the first leaves its socket behind; the next one may have the name.
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert!(socket(folder.path()).exists());
    assert_eq!(second.say("listen shop"), "listening");
}

#[test]
fn a_program_from_outside_finds_tells_and_asks_and_can_do_no_more() {
    let folder = private_directory();
    let mut program = doomed(folder.path());
    program.say("spawn clerk");
    assert_eq!(program.say("listen shop"), "listening");
    let outside = std::process::Command::new(env!("CARGO_BIN_EXE_outside"))
        .env("XDG_RUNTIME_DIR", folder.path())
        .args(["shop", "clerk"])
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&outside.stdout).into_owned() + &String::from_utf8_lossy(&outside.stderr);
    assert!(outside.status.success(), "{said}");
    for expected in ["total 42", "spawn refused", "listen refused", "no such name"] {
        assert!(said.contains(expected), "{expected:?} is missing in {said}");
    }
    assert_eq!(program.say("add 0"), "43");
}

#[test]
fn arguments_that_do_not_decode_are_a_failed_start_that_says_so() {
    /// Writes itself as something else than it reads.
    struct TwoFaced;
    impl serde::Serialize for TwoFaced {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_u8(200)
        }
    }
    impl<'de> serde::Deserialize<'de> for TwoFaced {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            <(u64, String)>::deserialize(deserializer).map(|_| TwoFaced)
        }
    }
    struct Confused;
    impl watertight::Actor for Confused {
        type Args = TwoFaced;
        type Messages = ();
        async fn start(_: TwoFaced, _: &mut watertight::Context<Self>) -> watertight::Result<Self> {
            Ok(Confused)
        }
    }
    watertight::test(async |sys| {
        match sys.spawn::<Confused>(TwoFaced).await.unwrap_err() {
            SpawnError::Start(report) => match &report.exit {
                Exit::StartFailed(error) => assert!(error.contains("arguments do not decode"), "{error}"),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
        Ok(())
    });
}

#[test]
fn unknown_and_doubled_names_are_typed_errors() {
    watertight::test(async |sys| {
        let _actor = sys.spawn_with(Spec::<Specimen>::new(Setup::default()).name("taken")).await?;
        match sys.spawn_with(Spec::<Specimen>::new(Setup::default()).name("taken")).await.unwrap_err() {
            SpawnError::NameTaken(name) => assert_eq!(name, "taken"),
            other => panic!("{other:?}"),
        }
        let found: Address<Specimen> = sys.find("taken").await?;
        found.ask(Number { sender: 1, number: 1 }).await?;
        match sys.find::<Specimen>("nobody").await.unwrap_err() {
            SystemError::NoSuchName(name) => assert_eq!(name, "nobody"),
            other => panic!("{other:?}"),
        }
        Ok(())
    });
}

/// A city that plays this part.
fn besieged(part: &str) -> Besieged {
    let program = env!("CARGO_BIN_EXE_reliability");
    Besieged::start(Command::new(program).args(["--part", part])).unwrap()
}

#[test]
fn what_goes_wrong_in_a_besieged_system_is_counted() {
    for (part, wrong) in [("besieged", 0), ("besieged:repeated", 1), ("besieged:mistaken", 1)] {
        assert_eq!(besieged(part).say("measure 0.5").unwrap().wrong, wrong, "{part}");
    }
    let mut besieged = besieged("besieged");
    rustix::process::kill_process(process(&besieged), rustix::process::Signal::KILL).unwrap();
    assert!(besieged.say("measure 0.1").is_err(), "its supervisor is dead");
}

fn process(besieged: &Besieged) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(besieged.process().cast_signed()).unwrap()
}

#[test]
fn a_sender_that_boasts_of_more_than_it_sent_does_not_upset_the_ledger() {
    let mut besieged = besieged("besieged");
    // So that there is something to add to.
    besieged.say("measure 0.1").unwrap();
    let mut boaster = Outsider::connect(&besieged.socket).unwrap();
    assert!(boaster.say(&Outsider::hello()));
    let link = boaster.link(&besieged.victim).unwrap();
    // One of these is its own.
    for number in 0..64 {
        assert!(boaster.say(&hostile::boast(number)) && boaster.say(&hostile::boast(number)));
    }
    // The answer comes behind all that was said.
    let second = boaster.link(&besieged.victim).unwrap();
    besieged.say("ledger").unwrap();
    drop((link, second, boaster));
    besieged.say("ledger").unwrap();
    assert_eq!(besieged.say("measure 0.1").unwrap().wrong, 0);
}
