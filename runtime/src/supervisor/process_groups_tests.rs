//! Groups by hand: who is told what.

use super::*;
use crate::wire::ids::{ActorId, Capability, SystemId};

const TYPE: u64 = 7;
const OTHER_TYPE: u64 = 8;

fn member_of_type(peer: u64, protocol: u64) -> Member {
    let address = RawAddress {
        version: RawAddress::VERSION,
        system: SystemId(1),
        actor: ActorId(peer),
        capability: Capability(0),
        protocol,
    };
    Member { peer: PeerId(peer), address, incarnation: Incarnation(1), name: format!("actor {peer}") }
}

fn member(peer: u64) -> Member {
    member_of_type(peer, TYPE)
}

fn watcher(peer: u64, watch: u64) -> Watcher {
    Watcher { peer: PeerId(peer), watch, protocol: Some(TYPE) }
}

/// What was told, in a few signs: watcher, group, `+` or `-`, member.
fn told(pushes: Vec<Push>) -> Vec<String> {
    let sign = |joined| if joined { '+' } else { '-' };
    let told = |p: Push| format!("{} {} {}{}", p.to.peer.0, p.group, sign(p.joined), p.member.peer.0);
    pushes.into_iter().map(told).collect()
}

fn is_empty(groups: &ProcessGroups) -> bool {
    groups.groups.is_empty() && groups.joined.is_empty() && groups.watching.is_empty()
}

#[test]
fn watchers_are_told_who_is_there_then_who_joins_and_leaves_once_each() {
    let mut groups = ProcessGroups::default();
    assert_eq!(told(groups.join("a", member(1)).unwrap()), [""; 0]);
    assert_eq!(told(groups.join("a", member(2)).unwrap()), [""; 0]);
    assert_eq!(told(groups.watch("a", watcher(9, 1)).unwrap()), ["9 a +1", "9 a +2"]);
    assert_eq!(told(groups.watch("a", watcher(8, 1)).unwrap()), ["8 a +1", "8 a +2"]);
    assert_eq!(told(groups.join("a", member(3)).unwrap()), ["9 a +3", "8 a +3"]);
    assert_eq!(told(groups.join("a", member(3)).unwrap()), [""; 0], "joining twice counts once");
    assert_eq!(told(groups.leave("a", PeerId(3))), ["9 a -3", "8 a -3"]);
    assert_eq!(told(groups.leave("a", PeerId(3))), [""; 0]);
    assert_eq!(told(groups.leave("b", PeerId(1))), [""; 0]);
    groups.unwatch(PeerId(9), 1);
    groups.unwatch(PeerId(9), 1);
    assert_eq!(told(groups.leave("a", PeerId(1))), ["8 a -1"]);
    groups.unwatch(PeerId(8), 1);
    assert_eq!(told(groups.leave("a", PeerId(2))), [""; 0]);
    assert!(is_empty(&groups), "{groups:?}");
}

#[test]
fn a_process_that_has_gone_is_in_no_group_and_watches_none() {
    let mut groups = ProcessGroups::default();
    for group in ["a", "b", "c"] {
        groups.watch(group, watcher(9, group.len() as u64 + u64::from(group.as_bytes()[0]))).unwrap();
    }
    groups.watch("a", watcher(1, 1)).unwrap();
    groups.join("a", member(1)).unwrap();
    groups.join("a", member(2)).unwrap();
    groups.join("b", member(1)).unwrap();
    // Not to itself, although it watched.
    assert_eq!(told(groups.forget(PeerId(1))), ["9 a -1", "9 b -1"]);
    assert_eq!(told(groups.forget(PeerId(1))), [""; 0]);
    assert_eq!(told(groups.forget(PeerId(9))), [""; 0]);
    assert_eq!(told(groups.forget(PeerId(2))), [""; 0]);
    assert!(is_empty(&groups), "{groups:?}");
}

#[test]
fn the_next_incarnation_is_another_member() {
    let mut groups = ProcessGroups::default();
    groups.watch("a", watcher(9, 1)).unwrap();
    groups.join("a", member(1)).unwrap();
    let next = Member { peer: PeerId(5), incarnation: Incarnation(2), ..member(1) };
    groups.forget(PeerId(1));
    let pushes = groups.join("a", next.clone()).unwrap();
    assert_eq!((&pushes[0].member, pushes.len()), (&next, 1));
}

#[test]
fn a_group_is_of_one_type_while_it_has_members() {
    let mut groups = ProcessGroups::default();
    groups.watch("a", watcher(9, 1)).unwrap();
    let messages = Watcher { peer: PeerId(8), watch: 1, protocol: None };
    groups.watch("a", messages).unwrap();
    // A watcher does not bind it: it sees nothing of another type.
    assert_eq!(told(groups.join("a", member_of_type(1, OTHER_TYPE)).unwrap()), ["8 a +1"]);
    assert_eq!(groups.join("a", member(2)), Err(Refused::OtherProtocol));
    assert_eq!(groups.watch("a", watcher(7, 1)), Err(Refused::OtherProtocol));
    assert_eq!(told(groups.leave("a", PeerId(1))), ["8 a -1"]);
    assert_eq!(told(groups.join("a", member(2)).unwrap()), ["9 a +2", "8 a +2"]);
    assert_eq!(groups.join("a", member_of_type(1, OTHER_TYPE)), Err(Refused::OtherProtocol));
    // One who was refused is nowhere.
    assert_eq!(told(groups.forget(PeerId(1))), [""; 0]);
    assert!(!groups.joined.contains_key(&PeerId(1)));
    assert!(!groups.watching.contains_key(&PeerId(7)));
}

#[test]
fn a_watch_number_that_is_used_twice_means_the_later() {
    let mut groups = ProcessGroups::default();
    groups.watch("a", watcher(9, 1)).unwrap();
    groups.watch("b", watcher(9, 1)).unwrap();
    assert_eq!(told(groups.join("a", member(1)).unwrap()), [""; 0]);
    assert_eq!(told(groups.join("b", member(1)).unwrap()), ["9 b +1"]);
    groups.watch("b", watcher(9, 1)).unwrap();
    assert_eq!(told(groups.leave("b", PeerId(1))), ["9 b -1"]);
}

#[test]
fn groups_members_and_watchers_have_their_bounds() {
    let mut groups = ProcessGroups::default();
    for n in 0..MEMBERS as u64 {
        groups.join("a", member(n)).unwrap();
    }
    assert_eq!(groups.join("a", member(MEMBERS as u64)), Err(Refused::Members));
    assert_eq!(groups.join("a", member(3)), Ok(Vec::new()), "it is in it");
    for n in 0..WATCHERS as u64 {
        groups.watch("a", watcher(n, 1)).unwrap();
    }
    assert_eq!(groups.watch("a", watcher(9999, 1)), Err(Refused::Watchers));
    for n in 1..GROUPS {
        groups.watch(&format!("group {n}"), watcher(1, n as u64 + 1)).unwrap();
    }
    assert_eq!(groups.join("one more", member(1)), Err(Refused::Groups));
    assert_eq!(groups.watch("one more", watcher(1, 0)), Err(Refused::Groups));
    groups.forget(PeerId(1));
    assert!(groups.join("one more", member(1)).is_ok());
    assert_eq!(groups.groups.len(), 2, "no empty group is kept");
}
