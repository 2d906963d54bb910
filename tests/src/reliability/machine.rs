//! What the kernel says of this machine and of a process.

use std::time::Duration;

use watertight::prelude::*;

/// Cores, kernel and load, on a line.
pub fn line() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{cores} cores, Linux {}, {build} build, load {} before", kernel.trim(), load())
}

/// The load of the last minute.
pub fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// How much memory a process has in the machine's, in bytes.
pub fn memory(pid: u32) -> Result<u64> {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let resident = pages.split(' ').nth(1).ok_or_else(|| Error::new("statm has no second word"))?;
    Ok(resident.parse::<u64>()? * rustix::param::page_size() as u64)
}

/// How long a process has had a processor.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let mut words = after_name.split_whitespace().skip(11).map(str::parse::<u64>);
    let mut next = || words.next().ok_or_else(|| Error::new("stat is too short"));
    let ticks = next()?? + next()??;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> Result<u64> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
}

/// How many dead children of a process nobody has reaped.
pub fn zombies(parent: u32) -> Result<u64> {
    let mut zombies = 0;
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Ok(pid) = name.to_string_lossy().parse::<u32>() else { continue };
        // It may be gone by now.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        zombies += u64::from(is_zombie_of(&stat, parent));
    }
    Ok(zombies)
}

fn is_zombie_of(stat: &str, parent: u32) -> bool {
    let mut words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    words.next() == Some("Z") && words.next() == Some(&parent.to_string())
}

/// Median, 99th percentile and worst of times.
pub struct Times(Vec<Duration>);

impl Times {
    /// Of these; at least one.
    pub fn of(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        Times(times)
    }

    /// The time that so many of a hundred do not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let at = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0.get(at).copied().unwrap_or(Duration::MAX)
    }

    /// The longest.
    pub fn worst(&self) -> Duration {
        self.percentile(100)
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, worst] = [50, 99, 100].map(|percent| self.percentile(percent).as_secs_f64() * 1e3);
        write!(f, "p50 {p50:.2} ms, p99 {p99:.2} ms, worst {worst:.2} ms (n = {})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_seen_until_it_is_reaped() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let own = std::process::id();
        let path = format!("/proc/{}/stat", child.id());
        let stat = || std::fs::read_to_string(&path).unwrap_or_default();
        while !is_zombie_of(&stat(), own) {
            std::thread::yield_now();
        }
        assert!(zombies(own).unwrap() >= 1);
        child.wait().unwrap();
        assert!(!is_zombie_of(&stat(), own));
    }

    #[test]
    fn a_descriptor_a_buffer_and_a_busy_thread_are_each_seen() {
        let own = std::process::id();
        let busy = "exec 7</dev/null 8</dev/null; while :; do :; done";
        let mut child = std::process::Command::new("sh").args(["-c", busy]).spawn().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while processor_time(child.id()).unwrap() < Duration::from_millis(100) {
            assert!(std::time::Instant::now() < deadline, "no processor time is seen");
            std::thread::yield_now();
        }
        assert!(descriptors(child.id()).unwrap() >= 5, "0, 1, 2, 7 and 8");
        child.kill().unwrap();
        child.wait().unwrap();
        let before = memory(own).unwrap();
        let hoard = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(memory(own).unwrap() > before + (32 << 20));
        drop(hoard);
    }

    #[test]
    fn percentiles_are_of_what_was_measured_and_the_worst_is_the_worst() {
        let times = Times::of((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!([50, 99, 100].map(|p| times.percentile(p).as_millis()), [100, 198, 200]);
    }
}
