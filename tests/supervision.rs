//! OTP's supervision on real processes: one behaviour of its documentation after another.

#![allow(missing_docs, clippy::unwrap_used)]
// An address is hashed by what never changes in it; the link that it remembers is no part of that.
#![allow(clippy::mutable_key_type)]

use std::time::Duration;

use watertight::prelude::*;
use watertight::{Event, Events, Group, Phase};
use watertight_tests::member::{Crash, Manner, Member, MemberPid, lines};

#[path = "supervision/administration.rs"]
mod administration;
#[path = "supervision/escalation.rs"]
mod escalation;
#[path = "supervision/family.rs"]
mod family;
#[path = "supervision/links.rs"]
mod links;
#[path = "supervision/stops.rs"]
mod stops;
#[path = "supervision/strategies.rs"]
mod strategies;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A journal that several processes append to, deleted with the directory.
struct Journal {
    _directory: tempfile::TempDir,
    path: String,
}

impl Journal {
    fn new() -> Journal {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal").display().to_string();
        Journal { _directory: directory, path }
    }

    fn manner(&self) -> Manner {
        Manner::writing(&self.path)
    }

    fn lines(&self) -> Vec<String> {
        lines(&self.path)
    }
}

fn member(journal: &Journal, name: &str) -> Spec<Member> {
    Spec::<Member>::new(journal.manner()).name(name).backoff(Backoff::NONE)
}

/// A group of members with these names.
fn group_of(journal: &Journal, name: &str, members: &[&str]) -> Group {
    members.iter().fold(Group::new(name), |group, name| group.child(member(journal, name)))
}

async fn find(sys: &System, path: &str) -> Result<Address<Member>> {
    Ok(sys.find::<Member>(path).await?)
}

async fn pid(sys: &System, path: &str) -> Result<u32> {
    Ok(find(sys, path).await?.ask(MemberPid).deadline(PATIENCE).await?)
}

async fn crash(sys: &System, path: &str) -> Result<()> {
    Ok(find(sys, path).await?.tell(Crash).await?)
}

async fn phase(sys: &System, path: &str) -> Result<Phase> {
    Ok(sys.tree(Some(path)).await?.nodes[0].phase)
}
