//! The processes of the machine, as `/proc` tells.

use std::io;

use rustix::process::{Pid, PidfdFlags, Signal};

/// One process, at the moment in which it was looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The number of whoever is its parent now.
    pub parent: u32,
    /// The number of its group.
    pub group: u32,
    /// When it was started, in ticks since the machine was.
    pub started: u64,
    /// Dead, and not reaped.
    pub is_dead: bool,
}

/// All of them, but those that ended meanwhile.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn all() -> io::Result<Vec<Process>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        all.extend(pid.and_then(look_at));
    }
    Ok(all)
}

/// One of them, unless it has gone.
fn look_at(pid: u32) -> Option<Process> {
    parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

impl Process {
    /// What a variable was when it executed its program; `None` also where that may not be seen, and of a dead one.
    pub fn variable(&self, name: &str) -> Option<Vec<u8>> {
        let variables = std::fs::read(format!("/proc/{}/environ", self.pid)).ok()?;
        let value =
            |variable: &[u8]| Some(variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?.to_vec());
        variables.split(|byte| *byte == 0).find_map(value)
    }

    /// The name under which it was started; `None` of a dead one.
    pub fn arg0(&self) -> Option<Vec<u8>> {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.pid)).ok()?;
        line.split(|byte| *byte == 0).next().filter(|name| !name.is_empty()).map(<[u8]>::to_vec)
    }

    /// Kills it, and no other that may have got its number since.
    ///
    /// # Errors
    /// As the kernel, which does not let everybody.
    pub fn kill(&self) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        // The descriptor cannot mean another process; its number could have, before.
        let killed =
            rustix::process::pidfd_open(pid, PidfdFlags::empty()).and_then(|pidfd| match look_at(self.pid) {
                Some(now) if now.started == self.started => {
                    rustix::process::pidfd_send_signal(pidfd, Signal::KILL)
                }
                _ => Ok(()),
            });
        match killed {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }
}

/// A process from its line in `/proc/PID/stat`. Its name may hold anything, so the rest is what follows the last bracket.
fn parse(pid: u32, text: &str) -> Option<Process> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    // It is the 22nd in all.
    let started = fields.nth(16)?.parse().ok()?;
    Some(Process { pid, parent, group, started, is_dead: matches!(state, "Z" | "X") })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LINE: &str = "4711 (a) R 1 (b) S 12 34 56 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let expected = Process { pid: 4711, parent: 12, group: 34, started: 987_654, is_dead: false };
        assert_eq!(parse(4711, LINE), Some(expected));
        assert!(parse(4711, &LINE.replace(" S ", " Z ")).unwrap().is_dead);
        for end in 0..60 {
            let _ = parse(1, &LINE[..end]);
        }
        assert_eq!(parse(4711, "4711 (a) S 12 34"), None);
    }

    #[test]
    fn what_a_process_was_started_with_is_seen() {
        let mut child = std::process::Command::new("sleep");
        let mut child = std::os::unix::process::CommandExt::arg0(&mut child, "a name")
            .arg("60")
            .env("ONE", "1=2")
            .spawn()
            .unwrap();
        let all = all().unwrap();
        let found = all.iter().find(|found| found.pid == child.id()).unwrap();
        assert_eq!((found.parent, found.is_dead), (std::process::id(), false));
        assert_eq!(found.arg0().as_deref(), Some(&b"a name"[..]));
        assert_eq!(found.variable("ONE").as_deref(), Some(&b"1=2"[..]));
        assert_eq!((found.variable("ON"), found.variable("TWO")), (None, None));
        // One that was started at another time has another's number.
        Process { started: found.started + 1, pid: found.pid, ..*found }.kill().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        found.kill().unwrap();
        child.wait().unwrap();
        found.kill().unwrap();
    }
}
