//! The hello, and the control conversation in both directions; the ticket is what the supervisor says first.

use std::fmt::Debug;
use std::fs::File;
use std::os::fd::OwnedFd;

use serde::{Serialize, de::DeserializeOwned};

use super::{Choices, Seeds, hostile};
use crate::wire::control::{ToPeer, ToSupervisor};
use crate::wire::conversation::{self, ConversationError, Listener};
use crate::wire::hello::{self, Hello, Role};
use crate::wire::ids::SystemId;

const SYSTEM: SystemId = SystemId(7);
const ROLES: [Role; 5] = [Role::Supervisor, Role::Actor, Role::Program, Role::Outside, Role::Link];

/// First whom the reader expects and of which system, then the hello.
pub(super) fn hello(input: &[u8]) {
    let mut choices = Choices(input);
    let expected = ROLES[usize::from(choices.byte()) % ROLES.len()];
    let system = SystemId(u64::from(choices.byte()));
    let Some(bytes) = choices.0.first_chunk::<{ hello::LENGTH }>() else { return };
    let theirs = bytes[8..].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let good = bytes[..4] == *b"WTRT"
        && bytes[4..6] == hello::VERSION.to_le_bytes()
        && bytes[6..8] == [expected as u8, 0]
        && (theirs == 0 || system.0 == 0 || theirs == system.0);
    match Hello::check(bytes, expected, system) {
        Ok(heard) => {
            assert!(good);
            assert_eq!(heard.encode(), *bytes, "a hello has one form");
        }
        Err(error) => {
            assert!(!good, "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
}

pub(super) fn hello_seeds() -> Seeds {
    let seed = |begin: [u8; 2], role, system| {
        [&begin[..], &Hello { role, system: SystemId(system) }.encode()].concat()
    };
    let with = |at: usize, value: u8| {
        let mut bytes = seed([1, 7], Role::Actor, 7);
        bytes[2 + at] = value;
        bytes
    };
    vec![
        ("supervisor", seed([0, 7], Role::Supervisor, 7)),
        ("actor", seed([1, 7], Role::Actor, 7)),
        ("program", seed([2, 0], Role::Program, 7)),
        ("outside-that-knows-none", seed([3, 7], Role::Outside, 0)),
        ("link", seed([4, 7], Role::Link, 7)),
        ("another-system", seed([1, 8], Role::Actor, 7)),
        ("another-role", seed([3, 7], Role::Actor, 7)),
        ("another-version", with(4, 77)),
        ("reserved", with(7, 1)),
        ("not-ours", with(0, b'X')),
        ("cut-off", seed([1, 7], Role::Actor, 7)[..9].to_vec()),
    ]
}

/// What a process says to its supervisor.
pub(super) fn control(input: &[u8]) {
    conversation::<ToSupervisor>(input, Role::Outside);
}

/// What the supervisor says to a process.
pub(super) fn ticket(input: &[u8]) {
    conversation::<ToPeer>(input, Role::Supervisor);
}

/// First how many descriptors came, then how the bytes are cut, then the bytes.
fn conversation<T: Serialize + DeserializeOwned + Debug>(input: &[u8], role: Role) {
    let mut choices = Choices(input);
    let descriptors = usize::from(choices.byte() % 3);
    let (all, pieces) = choices.pieces();
    let whole = hear::<T>(std::iter::once(all).filter(|all| !all.is_empty()), role, descriptors);
    let cut = hear::<T>(pieces, role, descriptors);
    let shown = |heard: &[T]| heard.iter().map(|message| format!("{message:?}")).collect::<Vec<_>>();
    assert_eq!(shown(&cut.0), shown(&whole.0), "what is heard does not depend on how it is cut");
    assert_eq!(cut.1, whole.1);
    for message in &whole.0 {
        is_read_back(message, role);
    }
}

fn hear<'a, T: DeserializeOwned>(
    pieces: impl Iterator<Item = &'a [u8]>,
    role: Role,
    descriptors: usize,
) -> (Vec<T>, Option<ConversationError>) {
    let mut listener = Listener::new(role, SYSTEM);
    listener.descriptors.extend((0..descriptors).map(|_| Some(some_descriptor())));
    let mut heard = Vec::new();
    for piece in pieces {
        listener.heard(piece);
        loop {
            match listener.next::<T>() {
                Ok(Some((message, _))) => heard.push(message),
                Ok(None) => break,
                Err(error) => return (heard, Some(error)),
            }
        }
    }
    (heard, None)
}

/// What was heard, said again and heard again, is the same: to the byte, because secrets are not shown.
fn is_read_back<T: Serialize + DeserializeOwned>(message: &T, role: Role) {
    let mut said = Vec::new();
    // One whose descriptors did not come was not heard; those that did are put again.
    let Ok(beside) = conversation::append(&mut said, message, 0) else {
        panic!("what was heard cannot be said")
    };
    let mut listener = Listener::new(role, SYSTEM);
    listener.descriptors.extend(beside.iter().filter_map(|one| one.try_clone().ok()).map(Some));
    listener.heard(&[&Hello { role, system: SYSTEM }.encode()[..], &said].concat());
    let again = listener.next::<T>();
    let Ok(Some((again, _))) = again else { panic!("what was said is not heard: {:?}", again.err()) };
    let mut once_more = Vec::new();
    assert!(conversation::append(&mut once_more, &again, 0).is_ok());
    assert_eq!(said, once_more);
}

fn some_descriptor() -> OwnedFd {
    match File::open("/dev/null") {
        Ok(file) => file.into(),
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn control_seeds() -> Seeds {
    let mut seeds: Seeds = hostile::requests(None)
        .into_iter()
        .map(|(name, frame)| (name, spoken(Role::Outside, 0, &[frame])))
        .collect();
    seeds
        .extend(hostile::words().into_iter().map(|(name, frame)| (name, spoken(Role::Outside, 0, &[frame]))));
    let all: Vec<Vec<u8>> = hostile::requests(None).into_iter().map(|(_, frame)| frame).collect();
    seeds.push(("many", spoken(Role::Outside, 0, &all)));
    seeds.extend(wrong_headers(Role::Outside));
    seeds
}

pub(super) fn ticket_seeds() -> Seeds {
    let mut seeds: Seeds = hostile::tickets()
        .into_iter()
        .map(|(name, frame)| (name, spoken(Role::Supervisor, 0, &[frame])))
        .collect();
    let all: Vec<Vec<u8>> = hostile::tickets().into_iter().map(|(_, frame)| frame).collect();
    seeds.push(("many", spoken(Role::Supervisor, 0, &all)));
    seeds.extend(wrong_headers(Role::Supervisor));
    seeds
}

fn spoken(role: Role, descriptors: u8, frames: &[Vec<u8>]) -> Vec<u8> {
    let begin = vec![descriptors, 5, 1, 60, 250];
    [begin, Hello { role, system: SYSTEM }.encode().to_vec(), frames.concat()].concat()
}

fn wrong_headers(role: Role) -> Seeds {
    let frame = |header: [u8; 8]| spoken(role, 1, &[header.to_vec(), vec![1, 2, 3]]);
    vec![
        ("no-hello", vec![0, 5, 1, 60, 250, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]),
        ("claims-4-gib", frame([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])),
        ("claims-16-mib", frame([0, 0, 0, 1, 0, 0, 0, 0])),
        ("descriptors-that-do-not-come", frame([3, 0, 0, 0, 2, 0, 0, 0])),
        ("too-many-descriptors", frame([3, 0, 0, 0, 200, 0, 0, 0])),
        ("reserved", frame([3, 0, 0, 0, 0, 0, 1, 0])),
        ("left-over", frame([3, 0, 0, 0, 0, 0, 0, 0])),
        ("empty-body", frame([0; 8])),
        (
            "sequence-of-2-to-the-64",
            spoken(
                role,
                0,
                &[vec![11, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]],
            ),
        ),
    ]
}
