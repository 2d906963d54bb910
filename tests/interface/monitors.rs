//! `cx.monitor` and its `Down`.

use watertight::error::Unreachable;
use watertight::{ActorId, Incarnation, SystemError};
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Pid, Setup};

use super::*;

/// Writes down what it hears, monitors among it.
struct Watcher {
    gate: Address<Gate>,
    heard: Vec<Heard>,
    reader: Option<(u32, ReplyTo<Vec<Heard>>)>,
}

#[data(recursive)]
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Down(Down),
    Word(String),
}

/// Monitors; answered with the monitor's number.
#[message(reply = u64)]
struct Monitor(Recipient<Pid>);

#[message]
struct Demonitor(u64);

/// Asks for a monitor, and gives up before the answer.
#[message]
struct GiveUp(Recipient<Pid>);

#[message]
struct Word(String);

/// Waits at the gate.
#[message]
struct Hold;

/// All that was heard, once it is so much.
#[message(reply = Vec<Heard>, recursive)]
struct Log(u32);

impl Actor for Watcher {
    type Args = Address<Gate>;
    type Messages = (Monitor, Demonitor, GiveUp, Word, Hold, Log, Down);

    async fn start(gate: Address<Gate>, _: &mut Context<Self>) -> Result<Self> {
        Ok(Watcher { gate, heard: Vec::new(), reader: None })
    }
}

impl Watcher {
    fn hear(&mut self, heard: Heard) {
        self.heard.push(heard);
        if let Some((_, reader)) = self.reader.take_if(|(count, _)| self.heard.len() >= *count as usize) {
            reader.send(self.heard.clone());
        }
    }
}

impl Handler<Monitor> for Watcher {
    async fn handle(&mut self, Monitor(it): Monitor, cx: &mut Context<Self>) -> Result<u64> {
        Ok(cx.monitor(&it).await?)
    }
}

impl Handler<Demonitor> for Watcher {
    async fn handle(&mut self, Demonitor(number): Demonitor, cx: &mut Context<Self>) -> Result<()> {
        cx.demonitor(number).await;
        Ok(())
    }
}

impl Handler<GiveUp> for Watcher {
    async fn handle(&mut self, GiveUp(it): GiveUp, cx: &mut Context<Self>) -> Result<()> {
        assert!(begun(cx.monitor(&it)).await.is_none(), "the supervisor answers at once?");
        // Its answer comes behind what was said before.
        cx.demonitor(12345).await;
        Ok(())
    }
}

/// Polls `future` once and drops it: what it has come to, if that was enough.
async fn begun<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

impl Handler<Word> for Watcher {
    async fn handle(&mut self, Word(word): Word, _: &mut Context<Self>) -> Result<()> {
        self.hear(Heard::Word(word));
        Ok(())
    }
}

impl Handler<Hold> for Watcher {
    async fn handle(&mut self, _: Hold, _: &mut Context<Self>) -> Result<()> {
        Ok(self.gate.ask(Pass).deadline(PATIENCE).await?)
    }
}

impl Handler<Log> for Watcher {
    async fn handle(&mut self, Log(count): Log, cx: &mut Context<Self>) -> Result<Vec<Heard>> {
        if self.heard.len() >= count as usize {
            return Ok(self.heard.clone());
        }
        cx.defer(|reader| self.reader = Some((count, reader)))
    }
}

impl Handler<Down> for Watcher {
    async fn handle(&mut self, down: Down, _: &mut Context<Self>) -> Result<()> {
        self.hear(Heard::Down(down));
        Ok(())
    }
}

/// Says a word to the watcher as it starts, and on demand.
struct Talker {
    watcher: Recipient<Word>,
}

#[message]
struct Talk(u32);

#[message]
struct Finish;

impl Actor for Talker {
    type Args = Recipient<Word>;
    type Messages = (Talk, Finish, Pid);

    async fn start(watcher: Recipient<Word>, cx: &mut Context<Self>) -> Result<Self> {
        watcher.tell(Word(format!("life {}", cx.incarnation()))).await?;
        Ok(Talker { watcher })
    }
}

impl Handler<Talk> for Talker {
    async fn handle(&mut self, Talk(count): Talk, _: &mut Context<Self>) -> Result<()> {
        for n in 0..count {
            self.watcher.tell(Word(format!("word {n}"))).await?;
        }
        Ok(())
    }
}

impl Handler<Finish> for Talker {
    async fn handle(&mut self, _: Finish, cx: &mut Context<Self>) -> Result<()> {
        self.watcher.tell(Word("goodbye".into())).await?;
        cx.stop();
        Ok(())
    }
}

impl Handler<Pid> for Talker {
    async fn handle(&mut self, _: Pid, _: &mut Context<Self>) -> Result<u32> {
        Ok(std::process::id())
    }
}

async fn watcher(sys: &System) -> Result<(Address<Gate>, Address<Watcher>)> {
    let gate = sys.spawn::<Gate>(()).await?;
    let watcher = sys.spawn::<Watcher>(gate.clone()).await?;
    Ok((gate, watcher))
}

async fn specimen(sys: &System) -> Result<Address<Specimen>> {
    Ok(sys.spawn_with(Spec::<Specimen>::new(Setup::default()).name("it").backoff(Backoff::NONE)).await?)
}

fn down(monitor: u64, actor: ActorId, incarnation: u32, exit: Exit) -> Heard {
    Heard::Down(Down { monitor, actor, name: "it".into(), incarnation: Incarnation(incarnation), exit })
}

#[test]
fn each_monitor_ends_in_exactly_one_down_for_the_incarnation_it_saw() {
    watertight::test(async |sys| {
        let (_, watcher) = watcher(&sys).await?;
        let it = specimen(&sys).await?;
        let one = watcher.ask(Monitor(it.recipient())).await?;
        let two = watcher.ask(Monitor(it.recipient())).await?;
        assert_ne!(one, two);
        sys.kill(&it).await?;
        let expected = [down(one, it.actor(), 1, Exit::Killed), down(two, it.actor(), 1, Exit::Killed)];
        assert_eq!(watcher.ask(Log(2)).await?, expected);
        // The next death is nobody's any more; a later monitor is one for the later incarnation.
        it.ask(Pid).await?;
        let mut events = sys.events().await?;
        sys.kill(&it).await?;
        events.started("it", 3).await?;
        let three = watcher.ask(Monitor(it.recipient())).await?;
        sys.stop(&it).await?;
        let log = watcher.ask(Log(3)).await?;
        assert_eq!(log[2..], [down(three, it.actor(), 3, Exit::Stopped)]);
        Ok(())
    });
}

#[test]
fn monitoring_the_dead_is_answered_with_a_down_at_once() {
    watertight::test(async |sys| {
        let (_, watcher) = watcher(&sys).await?;
        let it = specimen(&sys).await?;
        sys.stop(&it).await?;
        let number = watcher.ask(Monitor(it.recipient())).await?;
        assert_eq!(watcher.ask(Log(1)).await?, [down(number, it.actor(), 0, Exit::Stopped)]);
        Ok(())
    });
}

#[test]
fn a_monitor_that_was_ended_says_nothing() {
    watertight::test(async |sys| {
        let (_, watcher) = watcher(&sys).await?;
        let it = specimen(&sys).await?;
        let one = watcher.ask(Monitor(it.recipient())).await?;
        let two = watcher.ask(Monitor(it.recipient())).await?;
        watcher.ask(Demonitor(one)).await?;
        watcher.ask(Demonitor(12345)).await?;
        sys.stop(&it).await?;
        // Both would be in the same breath; a third, of the dead, comes behind them.
        let three = watcher.ask(Monitor(it.recipient())).await?;
        let expected = [down(two, it.actor(), 1, Exit::Stopped), down(three, it.actor(), 0, Exit::Stopped)];
        assert_eq!(watcher.ask(Log(2)).await?, expected);
        Ok(())
    });
}

#[test]
fn an_address_that_leads_nowhere_cannot_be_monitored() {
    watertight::test(async |sys| {
        let (_, watcher) = watcher(&sys).await?;
        let it = specimen(&sys).await?;
        let json = serde_json::to_string(&it)?;
        let leading_to = |actor: u64| -> Result<Recipient<Pid>> {
            let changed = json.replace(&format!("\"actor\":{}", it.actor()), &format!("\"actor\":{actor}"));
            assert_ne!(changed, json);
            Ok(serde_json::from_str(&changed)?)
        };
        let nobody = leading_to(999)?;
        let expected = SystemError::Unreachable(Unreachable::NoSuchActor).to_string();
        assert_eq!(watcher.ask(Monitor(nobody)).await.unwrap_err().to_string(), expected);
        let forged = leading_to(watcher.actor().0)?;
        let expected = SystemError::Unreachable(Unreachable::Forged).to_string();
        assert_eq!(watcher.ask(Monitor(forged)).await.unwrap_err().to_string(), expected);
        Ok(())
    });
}

#[test]
fn a_down_comes_behind_everything_that_the_dead_one_had_sent_and_before_what_its_next_life_sends() {
    watertight::test(async |sys| {
        for _ in 0..5 {
            let (gate, watcher) = watcher(&sys).await?;
            let mut events = sys.events().await?;
            let spec = Spec::<Talker>::new(watcher.recipient()).name("it").backoff(Backoff::NONE);
            let it = sys.spawn_with(spec).await?;
            let number = watcher.ask(Monitor(it.recipient())).await?;
            // While the watcher is busy, everything below piles up at its door.
            watcher.tell(Hold).await?;
            gate.ask(Waiting(1)).await?;
            for life in 2..=3 {
                it.ask(Talk(600)).await?;
                it.ask(Pid).await?;
                sys.kill(&it).await?;
                events.started("it", life).await?;
            }
            gate.ask(Open).await?;
            // What a life had not yet handed to the kernel died with it, and is counted so: always the last words.
            sys.balance(PATIENCE).await?;
            let lost = u32::try_from(sys.ledger_of(&watcher).await?.died_with_sender)?;
            let log = watcher.ask(Log(1204 - lost)).await?;
            assert_eq!(log.len(), 1204 - lost as usize);
            let mut log = log.into_iter().peekable();
            for life in 1..=2 {
                assert_eq!(log.next(), Some(Heard::Word(format!("life {life}"))));
                let mut words = (0..600).map(|n| Heard::Word(format!("word {n}")));
                while log.next_if(|heard| words.next().as_ref() == Some(heard)).is_some() {}
                if life == 1 {
                    assert_eq!(log.next(), Some(down(number, it.actor(), 1, Exit::Killed)));
                }
            }
            assert_eq!(log.next(), Some(Heard::Word("life 3".into())));
            sys.stop(&it).await?;
        }
        Ok(())
    });
}

#[test]
fn a_goodbye_comes_before_the_down_of_an_actor_that_finished() {
    watertight::test(async |sys| {
        let (_, watcher) = watcher(&sys).await?;
        let spec = Spec::<Talker>::new(watcher.recipient()).name("it").restart(Restart::Transient);
        let it = sys.spawn_with(spec).await?;
        let number = watcher.ask(Monitor(it.recipient())).await?;
        it.tell(Finish).await?;
        let log = watcher.ask(Log(3)).await?;
        assert_eq!(log[1..], [Heard::Word("goodbye".into()), down(number, it.actor(), 1, Exit::Finished)]);
        Ok(())
    });
}

#[test]
fn a_monitor_ends_with_the_incarnation_that_set_it() {
    watertight::test(async |sys| {
        let (_, watcher) = watcher(&sys).await?;
        let it = specimen(&sys).await?;
        watcher.ask(Monitor(it.recipient())).await?;
        let mut events = sys.events().await?;
        sys.kill(&watcher).await?;
        let name = sys.info(&watcher).await?.name;
        events.started(&name, 2).await?;
        sys.kill(&it).await?;
        events.started("it", 2).await?;
        assert_eq!(it.ask(Add(1)).await?, 1);
        watcher.ask(Word("only this".into())).await?;
        assert_eq!(watcher.ask(Log(1)).await?, [Heard::Word("only this".into())]);
        Ok(())
    });
}

#[test]
fn a_monitor_that_an_actor_has_not_waited_for_is_none() {
    watertight::test(async |sys| {
        let (_, watcher) = watcher(&sys).await?;
        let it = specimen(&sys).await?;
        watcher.ask(GiveUp(it.recipient())).await?;
        assert_eq!(sys.info(&it).await?.monitors, 0);
        let one = watcher.ask(Monitor(it.recipient())).await?;
        assert_eq!(sys.info(&it).await?.monitors, 1);
        sys.stop(&it).await?;
        // What would have come stands before what comes of the dead.
        let two = watcher.ask(Monitor(it.recipient())).await?;
        let expected = [down(one, it.actor(), 1, Exit::Stopped), down(two, it.actor(), 0, Exit::Stopped)];
        assert_eq!(watcher.ask(Log(2)).await?, expected);
        Ok(())
    });
}

/// As many as would be noticed, if each left something behind.
const MANY: usize = 10_000;

#[test]
fn a_programs_monitor_that_is_dropped_leaves_nothing_with_whom_it_watched() {
    watertight::test(async |sys| {
        let it = specimen(&sys).await?;
        for _ in 0..MANY {
            drop(sys.monitor(&it).await?);
        }
        assert_eq!(sys.info(&it).await?.monitors, 0, "made and dropped, one after the other");
        let mut all = Vec::new();
        for _ in 0..MANY {
            all.push(sys.monitor(&it).await?);
        }
        assert_eq!(sys.info(&it).await?.monitors, MANY);
        let last = all.pop();
        drop(all);
        assert_eq!(sys.info(&it).await?.monitors, 1, "all but one dropped");
        for _ in 0..MANY {
            assert!(begun(sys.monitor(&it)).await.is_none(), "the supervisor answers at once?");
        }
        assert_eq!(sys.info(&it).await?.monitors, 1, "given up before the answer");
        sys.kill(&it).await?;
        let down = last.unwrap().down().await?;
        assert_eq!((down.incarnation.0, down.exit), (1, Exit::Killed));
        it.ask(Pid).await?;
        assert_eq!(sys.info(&it).await?.monitors, 0, "it was for the life before");
        Ok(())
    });
}

#[test]
fn an_actor_that_dies_takes_its_monitors_along() {
    watertight::test(async |sys| {
        let (_, watcher) = watcher(&sys).await?;
        let it = specimen(&sys).await?;
        watcher.ask(Monitor(it.recipient())).await?;
        let own = sys.monitor(&it).await?;
        assert_eq!(sys.info(&it).await?.monitors, 2);
        let mut events = sys.events().await?;
        sys.kill(&watcher).await?;
        events.started(&sys.info(&watcher).await?.name, 2).await?;
        assert_eq!(sys.info(&it).await?.monitors, 1);
        drop(own);
        Ok(())
    });
}
