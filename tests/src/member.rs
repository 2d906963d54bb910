//! An actor for tests of supervision: it writes down its starts and stops, and ends in whatever way it is told.

// Committing faults is what it is for.
use std::io::Write;
use std::time::Duration;

use watertight::Group;
use watertight::prelude::*;

use crate::specimen::{Fault, commit};

/// What a member does when it starts and stops.
#[data]
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Where it appends a line for each start and each stop.
    pub journal: String,
    /// From this incarnation on, up to and without that one, its `start` fails.
    pub fails: Option<(u32, u32)>,
    /// From this incarnation on its `start` declines.
    pub declines: Option<u32>,
    /// Milliseconds that it takes to stop; `u64::MAX` for ever.
    pub stops_after: u64,
    /// Milliseconds that its start takes.
    pub starts_after: u64,
    /// In its first incarnation it spawns children of these names under itself; the second number is how many of them
    /// outlive it.
    pub children: (u32, u32),
}

impl Manner {
    /// Writes into this journal and does nothing else of note.
    pub fn writing(journal: &str) -> Manner {
        Manner { journal: journal.into(), ..Manner::default() }
    }

    /// It fails to start in all incarnations from this one on.
    pub fn failing_from(self, incarnation: u32) -> Manner {
        Manner { fails: Some((incarnation, u32::MAX)), ..self }
    }

    /// It never stops by itself.
    pub fn stubborn(self) -> Manner {
        Manner { stops_after: u64::MAX, ..self }
    }
}

/// Lives in a group.
pub struct Member {
    manner: Manner,
}

/// Crash: no reply.
#[message]
pub struct Crash;

/// End as it meant to.
#[message]
pub struct Finish;

#[message(reply = u32)]
pub struct MemberPid;

#[message]
pub struct LinkTo(pub Address<Member>);

#[message]
pub struct UnlinkFrom(pub Address<Member>);

/// The address of a child that it has spawned in this life or an earlier one.
#[message(reply = Address<Member>)]
pub struct ChildOf(pub String);

/// Starts a group of this many under itself, bearing this many restarts.
#[message]
pub struct Found(pub String, pub u32, pub u32);

impl Actor for Member {
    type Args = Manner;
    type Messages = (Crash, Finish, MemberPid, LinkTo, UnlinkFrom, ChildOf, Found);

    async fn start(manner: Manner, cx: &mut Context<Self>) -> Result<Self> {
        tokio::time::sleep(Duration::from_millis(manner.starts_after)).await;
        let life = cx.incarnation().0;
        if manner.fails.is_some_and(|(from, to)| (from..to).contains(&life)) {
            return Err(Error::new("it fails to start"));
        }
        if manner.declines.is_some_and(|from| life >= from) {
            return cx.decline("nothing to do");
        }
        let member = Member { manner };
        member.note("start", cx)?;
        cx.announce(&(life, "hello".to_owned()))?;
        let (children, outliving) = member.manner.children;
        if life == 1 {
            for nth in 0..children {
                let manner = Manner::writing(&member.manner.journal);
                let spec = Spec::<Member>::new(manner).name(format!("{}-{nth}", cx.name()));
                let spec = if nth < outliving { spec.outlives_parent() } else { spec };
                cx.spawn_with(spec).await?;
            }
        }
        Ok(member)
    }

    async fn stopped(&mut self, cx: &mut Context<Self>) {
        match self.manner.stops_after {
            u64::MAX => std::future::pending().await,
            wait => tokio::time::sleep(Duration::from_millis(wait)).await,
        }
        // A journal that cannot be written fails the test that reads it.
        let _ = self.note("stop", cx);
    }
}

impl Member {
    /// One write a line, so that lines of several processes never mix.
    fn note(&self, what: &str, cx: &Context<Self>) -> Result<()> {
        if self.manner.journal.is_empty() {
            return Ok(());
        }
        let mut journal = std::fs::OpenOptions::new().create(true).append(true).open(&self.manner.journal)?;
        journal.write_all(format!("{what} {}#{}\n", cx.name(), cx.incarnation()).as_bytes())?;
        Ok(())
    }
}

impl Handler<Crash> for Member {
    async fn handle(&mut self, _: Crash, _: &mut Context<Self>) -> Result<()> {
        commit(Fault::KillSelf);
        Ok(())
    }
}

impl Handler<Finish> for Member {
    async fn handle(&mut self, _: Finish, cx: &mut Context<Self>) -> Result<()> {
        cx.stop();
        Ok(())
    }
}

impl Handler<MemberPid> for Member {
    async fn handle(&mut self, _: MemberPid, _: &mut Context<Self>) -> Result<u32> {
        Ok(std::process::id())
    }
}

impl Handler<LinkTo> for Member {
    async fn handle(&mut self, LinkTo(other): LinkTo, cx: &mut Context<Self>) -> Result<()> {
        Ok(cx.link(&other).await?)
    }
}

impl Handler<UnlinkFrom> for Member {
    async fn handle(&mut self, UnlinkFrom(other): UnlinkFrom, cx: &mut Context<Self>) -> Result<()> {
        Ok(cx.unlink(&other).await?)
    }
}

impl Handler<ChildOf> for Member {
    async fn handle(&mut self, ChildOf(name): ChildOf, cx: &mut Context<Self>) -> Result<Address<Member>> {
        Ok(cx.child::<Member>(&name).await?)
    }
}

impl Handler<Found> for Member {
    async fn handle(&mut self, Found(name, count, restarts): Found, cx: &mut Context<Self>) -> Result<()> {
        let mut group = Group::new(name).intensity(restarts, Duration::from_secs(60));
        for nth in 0..count {
            let manner = Manner::writing(&self.manner.journal);
            group = group.child(Spec::<Member>::new(manner).name(nth.to_string()));
        }
        Ok(cx.start_group(group).await?)
    }
}

/// The lines of a journal so far.
pub fn lines(journal: &str) -> Vec<String> {
    std::fs::read_to_string(journal).unwrap_or_default().lines().map(str::to_owned).collect()
}
