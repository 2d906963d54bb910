//! Process groups: joining, views of the members, messages about them.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;

use watertight::{AskOneError, Change, Members, Membership, SystemError, TellOneError};
use watertight_tests::Fault;

use super::*;

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
fn a_view_follows_who_joins_leaves_and_ends() {
    watertight::test(async |sys| {
        let mut view = sys.members::<Reader>("readers").await?;
        assert_eq!((view.group(), view.len(), view.is_empty()), ("readers", 0, true));
        let [one, two, three] = three(&sys).await?;
        assert_eq!(view.addresses(), [one.clone(), two.clone(), three.clone()]);
        for reader in [&one, &two, &three] {
            assert_eq!(view.changed().await, Some(Change::Joined(reader.clone())));
        }
        // What was before a view was made is no change of it.
        let mut later = sys.members::<Reader>("readers").await?;
        assert_eq!(later.len(), 3);
        two.ask(Leave("readers".into())).await?;
        two.ask(Leave("readers".into())).await?;
        for view in [&mut view, &mut later] {
            assert_eq!(view.changed().await, Some(Change::Left(two.clone())));
        }
        two.ask(Join("readers".into())).await?;
        two.ask(Join("readers".into())).await?;
        heard_of(&sys).await?;
        assert_eq!(view.addresses(), [one.clone(), three.clone(), two.clone()], "joining twice counts once");
        two.ask(Leave("readers".into())).await?;
        heard_of(&sys).await?;
        assert_eq!(view.len(), 2);
        sys.stop(&one).await?;
        assert_eq!(view.addresses(), [three]);
        // It came and went unseen.
        assert_eq!(view.changed().await, Some(Change::Left(one)));
        let mut next = Box::pin(view.changed());
        assert!(tokio::time::timeout(Duration::ZERO, &mut next).await.is_err());
        Ok(())
    });
}

#[test]
fn a_group_has_no_more_views_than_it_may_and_a_dropped_one_makes_room() {
    watertight::test(async |sys| {
        reader(&sys, "one").await?;
        for _ in 0..2 {
            let mut views = Vec::new();
            for _ in 0..1024 {
                views.push(sys.members::<Reader>("readers").await?);
            }
            let error = sys.members::<Reader>("readers").await.unwrap_err();
            let words = "there may be at most 1024 watchers of the group \"readers\"";
            assert_eq!(error.to_string(), words);
            assert!(views.iter().all(|view| view.len() == 1));
        }
        for bad in ["", "a\nb", &"x".repeat(101)] {
            let error = sys.members::<Reader>(bad).await.unwrap_err();
            assert_eq!(error, SystemError::BadName(bad.into()));
        }
        Ok(())
    });
}

#[test]
fn members_take_turns_in_being_told_and_asked() {
    watertight::test(async |sys| {
        let members = three(&sys).await?;
        let view = sys.members::<Reader>("readers").await?;
        for _ in 0..30 {
            view.tell_one(Read).await?;
        }
        for member in &members {
            assert_eq!(member.ask(HasRead).await?, 10);
        }
        let mut asked = BTreeMap::new();
        for _ in 0..9 {
            *asked.entry(view.ask_one(Read).await?).or_insert(0) += 1;
        }
        assert_eq!(asked.into_values().collect::<Vec<_>>(), [3, 3, 3]);
        // Whoever has ended is passed over, without a moment in which it is not.
        sys.stop(&members[1]).await?;
        for _ in 0..4 {
            view.tell_one(Read).await?;
        }
        assert_eq!((members[0].ask(HasRead).await?, members[2].ask(HasRead).await?), (15, 15));
        // From another task too: what is awaited may move between threads.
        let view = Arc::new(view);
        let shared = Arc::clone(&view);
        tokio::spawn(async move { shared.ask_one(Read).await.map(|_| ()) }).await??;
        Ok(())
    });
}

#[test]
fn an_empty_group_gives_the_message_back() {
    watertight::test(async |sys| {
        let view = sys.members::<Reader>("readers").await?;
        let error = view.tell_one(Read).await.unwrap_err();
        assert_eq!(error.to_string(), "the group \"readers\" has no members");
        assert!(matches!(error, TellOneError::Empty(Read, _)));
        let Read = error.into_message();
        let error = view.ask_one(Read).await.unwrap_err();
        assert_eq!(error.to_string(), "the group \"readers\" has no members");
        assert!(matches!(error, AskOneError::Empty(Read, _)));
        let told = view.tell_all(Read).await;
        assert_eq!((told.accepted, told.failures.len()), (0, 0));
        Ok(())
    });
}

#[test]
fn each_life_joins_again_and_what_was_joined_otherwise_is_over_with_the_last() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let it = reader(&sys, "it").await?;
        it.ask(Join("others".into())).await?;
        let mut readers = sys.members::<Reader>("readers").await?;
        let others = sys.members::<Reader>("others").await?;
        assert_eq!((readers.len(), others.len()), (1, 1));
        for life in 2..=4 {
            sys.kill(&it).await?;
            events.started("it", life).await?;
            assert_eq!((readers.addresses(), others.len()), (vec![it.clone()], 0));
            // The same address, and seen to have gone.
            assert_eq!(readers.changed().await, Some(Change::Left(it.clone())));
            assert_eq!(readers.changed().await, Some(Change::Joined(it.clone())));
            assert_eq!(readers.ask_one(Read).await?, it.ask(Read).await?);
        }
        Ok(())
    });
}

#[test]
fn a_dead_member_has_left_before_its_end_is_told() {
    watertight::test(async |sys| {
        let (_, warden) = warden(&sys).await?;
        let mut events = sys.events().await?;
        let view = sys.members::<Reader>("readers").await?;
        for n in 0..10 {
            let desk = Desk { groups: vec!["readers".into()], ..Desk::default() };
            let spec = Spec::<Reader>::new(desk).name("it").restart(Restart::Temporary);
            let it = sys.spawn_with(spec).await?;
            warden.ask(Monitor(it.recipient())).await?;
            assert_eq!(view.len(), 1);
            if n % 2 == 0 {
                sys.kill(&it).await?
            } else {
                sys.stop(&it).await?
            }
            events.exited("it").await?;
            assert!(view.is_empty());
            assert_eq!(warden.ask(Log(n + 1)).await?[n as usize], Heard::Down { was_empty: true });
        }
        Ok(())
    });
}

#[test]
fn a_watcher_is_told_of_each_member_in_a_message() {
    watertight::test(async |sys| {
        let (_, warden) = warden(&sys).await?;
        let one = reader(&sys, "one").await?;
        let writer = sys.spawn_with(Spec::<Writer>::new(()).name("writer")).await?;
        writer.ask(Join("writers".into())).await?;
        let first = warden.ask(Watch("readers".into())).await?;
        let second = warden.ask(Watch("writers".into())).await?;
        assert_ne!(first, second);
        let two = reader(&sys, "two").await?;
        writer.ask(Leave("writers".into())).await?;
        sys.stop(&one).await?;
        let writers = |name: &str| ("writers".to_owned(), name.to_owned(), 1);
        let (came, went) = (writers("writer"), writers("writer"));
        let expected = [
            joined("one", 1),
            Heard::Joined(came.0, came.1, came.2),
            joined("two", 1),
            Heard::Left(went.0, went.1, went.2),
            left("one", 1),
        ];
        assert_eq!(warden.ask(Log(5)).await?, expected);
        warden.ask(Unwatch(first)).await?;
        warden.ask(Unwatch(12345)).await?;
        sys.stop(&two).await?;
        writer.ask(Join("writers".into())).await?;
        let log = warden.ask(Log(6)).await?;
        assert_eq!((log.len(), &log[5]), (6, &expected[1]));
        let error = warden.ask(Watch(String::new())).await.unwrap_err();
        assert!(error.to_string().starts_with("the name \"\" is empty"), "{error}");
        Ok(())
    });
}

#[test]
fn a_member_is_seen_to_leave_behind_all_that_it_had_sent_and_before_its_next_life_joins() {
    watertight::test(async |sys| {
        let mut talkative_lives = 0;
        for round in 0..8 {
            let (gate, warden) = warden(&sys).await?;
            let mut events = sys.events().await?;
            warden.ask(Watch("readers".into())).await?;
            let (talks_to, is_shy) = (Some(warden.recipient()), round >= 4);
            let desk = Desk { groups: vec!["readers".into()], gate: None, talks_to, is_shy };
            let it = with_desk(&sys, "it", desk).await?;
            // While the warden is busy, everything below piles up at its door.
            warden.tell(Hold).await?;
            gate.ask(Waiting(1)).deadline(PATIENCE).await?;
            for life in 2..=4 {
                // Some lives say next to nothing, and shy ones nothing at all.
                if is_shy && life == 3 {
                    assert!(it.ask(Talk(1)).await.is_err());
                } else {
                    let is_quiet = !is_shy && (life + round) % 2 == 1;
                    it.ask(Talk(if is_quiet { 0 } else { 300 })).await?;
                    it.ask(Read).await?;
                    sys.kill(&it).await?;
                }
                events.started("it", life).await?;
            }
            gate.ask(Open).await?;
            sys.balance(PATIENCE).await?;
            // What the supervisor says is in no ledger; this is the last of it.
            let mut log = warden.ask(Log(7)).await?;
            while !log.contains(&joined("it", 4)) {
                log = warden.ask(Log(7)).await?;
            }
            let (mut life, mut is_in, mut next_word) = (1, false, 0);
            for heard in log {
                match heard {
                    Heard::Word(word) if word.starts_with("life") => {
                        assert_eq!(word, format!("life {life}"));
                        talkative_lives += 1;
                    }
                    // Its words may come before the word that it joined; both come behind the end of the last life.
                    Heard::Word(word) => {
                        assert_eq!(word, format!("word {next_word}"), "in life {life}");
                        next_word += 1;
                    }
                    heard if is_in => {
                        assert_eq!(heard, left("it", life));
                        (life, is_in, next_word) = (life + 1, false, 0);
                    }
                    heard => {
                        assert_eq!(heard, joined("it", life));
                        is_in = true;
                    }
                }
            }
            assert_eq!((life, is_in), (4, true));
            sys.stop(&it).await?;
        }
        assert!(talkative_lives > 6, "hardly anybody said anything");
        Ok(())
    });
}

#[test]
fn a_group_belongs_to_one_type_while_it_has_members() {
    watertight::test(async |sys| {
        let writer = sys.spawn_with(Spec::<Writer>::new(()).name("writer")).await?;
        let writers = sys.members::<Writer>("readers").await?;
        let it = reader(&sys, "it").await?;
        let error = writer.ask(Join("readers".into())).await.unwrap_err();
        assert_eq!(error.to_string(), "the group \"readers\" has members of another type");
        let error = sys.members::<Writer>("readers").await.unwrap_err();
        assert_eq!(error, SystemError::OtherGroupType("readers".into()));
        // One who came before sees nobody, and has nothing to send to.
        assert!(writers.is_empty());
        assert!(writers.tell_one(Join("x".into())).await.is_err());
        it.ask(Leave("readers".into())).await?;
        writer.ask(Join("readers".into())).await?;
        heard_of(&sys).await?;
        assert_eq!(writers.addresses(), [writer]);
        let error = it.ask(Join("readers".into())).await.unwrap_err();
        assert_eq!(error.to_string(), "the group \"readers\" has members of another type");
        Ok(())
    });
}

#[test]
fn a_full_member_is_passed_over_and_when_all_are_full_the_message_comes_back() {
    watertight::test(async |sys| {
        let gate = sys.spawn::<Gate>(()).await?;
        let busy = held(&sys, &gate, 1).await?;
        let idle = reader(&sys, "idle").await?;
        let view = sys.members::<Reader>("readers").await?.deadline(PATIENCE);
        for _ in 0..10 {
            view.tell_one(Read).await?;
        }
        // The busy one had room for one more.
        assert_eq!(idle.ask(HasRead).await?, 9);
        idle.ask(Leave("readers".into())).await?;
        heard_of(&sys).await?;
        let view = view.deadline(MOMENT);
        let error = view.tell_one(Read).await.unwrap_err();
        assert!(matches!(error, TellOneError::Tell(TellError::Deadline(Read))), "{error:?}");
        assert_eq!(error.to_string(), "the mailbox stayed full until the deadline");
        let error = view.ask_one(Read).await.unwrap_err();
        assert_eq!(error.to_string(), "no reply by the deadline");
        // A newcomer has room, and whoever waits is told to it.
        let view = Arc::new(sys.members::<Reader>("readers").await?.deadline(PATIENCE));
        let waiting = Arc::clone(&view);
        let waiting = tokio::spawn(async move { waiting.tell_one(Read).await });
        sys.list().await?;
        assert!(!waiting.is_finished());
        let newcomer = reader(&sys, "newcomer").await?;
        waiting.await??;
        assert_eq!(newcomer.ask(HasRead).await?, 1);
        newcomer.ask(Leave("readers".into())).await?;
        heard_of(&sys).await?;
        // And so has one who comes to it.
        let waiting = Arc::clone(&view);
        let waiting = tokio::spawn(async move { waiting.ask_one(Read).await });
        sys.list().await?;
        gate.ask(Open).await?;
        waiting.await??;
        assert_eq!(busy.ask(HasRead).await?, 2);
        Ok(())
    });
}

#[test]
fn all_members_are_told_and_those_that_are_not_are_named() {
    watertight::test(async |sys| {
        let members = three(&sys).await?;
        let view = sys.members::<Reader>("readers").await?.deadline(PATIENCE);
        let told = view.tell_all(Read).await;
        assert_eq!((told.accepted, told.failures.len()), (3, 0));
        let gate = sys.spawn::<Gate>(()).await?;
        let busy = held(&sys, &gate, 1).await?;
        let told = view.tell_all(Read).await;
        assert_eq!((told.accepted, told.failures.len()), (4, 0), "it had room for one more");
        // The others have had time to handle what they were told, so that only one is full.
        for member in &members {
            member.ask(HasRead).await?;
        }
        let view = view.deadline(MOMENT);
        let told = view.tell_all(Read).await;
        assert_eq!((told.accepted, told.failures.len()), (3, 1));
        assert_eq!(told.failures[0].0, busy);
        assert!(matches!(told.failures[0].1, TellError::Deadline(Read)), "{told:?}");
        for member in &members {
            assert_eq!(member.ask(HasRead).await?, 3);
        }
        gate.ask(Open).await?;
        assert_eq!(busy.ask(HasRead).await?, 1);
        Ok(())
    });
}

#[test]
fn a_member_that_is_killed_while_all_are_told_disturbs_nobody_and_nothing_is_lost_silently() {
    watertight::test(async |sys| {
        let members = three(&sys).await?;
        let view = sys.members::<Reader>("readers").await?;
        let before = sys.balance(PATIENCE).await?.accepted;
        let (sys_1, victim) = (sys.clone(), members[1].clone());
        let killing = tokio::spawn(async move {
            for _ in 0..5 {
                victim.ask(HasRead).await.ok();
                sys_1.kill(&victim).await?;
            }
            Ok::<_, SystemError>(())
        });
        let (mut rounds, mut accepted) = (0, 0);
        while rounds < 200 || !killing.is_finished() {
            let told = view.tell_all(Read).await;
            assert!(told.failures.is_empty(), "{told:?}");
            rounds += 1;
            accepted += told.accepted as u64;
            tokio::task::yield_now().await;
        }
        killing.await??;
        sys.settled().await;
        let ledger = sys.balance(PATIENCE).await?;
        assert!(ledger.is_balanced(), "{ledger:?}");
        assert!((accepted..=accepted + 5).contains(&(ledger.accepted - before)), "{accepted}, {ledger:?}");
        for member in [&members[0], &members[2]] {
            assert_eq!(member.ask(HasRead).await?, rounds);
        }
        assert!(accepted < 3 * rounds + 1 && accepted >= 2 * rounds);
        Ok(())
    });
}

#[test]
fn an_actor_spreads_work_over_its_own_group_and_never_waits_for_itself() {
    watertight::test(async |sys| {
        let it = reader(&sys, "it").await?;
        // Only itself: what would wait for its own handler is refused.
        let group = || "readers".to_owned();
        let words = "the ask was refused: the actor it would wait for is waiting for this one";
        assert_eq!(it.ask(AskMate(group())).await?, Err(words.into()));
        let mate = reader(&sys, "mate").await?;
        let pid = mate.ask(Read).await?;
        // Its own view may show the mate a moment later than this.
        while it.ask(AskMate(group())).await? != Ok(pid) {}
        let answers = [it.ask(AskMate(group())).await?, it.ask(AskMate(group())).await?];
        assert!(answers.contains(&Ok(pid)) && answers.contains(&Err(words.into())), "{answers:?}");
        sys.stop(&mate).await?;
        // Its own mailbox takes what fits, and it does not wait for room that only it could make.
        let desk = Desk { groups: vec!["small".into()], ..Desk::default() };
        let small = sys.spawn_with(Spec::<Reader>::new(desk).mailbox(3, 1 << 20)).await?;
        let errors = small.ask(TellMates("small".into(), 5)).await?;
        assert_eq!(errors, ["the mailbox is full"; 2]);
        sys.balance(PATIENCE).await?;
        assert_eq!(small.ask(HasRead).await?, 3);
        Ok(())
    });
}

#[test]
fn a_watch_ends_with_the_incarnation_that_began_it() {
    watertight::test(async |sys| {
        let (_, warden) = warden(&sys).await?;
        warden.ask(Watch("readers".into())).await?;
        let name = sys.info(&warden).await?.name;
        let mut events = sys.events().await?;
        sys.kill(&warden).await?;
        events.started(&name, 2).await?;
        reader(&sys, "it").await?;
        warden.ask(Word("only this".into())).await?;
        assert_eq!(warden.ask(Log(1)).await?, [Heard::Word("only this".into())]);
        Ok(())
    });
}

#[test]
fn after_the_end_of_the_system_a_view_says_so_and_nothing_waits() {
    let mut kept = None;
    watertight::test(async |sys| {
        reader(&sys, "it").await?;
        let view = sys.members::<Reader>("readers").await?;
        view.ask_one(Read).await?;
        kept = Some((sys, view));
        Ok(())
    });
    let (sys, mut view) = kept.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        while view.changed().await.is_some() {}
        let error = sys.members::<Reader>("readers").await.unwrap_err();
        assert_eq!(error, SystemError::ShuttingDown);
        assert!(view.tell_one(Read).await.is_err());
        assert!(view.ask_one(Read).await.is_err());
        let error = sys.wait_for::<Reader>("it", PATIENCE).await.unwrap_err();
        assert_eq!(error, SystemError::ShuttingDown);
    });
}

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
