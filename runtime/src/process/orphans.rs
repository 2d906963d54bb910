//! Processes that actors have started and left behind.
//!
//! A dead actor's process group is killed before the actor is reaped. What had left that group (a daemon that made a
//! session of its own) is not reached by this. But this process is the *subreaper* of everything below it: what has lost
//! its parent becomes its child. A thread looks for such children shortly after an actor has ended, kills those that are
//! that actor's, and reaps them.
//!
//! This process is somebody's program and may have children of its own, so nothing is touched that is not known to be an
//! actor's, by one of these:
//!
//! - it is in the dead actor's process group, and has been since before the actor was reaped: no other group can have the
//!   number;
//! - its environment names the actor's life ([`VARIABLE`]);
//! - it is a copy of the actor that has never executed anything, and so still has the name under which that life of the
//!   actor was started. Its environment cannot be read, because the actor's cannot;
//! - it is, or was when it died, in the actor's [control group](super::cgroup). All of that has been killed already.
//!
//! Elsewhere than on Linux there are neither subreapers nor `/proc`: only the process group is killed.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::cgroup::Group;
use super::table::{self, Process};

/// The variable in an actor's environment that names its life; what the actor starts inherits it.
pub const VARIABLE: &str = "WATERTIGHT_STARTED_BY";

/// How long after a death is looked: long enough for what was killed with its group to be dead, and for the other deaths
/// of a bad moment to be looked at together.
const DELAY: Duration = Duration::from_millis(100);
/// How often one death is looked at without finding anything, before it is forgotten.
const LOOKS: u8 = 3;
/// How often one death is looked at in all: a process that makes more as fast as they are killed is not followed for ever.
const MOST_LOOKS: u8 = 50;
/// Deaths that wait for the thread; more are not looked at, and said to be so.
const WAITING: usize = 4096;
/// How long the end of a system may wait for what its actors left.
const LAST: Duration = Duration::from_secs(1);

/// One life of an actor that has ended.
#[derive(Debug)]
pub struct Death {
    /// As in [`VARIABLE`].
    pub life: String,
    /// The name under which its process was started, which names its life too.
    pub arg0: String,
    /// Its process, which is reaped, and the number of its group.
    pub pid: u32,
    /// When that was known, in ticks since the machine was started; see [`now`].
    pub at: u64,
    /// Its control group, if it had one: what is in it is its own, and it is removed when all that is dead.
    pub group: Option<Arc<Group>>,
}

/// Looks for what dead actors have left; one for each system.
#[derive(Debug, Default)]
pub struct Orphans {
    thread: Option<SyncSender<Order>>,
}

#[derive(Debug)]
enum Order {
    Look(Death),
    /// Say when nothing is left.
    Finish(SyncSender<()>),
}

/// Makes this process the parent of everything below it that loses its own.
///
/// # Errors
///
/// When the kernel refuses, which it does not unless a sandbox makes it.
pub fn adopt() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// The time in the ticks in which the kernel tells when a process was started.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let ticks = rustix::param::clock_ticks_per_second();
    let number = |n: i64| u64::try_from(n).unwrap_or(0);
    number(time.tv_sec) * ticks + number(time.tv_nsec) * ticks / 1_000_000_000
}

impl Orphans {
    /// An actor has ended: what it left is ended too, soon. Never blocks.
    pub fn look(&mut self, death: Death) {
        let thread = match &self.thread {
            Some(thread) => thread,
            None => match start_thread() {
                Ok(thread) => self.thread.insert(thread),
                Err(error) => {
                    tracing::warn!(%error, "nobody looks for what an ended actor has left");
                    return;
                }
            },
        };
        if let Err(error) = thread.try_send(Order::Look(death)) {
            tracing::warn!(%error, "nobody looks for what an ended actor has left");
        }
    }

    /// Waits, for a second at most, until nothing is left of the actors that have ended.
    pub fn finish(&self) {
        let (done, finished) = sync_channel(1);
        let Some(thread) = &self.thread else { return };
        if thread.try_send(Order::Finish(done)).is_ok() && finished.recv_timeout(LAST).is_err() {
            tracing::warn!("processes that actors have left may be alive");
        }
    }
}

fn start_thread() -> io::Result<SyncSender<Order>> {
    let (sender, orders) = sync_channel(WAITING);
    let thread = std::thread::Builder::new().name("actor-orphans".into()).stack_size(256 << 10);
    thread.spawn(move || run(&orders))?;
    Ok(sender)
}

/// The life of the thread: as long as its system's.
fn run(orders: &Receiver<Order>) {
    let mut search = Search::default();
    let mut waiters = Vec::new();
    loop {
        let order = if search.is_over() && waiters.is_empty() {
            orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            orders.recv_timeout(search.wait(!waiters.is_empty()))
        };
        match order {
            Ok(Order::Look(death)) => search.add(death),
            Ok(Order::Finish(done)) => waiters.push(done),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                if search.is_over() || search.look() == 0 {
                    for done in waiters.drain(..) {
                        // Whoever waits may have given up.
                        let _ = done.try_send(());
                    }
                }
            }
        }
    }
}

/// The deaths whose orphans are looked for.
#[derive(Default)]
struct Search {
    deaths: Vec<Sought>,
    /// What was found to be ours: number and time of start.
    found: HashSet<(u32, u64)>,
    next: Option<Instant>,
}

struct Sought {
    death: Death,
    quiet: u8,
    looks: u8,
    has_group: bool,
}

impl Search {
    fn add(&mut self, death: Death) {
        let has_group = death.group.is_some();
        self.deaths.push(Sought { death, quiet: 0, looks: 0, has_group });
        self.next.get_or_insert_with(|| Instant::now() + DELAY);
    }

    fn is_over(&self) -> bool {
        self.deaths.is_empty() && self.found.is_empty()
    }

    /// Until the next look. Somebody who waits for the end gets one at once, and the next ones soon.
    fn wait(&mut self, hurry: bool) -> Duration {
        let now = Instant::now();
        let next = *self.next.get_or_insert(now + DELAY);
        let left = next.saturating_duration_since(now);
        if hurry { left.min(Duration::from_millis(1)) } else { left }
    }

    /// Looks once: how many are left that are ours.
    fn look(&mut self) -> usize {
        self.next = None;
        let children = match children() {
            Ok(children) => children,
            Err(error) => {
                tracing::warn!(%error, "nobody looks for what ended actors have left");
                self.deaths.clear();
                self.found.clear();
                return 0;
            }
        };
        let here: HashSet<_> = children.iter().map(|child| (child.pid, child.started)).collect();
        self.found.retain(|known| here.contains(known));
        for sought in &mut self.deaths {
            sought.quiet += 1;
            sought.looks += 1;
        }
        let mut left = self.remove_groups();
        for child in &children {
            let identity = (child.pid, child.started);
            let owner = self.deaths.iter_mut().find(|sought| child.is_left_by(&sought.death));
            if owner.is_none() && !self.found.contains(&identity) {
                continue;
            }
            if let Some(sought) = owner {
                sought.quiet = 0;
            }
            if child.end() {
                self.found.remove(&identity);
            } else {
                left += 1;
                self.found.insert(identity);
            }
        }
        self.deaths.retain(|sought| sought.quiet < LOOKS && sought.looks < MOST_LOOKS);
        left
    }

    /// Removes the control groups in which nobody lives any more: how many are left.
    fn remove_groups(&mut self) -> usize {
        let mut left = 0;
        for sought in self.deaths.iter_mut().filter(|sought| sought.has_group) {
            let Some(group) = &sought.death.group else { continue };
            match group.remove() {
                Ok(true) => sought.has_group = false,
                Ok(false) => {
                    sought.quiet = 0;
                    left += 1;
                }
                Err(error) => {
                    tracing::warn!(life = sought.death.life, %error, "a dead actor's control group was not removed");
                    sought.has_group = false;
                }
            }
        }
        left
    }
}

impl Process {
    fn is_left_by(&self, death: &Death) -> bool {
        if self.group == death.pid && self.started <= death.at {
            return true;
        }
        if death.group.as_ref().is_some_and(|group| group.holds(self.pid)) {
            return true;
        }
        // A dead one has neither variables nor a name any more.
        !self.is_dead
            && (self.variable(VARIABLE).is_some_and(|life| life == death.life.as_bytes())
                || self.arg0().is_some_and(|arg0| arg0 == death.arg0.as_bytes()))
    }

    /// Kills it, or reaps it if it is dead: then `true`.
    fn end(&self) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return true };
        if self.is_dead {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            // If somebody else has reaped it, it is gone as well.
            let _ = rustix::process::waitid(WaitId::Pid(pid), options);
            return true;
        }
        if let Err(error) = self.kill() {
            tracing::warn!(pid = self.pid, %error, "a process that an actor has left was not killed");
        }
        false
    }
}

/// All children of this process.
fn children() -> io::Result<Vec<Process>> {
    let own = std::process::id();
    Ok(table::all()?.into_iter().filter(|process| process.parent == own).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_its_childrens_parent_and_as_old_as_it_is() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = children().unwrap().into_iter().find(|found| found.pid == child.id()).unwrap();
        assert!(
            found.started <= now() && found.started + 60 * rustix::param::clock_ticks_per_second() > now()
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn only_what_a_dead_actor_has_left_is_its_own() {
        let death = Death {
            life: "1.2.3".into(),
            arg0: "watertight-actor: a 1.2.3".into(),
            pid: 34,
            at: 1000,
            group: None,
        };
        let child = |group, started| Process { pid: 1, parent: 1, group, started, is_dead: true };
        assert!(child(34, 1000).is_left_by(&death));
        assert!(!child(34, 1001).is_left_by(&death), "the number was given to another group since");
        assert!(!child(35, 10).is_left_by(&death));
        let mut stranger = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut copy = std::process::Command::new("sleep");
        let mut copy =
            std::os::unix::process::CommandExt::arg0(&mut copy, &death.arg0).arg("60").spawn().unwrap();
        let mut marked = std::process::Command::new("sleep");
        let mut marked = marked.arg("60").env(VARIABLE, "1.2.3").spawn().unwrap();
        let all = children().unwrap();
        let of = |pid: u32| all.iter().find(|found| found.pid == pid).unwrap();
        assert!(!of(stranger.id()).is_left_by(&death) && of(marked.id()).is_left_by(&death));
        assert!(of(copy.id()).is_left_by(&death));
        // Another life, or an actor of another system in this process, may have the same name.
        let other = Death { life: "1.2.4".into(), arg0: "watertight-actor: a 1.2.4".into(), ..death };
        assert!(!of(marked.id()).is_left_by(&other) && !of(copy.id()).is_left_by(&other));
        for child in [&mut stranger, &mut marked, &mut copy] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
