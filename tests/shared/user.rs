//! A user of shared things in a process of its own, which does what it is told.

use tokio::task::JoinHandle;
use watertight_actors::barrier::Barrier;
use watertight_actors::condition::{self, Condition};
use watertight_actors::counter::Counter;
use watertight_actors::event::Event;
use watertight_actors::key_value::KeyValue;
use watertight_actors::lock::{self, Lock};
use watertight_actors::namespace::Namespace;
use watertight_actors::queue::{Leased, Queue};
use watertight_actors::semaphore::{Permit, Semaphore};
use watertight_actors::value::Value;

use super::*;

/// What a user can do; what it gets by it, it keeps.
#[data]
#[derive(Clone)]
pub enum Deed {
    Acquire(Lock),
    Permits(Semaphore, u32),
    Get(Queue<u64>),
    Lease(Queue<u64>),
    Put(Queue<u64>, u64),
    TaskDone(Queue<u64>),
    Join(Queue<u64>),
    Wait(Event),
    Set(Event),
    Meet(Barrier),
    Enter(Condition),
    /// Enters, and waits to be notified.
    Sleep(Condition),
    Notify(Condition, u32),
    Add(Counter, i64),
    Double(Value<u64>),
    Count(KeyValue<String, i64>, String),
    Name(Namespace, String, u64),
}

#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Done,
    Number(u64),
    Failed(String),
}

/// Does it, and waits for it for so long.
#[message(reply = Said)]
pub struct Do(pub Deed, pub Duration);

/// Begins it; answered when it stands in line.
#[message]
pub struct Begin(pub Deed, pub Duration);

/// Answered with what came of it.
#[message(reply = Said)]
pub struct End;

/// Gives back all that it has, by dropping it.
#[message]
pub struct GiveBack;

/// The users of one lock, queue and so on.
#[derive(Default)]
pub struct User {
    has: Vec<Thing>,
    begun: Option<JoinHandle<(Said, Option<Thing>)>>,
}

#[allow(dead_code)]
enum Thing {
    Lock(lock::Guard),
    Permit(Permit),
    Leased(Leased<u64>),
    Condition(condition::Guard),
}

impl Actor for User {
    type Args = ();
    type Messages = (Do, Begin, End, GiveBack);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(User::default())
    }
}

impl Handler<Do> for User {
    async fn handle(&mut self, Do(deed, wait): Do, _: &mut Context<Self>) -> Result<Said> {
        let (said, thing) = perform(deed, wait).await;
        self.has.extend(thing);
        Ok(said)
    }
}

impl Handler<Begin> for User {
    async fn handle(&mut self, Begin(deed, wait): Begin, _: &mut Context<Self>) -> Result<()> {
        // So that the link is there, and what is asked is sent when it is first polled.
        probe(&deed).await?;
        let mut begun = Box::pin(perform(deed.clone(), wait));
        assert!(is_pending(&mut begun).await);
        match &deed {
            // First it has the lock, then it sleeps.
            Deed::Sleep(condition) => {
                let before = condition.waiting().await?;
                while condition.waiting().await? == before {
                    assert!(is_pending(&mut begun).await);
                }
            }
            // First it is refused, then it asks for room.
            Deed::Put(queue, _) => {
                queue.account().await?;
                assert!(is_pending(&mut begun).await);
            }
            _ => {}
        }
        self.begun = Some(tokio::spawn(begun));
        probe(&deed).await
    }
}

impl Handler<End> for User {
    async fn handle(&mut self, _: End, _: &mut Context<Self>) -> Result<Said> {
        let (said, thing) = self.begun.take().unwrap().await?;
        self.has.extend(thing);
        Ok(said)
    }
}

impl Handler<GiveBack> for User {
    async fn handle(&mut self, _: GiveBack, _: &mut Context<Self>) -> Result<()> {
        self.has.clear();
        Ok(())
    }
}

async fn perform(deed: Deed, wait: Duration) -> (Said, Option<Thing>) {
    match attempt(deed, wait).await {
        Ok((said, thing)) => (said, thing),
        Err(error) => (Said::Failed(error.to_string()), None),
    }
}

async fn attempt(deed: Deed, wait: Duration) -> Result<(Said, Option<Thing>)> {
    let said = match deed {
        Deed::Acquire(lock) => {
            let guard = lock.acquire_within(wait).await?;
            return Ok((Said::Number(guard.token()), Some(Thing::Lock(guard))));
        }
        Deed::Permits(semaphore, count) => {
            let permit = semaphore.acquire_many_within(count, wait).await?;
            return Ok((Said::Done, Some(Thing::Permit(permit))));
        }
        Deed::Lease(queue) => {
            let item = queue.lease_within(wait).await?;
            return Ok((Said::Number(*item), Some(Thing::Leased(item))));
        }
        Deed::Enter(condition) => {
            let guard = condition.acquire_within(wait).await?;
            return Ok((Said::Done, Some(Thing::Condition(guard))));
        }
        Deed::Sleep(condition) => {
            let guard = condition.acquire_within(wait).await?.wait_within(wait).await?;
            return Ok((Said::Done, Some(Thing::Condition(guard))));
        }
        Deed::Notify(condition, count) => {
            Said::Number(condition.acquire_within(wait).await?.notify(count).await?.into())
        }
        Deed::Get(queue) => Said::Number(queue.get_within(wait).await?),
        Deed::Put(queue, item) => done(queue.put_within(item, wait).await?),
        Deed::TaskDone(queue) => done(queue.task_done().await?),
        Deed::Join(queue) => Said::Number(queue.join_within(wait).await?.finished),
        Deed::Wait(event) => done(event.wait_within(wait).await?),
        Deed::Set(event) => done(event.set().await?),
        Deed::Meet(barrier) => Said::Number(barrier.wait_within(wait).await?.into()),
        Deed::Add(counter, by) => Said::Number(counter.add(by).await?.unsigned_abs()),
        Deed::Double(value) => Said::Number(value.update(|number| number * 2).await?),
        Deed::Count(counts, key) => Said::Number(counts.add(&key, 1).await?.unsigned_abs()),
        Deed::Name(namespace, name, number) => done(namespace.set(&name, &number).await?),
    };
    Ok((said, None))
}

fn done((): ()) -> Said {
    Said::Done
}

/// Asks the keeper something on the same link: when that is answered, all that was asked before has been handled.
async fn probe(deed: &Deed) -> Result<()> {
    match deed {
        Deed::Acquire(lock) => drop(lock.waiting().await?),
        Deed::Permits(semaphore, _) => drop(semaphore.free().await?),
        Deed::Get(queue) | Deed::Lease(queue) | Deed::Put(queue, _) | Deed::Join(queue) => {
            queue.account().await?;
        }
        Deed::Wait(event) => drop(event.is_set().await?),
        Deed::Meet(barrier) => drop(barrier.state().await?),
        Deed::Enter(condition) | Deed::Sleep(condition) => drop(condition.waiting().await?),
        _ => {}
    }
    Ok(())
}

/// Starts users that are not restarted.
pub async fn users<const N: usize>(sys: &System) -> Result<[Address<User>; N]> {
    let mut users = Vec::new();
    for _ in 0..N {
        users.push(sys.spawn_with(Spec::<User>::new(()).restart(Restart::Temporary)).await?);
    }
    users.try_into().map_err(|_| Error::new("as many as were asked for"))
}

/// Lets a user do it, and waits as long as a test may.
pub async fn does(user: &Address<User>, deed: Deed) -> Result<Said> {
    Ok(user.ask(Do(deed, PATIENCE)).deadline(PATIENCE).await?)
}

/// Lets a user begin it.
pub async fn begins(user: &Address<User>, deed: Deed) -> Result<()> {
    Ok(user.ask(Begin(deed, PATIENCE)).deadline(PATIENCE).await?)
}

/// What came of what it has begun.
pub async fn ends(user: &Address<User>) -> Result<Said> {
    Ok(user.ask(End).deadline(PATIENCE).await?)
}

/// Lets a user give back all that it has.
pub async fn gives_back(user: &Address<User>) -> Result<()> {
    Ok(user.ask(GiveBack).await?)
}
