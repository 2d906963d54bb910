//! Which core a process runs on: the latency of a message is mostly one core waking another, and half of that on one.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use watertight::Result;

/// Two cores, if this process may use that many.
pub struct Cores {
    all: CpuSet,
    two: Option<[CpuSet; 2]>,
}

impl Cores {
    /// The first two of those that this process may use.
    pub fn find() -> Result<Cores> {
        let all = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)).map(|cpu| {
            let mut one = CpuSet::new();
            one.set(cpu);
            one
        });
        let two = usable.next().zip(usable.next()).map(|(first, second)| [first, second]);
        if two.is_none() {
            eprintln!("only one core: what should run on two shares it, and the bounds do not apply");
        }
        Ok(Cores { all, two })
    }

    /// Puts this thread on the first core.
    pub fn take_first(&self) -> Result<()> {
        self.put(None, 0)
    }

    /// Puts the main thread of another process on the first core.
    pub fn put_first(&self, process: u32) -> Result<()> {
        self.put(pid(process), 0)
    }

    /// Puts the main thread of another process on the second core.
    pub fn put_second(&self, process: u32) -> Result<()> {
        self.put(pid(process), 1)
    }

    /// Lets it, or this thread, run anywhere again.
    pub fn free(&self, process: Option<u32>) -> Result<()> {
        Ok(sched_setaffinity(process.and_then(pid), &self.all)?)
    }

    fn put(&self, process: Option<Pid>, core: usize) -> Result<()> {
        match &self.two {
            Some(two) => Ok(sched_setaffinity(process, &two[core])?),
            None => Ok(()),
        }
    }
}

/// As the operating system's calls want it.
pub fn pid(process: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(process).ok()?)
}
