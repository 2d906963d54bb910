//! Process groups: the actors that the tests beside this file use, and groups seen from outside.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;

use watertight::{AskOneError, Change, Members, Membership, SystemError, TellOneError};
use watertight_tests::Fault;

use super::*;

#[path = "process_groups/sending.rs"]
mod sending;
#[path = "process_groups/views.rs"]
mod views;

/// Reads, in its groups.
struct Reader {
    read: u64,
    gate: Option<Address<Gate>>,
    talks_to: Option<Recipient<Word>>,
    is_shy: bool,
    mates: Option<Members<Reader>>,
}

#[data]
#[derive(Clone, Default)]
struct Desk {
    /// Joined in `start`, at every incarnation again.
    groups: Vec<String>,
    gate: Option<Address<Gate>>,
    /// Told a word in `start`, before the groups are joined.
    talks_to: Option<Recipient<Word>>,
    /// In every second life it says nothing, and dies when it makes as if to.
    is_shy: bool,
}

/// Answered with the reader's process.
#[message(reply = u32)]
#[derive(Clone)]
struct Read;

/// How many were read in this life.
#[message(reply = u64)]
struct HasRead;

#[message]
struct Join(String);

#[message]
struct Leave(String);

/// Waits at the gate.
#[message]
struct Hold;

/// Says so many words.
#[message]
struct Talk(u32);

/// Asks one of its group, perhaps itself; answered with the other's process, or with the error.
#[message(reply = Result<u32, String>)]
struct AskMate(String);

/// Tells one of its group, perhaps itself, so many times; answered with the errors.
#[message(reply = Vec<String>)]
struct TellMates(String, u32);

impl Actor for Reader {
    type Args = Desk;
    type Messages = (Read, HasRead, Join, Leave, Hold, Talk, AskMate, TellMates);

    async fn start(desk: Desk, cx: &mut Context<Self>) -> Result<Self> {
        let is_shy = desk.is_shy && cx.incarnation().0.is_multiple_of(2);
        if let Some(ears) = desk.talks_to.as_ref().filter(|_| !is_shy) {
            ears.tell(Word(format!("life {}", cx.incarnation()))).await?;
        }
        for group in &desk.groups {
            cx.join(group).await?;
        }
        Ok(Reader { read: 0, gate: desk.gate, talks_to: desk.talks_to, is_shy, mates: None })
    }
}

impl Handler<Read> for Reader {
    async fn handle(&mut self, _: Read, _: &mut Context<Self>) -> Result<u32> {
        self.read += 1;
        Ok(std::process::id())
    }
}

impl Handler<HasRead> for Reader {
    async fn handle(&mut self, _: HasRead, _: &mut Context<Self>) -> Result<u64> {
        Ok(self.read)
    }
}

impl Handler<Join> for Reader {
    async fn handle(&mut self, Join(group): Join, cx: &mut Context<Self>) -> Result<()> {
        Ok(cx.join(&group).await?)
    }
}

impl Handler<Leave> for Reader {
    async fn handle(&mut self, Leave(group): Leave, cx: &mut Context<Self>) -> Result<()> {
        Ok(cx.leave(&group).await?)
    }
}

impl Handler<Hold> for Reader {
    async fn handle(&mut self, _: Hold, _: &mut Context<Self>) -> Result<()> {
        match &self.gate {
            Some(gate) => Ok(gate.ask(Pass).deadline(PATIENCE).await?),
            None => Ok(()),
        }
    }
}

impl Handler<Talk> for Reader {
    async fn handle(&mut self, Talk(count): Talk, _: &mut Context<Self>) -> Result<()> {
        for n in 0..count {
            if let Some(ears) = &self.talks_to {
                let mut word = Box::pin(ears.tell(Word(format!("word {n}"))));
                if self.is_shy {
                    // The link is asked for, and will be there when nobody is at its end any more.
                    assert!(is_pending(&mut word).await);
                    watertight_tests::specimen::commit(Fault::KillSelf);
                }
                word.await?;
            }
        }
        Ok(())
    }
}

impl Handler<AskMate> for Reader {
    async fn handle(
        &mut self,
        AskMate(group): AskMate,
        cx: &mut Context<Self>,
    ) -> Result<Result<u32, String>> {
        if self.mates.is_none() {
            self.mates = Some(cx.members(&group).await?);
        }
        let Some(mates) = &self.mates else { return Err(Error::new("no view")) };
        Ok(mates.ask_one(Read).await.map_err(|e| e.to_string()))
    }
}

impl Handler<TellMates> for Reader {
    async fn handle(&mut self, tell: TellMates, cx: &mut Context<Self>) -> Result<Vec<String>> {
        let TellMates(group, count) = tell;
        let mates = cx.members::<Reader>(&group).await?.deadline(PATIENCE);
        let mut errors = Vec::new();
        for _ in 0..count {
            errors.extend(mates.tell_one(Read).await.err().map(|e| e.to_string()));
        }
        Ok(errors)
    }
}

/// Has another protocol than a reader.
struct Writer;

impl Actor for Writer {
    type Args = ();
    type Messages = (Join, Leave);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Writer)
    }
}

impl Handler<Join> for Writer {
    async fn handle(&mut self, Join(group): Join, cx: &mut Context<Self>) -> Result<()> {
        Ok(cx.join(&group).await?)
    }
}

impl Handler<Leave> for Writer {
    async fn handle(&mut self, Leave(group): Leave, cx: &mut Context<Self>) -> Result<()> {
        Ok(cx.leave(&group).await?)
    }
}

/// Writes down what it hears of groups.
struct Warden {
    gate: Address<Gate>,
    heard: Vec<Heard>,
    reader: Option<(u32, ReplyTo<Vec<Heard>>)>,
    view: Option<Members<Reader>>,
}

#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Word(String),
    /// Group, name, life.
    Joined(String, String, u32),
    Left(String, String, u32),
    /// The group was empty, in its own view and in a new one, when the `Down` came.
    Down {
        was_empty: bool,
    },
}

#[message]
struct Word(String);

/// Answered with the watch's number.
#[message(reply = u64)]
struct Watch(String);

#[message]
struct Unwatch(u64);

#[message]
struct Monitor(Recipient<Read>);

/// All that was heard, once it is so much.
#[message(reply = Vec<Heard>)]
struct Log(u32);

impl Actor for Warden {
    type Args = Address<Gate>;
    type Messages = (Word, Watch, Unwatch, Monitor, Hold, Log, Membership, Down);

    async fn start(gate: Address<Gate>, _: &mut Context<Self>) -> Result<Self> {
        Ok(Warden { gate, heard: Vec::new(), reader: None, view: None })
    }
}

impl Warden {
    fn hear(&mut self, heard: Heard) {
        self.heard.push(heard);
        if let Some((_, reader)) = self.reader.take_if(|(count, _)| self.heard.len() >= *count as usize) {
            reader.send(self.heard.clone());
        }
    }
}

impl Handler<Word> for Warden {
    async fn handle(&mut self, Word(word): Word, _: &mut Context<Self>) -> Result<()> {
        self.hear(Heard::Word(word));
        Ok(())
    }
}

impl Handler<Watch> for Warden {
    async fn handle(&mut self, Watch(group): Watch, cx: &mut Context<Self>) -> Result<u64> {
        Ok(cx.watch_members(&group).await?)
    }
}

impl Handler<Unwatch> for Warden {
    async fn handle(&mut self, Unwatch(watch): Unwatch, cx: &mut Context<Self>) -> Result<()> {
        cx.unwatch_members(watch).await;
        Ok(())
    }
}

impl Handler<Monitor> for Warden {
    async fn handle(&mut self, Monitor(it): Monitor, cx: &mut Context<Self>) -> Result<()> {
        self.view = Some(cx.members("readers").await?);
        cx.monitor(&it).await?;
        Ok(())
    }
}

impl Handler<Hold> for Warden {
    async fn handle(&mut self, _: Hold, _: &mut Context<Self>) -> Result<()> {
        Ok(self.gate.ask(Pass).deadline(PATIENCE).await?)
    }
}

impl Handler<Log> for Warden {
    async fn handle(&mut self, Log(count): Log, cx: &mut Context<Self>) -> Result<Vec<Heard>> {
        if self.heard.len() >= count as usize {
            return Ok(self.heard.clone());
        }
        cx.defer(|reader| self.reader = Some((count, reader)))
    }
}

impl Handler<Membership> for Warden {
    async fn handle(&mut self, it: Membership, _: &mut Context<Self>) -> Result<()> {
        let is_reader = it.address::<Reader>().is_some_and(|address| address.actor() == it.actor);
        let is_writer = it.address::<Writer>().is_some();
        assert_ne!(is_reader, is_writer);
        let (group, name, life) = (it.group, it.name, it.incarnation.0);
        self.hear(match it.joined {
            true => Heard::Joined(group, name, life),
            false => Heard::Left(group, name, life),
        });
        Ok(())
    }
}

impl Handler<Down> for Warden {
    async fn handle(&mut self, _: Down, cx: &mut Context<Self>) -> Result<()> {
        let own = self.view.as_ref().is_some_and(Members::is_empty);
        let was_empty = own && cx.members::<Reader>("readers").await?.is_empty();
        self.hear(Heard::Down { was_empty });
        Ok(())
    }
}

async fn reader(sys: &System, name: &str) -> Result<Address<Reader>> {
    with_desk(sys, name, Desk { groups: vec!["readers".into()], ..Desk::default() }).await
}

async fn with_desk(sys: &System, name: &str, desk: Desk) -> Result<Address<Reader>> {
    let spec = Spec::<Reader>::new(desk).name(name).backoff(Backoff::NONE).intensity(100, PATIENCE);
    Ok(sys.spawn_with(spec).await?)
}

async fn three(sys: &System) -> Result<[Address<Reader>; 3]> {
    Ok([reader(sys, "one").await?, reader(sys, "two").await?, reader(sys, "three").await?])
}

async fn warden(sys: &System) -> Result<(Address<Gate>, Address<Warden>)> {
    let gate = sys.spawn::<Gate>(()).await?;
    let warden = sys.spawn::<Warden>(gate.clone()).await?;
    Ok((gate, warden))
}

/// A reader in the group that is held at the gate and takes two messages in all, and so many are waiting there.
async fn held(sys: &System, gate: &Address<Gate>, waiting: u32) -> Result<Address<Reader>> {
    let desk = Desk { groups: vec!["readers".into()], gate: Some(gate.clone()), ..Desk::default() };
    let reader = sys.spawn_with(Spec::<Reader>::new(desk).mailbox(2, 1 << 20)).await?;
    reader.tell(Hold).await?;
    gate.ask(Waiting(waiting)).deadline(PATIENCE).await?;
    Ok(reader)
}

fn joined(name: &str, life: u32) -> Heard {
    Heard::Joined("readers".into(), name.into(), life)
}

fn left(name: &str, life: u32) -> Heard {
    Heard::Left("readers".into(), name.into(), life)
}

/// What a member says may overtake what the supervisor says of it; what the supervisor says is in order.
async fn heard_of(sys: &System) -> Result<()> {
    sys.list().await?;
    Ok(())
}

const MOMENT: Duration = Duration::from_millis(20);

#[test]
fn plays_its_part() {
    watertight::test(async |sys| match part().as_deref() {
        Some("library") => {
            let one = reader(&sys, "one").await?;
            reader(&sys, "two").await?;
            sys.listen("library").await?;
            let mut visitor =
                play("process_groups::plays_its_part", "visitor").stdout(Stdio::piped()).spawn()?;
            let mut said = lines(&mut visitor);
            assert!(said.any(|line| line == "waiting"));
            reader(&sys, "three").await?;
            let visited = tokio::task::spawn_blocking(move || {
                println!();
                said.for_each(|line| println!("{line}"));
                visitor.wait()
            });
            assert!(visited.await??.success());
            println!("read {}", one.ask(HasRead).await?);
            Ok(())
        }
        Some(_) => visit().await,
        None => Ok(()),
    });
}

/// A program from outside.
async fn visit() -> Result<()> {
    let sys = watertight::attach("library").await?;
    let mut view = sys.members::<Reader>("readers").await?;
    assert_eq!(view.len(), 2);
    let error = sys.members::<Writer>("readers").await.unwrap_err();
    assert_eq!(error, SystemError::OtherGroupType("readers".into()));
    for _ in 0..4 {
        view.ask_one(Read).await?;
    }
    println!("\nwaiting");
    match view.changed().await {
        Some(Change::Joined(three)) => assert_eq!(three, sys.wait_for("three", PATIENCE).await?),
        other => panic!("{other:?}"),
    }
    let told = view.tell_all(Read).await;
    assert_eq!((told.accepted, told.failures.len()), (3, 0));
    sys.settled().await;
    println!("done");
    Ok(())
}

#[test]
fn a_program_from_outside_sees_groups_and_sends_to_them() {
    let folder = tempfile::Builder::new().prefix("groups").tempdir().unwrap();
    let output = play("process_groups::plays_its_part", "library")
        .env("XDG_RUNTIME_DIR", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    for expected in ["done", "read 3"] {
        assert!(said.lines().any(|line| line == expected), "{expected:?} is missing in {said}\n{wrong}");
    }
}
