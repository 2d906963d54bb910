//! A hundred kills at random moments under load, and an exact account.

use std::collections::{BTreeMap, BTreeSet};

use watertight::{ActorId, SenderEnded};
use watertight_actors::lock::Lock;
use watertight_actors::queue::Queue;

use super::*;

const KILLS: u32 = 100;

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % limit).unwrap()
    }
}

/// Kills one of them after another, each time once the one before runs again and has had a little time to get into
/// something.
async fn storm<A>(sys: &System, victims: &[Address<A>], seed: u64) -> Result<()> {
    let mut random = Random(seed);
    let mut events = sys.events().await?;
    let mut lives: BTreeMap<ActorId, u32> = BTreeMap::new();
    for _ in 0..KILLS {
        let victim = &victims[random.below(victims.len() as u64)];
        // Not a wait for something: the moment of the kill is what is random here.
        tokio::time::sleep(Duration::from_micros(random.below(8000) as u64)).await;
        kill(sys, victim).await?;
        let life = lives.entry(victim.actor()).or_insert(1);
        *life += 1;
        events.started(victim, *life).await?;
    }
    Ok(())
}

/// Never gives up, and is back at once.
fn stubborn<A: Actor>(arguments: A::Args) -> Spec<A> {
    Spec::new(arguments).backoff(Backoff::NONE).intensity(2 * KILLS, Duration::from_secs(1000))
}

/// Notes each item that it is told of, and how often.
struct Notes(BTreeMap<u64, u32>);

#[message]
struct Note(u64);

#[message(reply = Vec<(u64, u32)>)]
struct Noted;

impl Actor for Notes {
    type Args = ();
    type Messages = (Note, Noted);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Notes(BTreeMap::new()))
    }
}

impl Handler<Note> for Notes {
    async fn handle(&mut self, Note(item): Note, _: &mut Context<Self>) -> Result<()> {
        *self.0.entry(item).or_default() += 1;
        Ok(())
    }
}

impl Handler<Noted> for Notes {
    async fn handle(&mut self, _: Noted, _: &mut Context<Self>) -> Result<Vec<(u64, u32)>> {
        Ok(self.0.iter().map(|(item, count)| (*item, *count)).collect())
    }
}

/// Takes items and notes them, for ever.
struct Consumer;

#[data]
#[derive(Clone)]
struct Consumes {
    queue: Queue<u64>,
    notes: Address<Notes>,
    leases: bool,
}

impl Actor for Consumer {
    type Args = Consumes;
    type Messages = ();

    async fn start(consumes: Consumes, _: &mut Context<Self>) -> Result<Self> {
        tokio::spawn(async move {
            loop {
                if let Err(error) = consume(&consumes).await {
                    eprintln!("a consumer: {error}");
                }
            }
        });
        Ok(Consumer)
    }
}

async fn consume(Consumes { queue, notes, leases }: &Consumes) -> Result<()> {
    if *leases {
        let item = queue.lease_within(watertight_actors::FOREVER).await?;
        notes.ask(Note(*item)).await?;
        item.done().await?;
    } else {
        let item = queue.get_within(watertight_actors::FOREVER).await?;
        notes.ask(Note(item)).await?;
        queue.task_done().await?;
    }
    Ok(())
}

/// Puts items that no other life puts, until there are enough.
struct Producer;

impl Actor for Producer {
    type Args = (Queue<u64>, u64);
    type Messages = ();

    async fn start((queue, number): (Queue<u64>, u64), cx: &mut Context<Self>) -> Result<Self> {
        let first = (number << 56) | (u64::from(cx.incarnation().0) << 32);
        tokio::spawn(async move {
            for n in 0.. {
                if queue.put(first | n).await.is_err() {
                    return;
                }
            }
        });
        Ok(Producer)
    }
}

/// The program's own items, put while the storm blows.
async fn put_until(queue: Queue<u64>, mut enough: tokio::sync::oneshot::Receiver<()>) -> Result<u64> {
    let mut next = 0;
    while enough.try_recv().is_err() {
        queue.put(next).await?;
        next += 1;
    }
    Ok(next)
}

async fn queue_storm(sys: System, leases: bool, seed: u64) -> Result<()> {
    let queue = Queue::<u64>::start(&sys, 20).await?;
    let notes = sys.spawn::<Notes>(()).await?;
    let consumes = Consumes { queue: queue.clone(), notes: notes.clone(), leases };
    let mut consumers = Vec::new();
    for _ in 0..3 {
        consumers.push(sys.spawn_with(stubborn::<Consumer>(consumes.clone())).await?);
    }
    let mut producers = Vec::new();
    for number in 1..=2 {
        producers.push(sys.spawn_with(stubborn::<Producer>((queue.clone(), number))).await?);
    }
    let (stop, enough) = tokio::sync::oneshot::channel();
    let putting = tokio::spawn(put_until(queue.clone(), enough));
    storm(&sys, &consumers, seed).await?;
    for producer in &producers {
        kill(&sys, producer).await?;
        sys.stop(producer).await?;
    }
    let _ = stop.send(());
    let mine = putting.await??;
    let account = queue.join_within(PATIENCE).await?;
    println!("{account:?}");
    assert_eq!(account.put, account.finished + account.lost + account.abandoned, "{account:?}");
    assert_eq!((account.waiting, account.out), (0, 0));

    let noted: BTreeMap<u64, u32> = notes.ask(Noted).await?.into_iter().collect();
    let missing = (0..mine).filter(|item| !noted.contains_key(item)).count() as u64;
    let twice = noted.values().filter(|count| **count > 1).count() as u64;
    let count = noted.len() as u64;
    if leases {
        assert_eq!(account.lost, 0);
        assert!(account.abandoned <= 1, "three deaths in a row with one item are rare: {account:?}");
        assert!(missing <= account.abandoned, "{missing} of the program's items are missing");
        assert!(twice <= account.returned, "{twice} were noted twice");
        assert!(count + account.abandoned >= account.put && count <= account.put);
    } else {
        assert_eq!(twice, 0, "an item was got twice");
        assert!(missing <= account.lost, "{missing} of the program's items are missing, {account:?}");
        // Of those that are lost, some were noted before their consumers died.
        assert!(
            count >= account.finished && count <= account.finished + account.lost,
            "{count}: {account:?}"
        );
        assert_eq!((account.returned, account.abandoned), (0, 0));
    }
    assert!(account.put > 200, "the storm blew over an empty sea");
    Ok(())
}

#[test]
fn a_hundred_deaths_of_consumers_lose_what_they_had_got_and_nothing_else() {
    watertight::test(async |sys| queue_storm(sys, false, 1).await);
}

#[test]
fn a_hundred_deaths_of_consumers_lose_nothing_that_was_leased() {
    watertight::test(async |sys| queue_storm(sys, true, 2).await);
}

/// What the lock protects: it sees who goes in and out.
struct Room {
    highest: u64,
    inside: Option<(u64, u64)>,
    /// Processes that must be dead, because another one has come in while they were inside; and whether one message of
    /// theirs, in flight at their death, has come.
    must_be_dead: BTreeMap<u64, bool>,
    ended: BTreeSet<u64>,
    entered: u64,
    faults: Vec<String>,
}

#[message]
struct GoIn(u64);

#[message]
struct GoOut(u64);

/// How often somebody went in, how many are known to be dead of those who must be, how many must be; what was wrong.
#[message(reply = (u64, u64, u64, Vec<String>))]
struct Look;

impl Actor for Room {
    type Args = ();
    type Messages = (GoIn, GoOut, Look, SenderEnded);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Room {
            highest: 0,
            inside: None,
            must_be_dead: BTreeMap::new(),
            ended: BTreeSet::new(),
            entered: 0,
            faults: Vec::new(),
        })
    }
}

impl Handler<GoIn> for Room {
    async fn handle(&mut self, GoIn(token): GoIn, cx: &mut Context<Self>) -> Result<()> {
        let who = cx.watch_sender();
        self.entered += 1;
        if self.must_be_dead.contains_key(&who) {
            self.faults.push(format!("{who} was thought dead and came in with {token}"));
        }
        if token <= self.highest {
            // What was in flight when its sender died, overtaken by its successor: this is what fencing is for.
            self.must_be_dead.insert(who, true);
            return Ok(());
        }
        self.highest = token;
        if let Some((_, before)) = self.inside.replace((token, who)) {
            self.must_be_dead.insert(before, false);
        }
        Ok(())
    }
}

impl Handler<GoOut> for Room {
    async fn handle(&mut self, GoOut(token): GoOut, cx: &mut Context<Self>) -> Result<()> {
        let who = cx.watch_sender();
        if self.inside == Some((token, who)) {
            self.inside = None;
        } else if self.must_be_dead.insert(who, true) != Some(false) {
            self.faults.push(format!("{who} left with {token} while another one was inside"));
        }
        Ok(())
    }
}

impl Handler<Look> for Room {
    async fn handle(&mut self, _: Look, _: &mut Context<Self>) -> Result<(u64, u64, u64, Vec<String>)> {
        let dead = self.must_be_dead.keys().filter(|who| self.ended.contains(who)).count() as u64;
        Ok((self.entered, dead, self.must_be_dead.len() as u64, self.faults.clone()))
    }
}

impl Handler<SenderEnded> for Room {
    async fn handle(&mut self, ended: SenderEnded, _: &mut Context<Self>) -> Result<()> {
        self.ended.insert(ended.sender);
        Ok(())
    }
}

/// Goes in and out, for ever.
struct Visitor;

impl Actor for Visitor {
    type Args = (Lock, Address<Room>);
    type Messages = ();

    async fn start((lock, room): (Lock, Address<Room>), _: &mut Context<Self>) -> Result<Self> {
        tokio::spawn(async move {
            loop {
                if let Err(error) = visit(&lock, &room).await {
                    eprintln!("a visitor: {error}");
                }
            }
        });
        Ok(Visitor)
    }
}

async fn visit(lock: &Lock, room: &Address<Room>) -> Result<()> {
    let guard = lock.acquire_within(watertight_actors::FOREVER).await?;
    room.ask(GoIn(guard.token())).await?;
    room.ask(GoOut(guard.token())).await?;
    drop(guard);
    Ok(())
}

#[test]
fn a_hundred_deaths_of_holders_and_waiters_never_let_two_in() {
    watertight::test(async |sys| {
        let lock = Lock::start(&sys).await?;
        let room = sys.spawn::<Room>(()).await?;
        let mut visitors = Vec::new();
        for _ in 0..4 {
            visitors.push(sys.spawn_with(stubborn::<Visitor>((lock.clone(), room.clone()))).await?);
        }
        storm(&sys, &visitors, 3).await?;
        for visitor in &visitors {
            sys.stop(visitor).await?;
        }
        let guard = lock.acquire_within(PATIENCE).await?;
        let (mut entered, mut dead, mut overtaken, mut faults) = room.ask(Look).await?;
        while dead < overtaken {
            (entered, dead, overtaken, faults) = room.ask(Look).await?;
        }
        println!("{entered} visits, {overtaken} ended inside, {} grants", guard.token() & 0xffff_ffff);
        assert!(faults.is_empty(), "{faults:?}");
        assert!(entered > 200, "{entered}");
        Ok(())
    });
}
