//! The other processes of experiments: programs of their own that are killed or starved, and plain ones to compare with.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use watertight::Output;
use watertight::prelude::*;

use super::traffic::{Burst, Listener, Talker, TalkerSetup};
use super::{calls, full_disk, machine};
use crate::siege::{NAME, Plant, city};
use crate::specimen::{Commit, Grandchild, Setup};
use crate::{Fault, Specimen};

/// Longer than anything takes that is waited for here.
const PATIENCE: Duration = Duration::from_secs(60);
const BARE: &str = "reliability-bare";
const SPIN: &str = "reliability-spin";

/// Plays a part that has nothing to do with the runtime, if this process was started for one.
pub fn plain_part() -> Option<ExitCode> {
    let part = std::env::args().nth(1)?;
    let played = match &*part {
        BARE => answer(),
        SPIN => spin(),
        _ => return None,
    };
    Some(if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes a processor until whoever started it ends.
fn spin() -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    loop {
        std::hint::spin_loop();
    }
}

/// Answers every byte with one, on a tokio runtime like an actor's.
fn answer() -> std::io::Result<()> {
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut socket = tokio::net::UnixStream::from_std(socket)?;
        loop {
            let byte = socket.read_u8().await?;
            socket.write_u8(byte).await?;
        }
    })
}

/// A process that is killed when this is dropped.
pub struct Reaped(pub Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // What is dead already stays so.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A bare child that answers bytes, and the socket to it.
pub struct Bare {
    socket: UnixStream,
    _child: Reaped,
}

impl Bare {
    /// Starts one.
    pub fn start() -> Result<Bare> {
        let (socket, theirs) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        let child = command.arg(BARE).stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
        Ok(Bare { socket, _child: Reaped(child) })
    }

    /// A byte there and back.
    pub fn greet(&mut self) -> Result<()> {
        use std::io::Read;
        self.socket.write_all(&[1])?;
        Ok(self.socket.read_exact(&mut [0])?)
    }
}

/// So many processes that take a processor each, until they are dropped.
pub fn spinners(count: usize) -> Result<Vec<Reaped>> {
    let spinner = |_| Ok(Reaped(Command::new("/proc/self/exe").arg(SPIN).stdin(Stdio::null()).spawn()?));
    (0..count).map(spinner).collect()
}

/// A program with a system of its own, which plays `part`.
pub fn program(part: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--part", part]).stdin(Stdio::null());
    command
}

/// Plays a part that is a program with actors.
pub async fn play(sys: &System, part: &str) -> Result<()> {
    match part.split_once(':').unwrap_or((part, "")) {
        ("family", state) => family(sys, state).await,
        ("printer", result) => full_disk::printer(sys, result).await,
        ("visitor", name) => calls::visit(name).await,
        ("besieged", plant) => {
            let plant = match plant {
                "repeated" => Some(Plant::Repeated),
                "mistaken" => Some(Plant::Mistaken),
                _ => None,
            };
            city::stand(sys, NAME, plant).await
        }
        _ => Err(Error::new(format!("no such part: {part}"))),
    }
}

/// The processes of a program that is to be killed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Family {
    /// Of actors.
    pub actors: Vec<u32>,
    /// Started by actors.
    pub grandchildren: Vec<u32>,
}

/// Starts a program whose four actors are in this state, and waits until they are.
pub fn start_family(state: &str) -> Result<(Reaped, Family)> {
    let mut child = Reaped(program(&format!("family:{state}")).stdout(Stdio::piped()).spawn()?);
    let stdout: ChildStdout = child.0.stdout.take().ok_or_else(|| Error::new("it has no standard output"))?;
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
    Ok((child, serde_json::from_str(&line)?))
}

/// Four actors in a state; says their processes and waits to be killed.
async fn family(sys: &System, state: &str) -> Result<()> {
    let spec = || Spec::<Specimen>::new(Setup::default()).output(Output::Silent).hang_limit(None);
    let (mut grandchildren, mut specimens) = (Vec::new(), Vec::new());
    if state == "sending" {
        send_for_ever(sys).await?;
    } else {
        for _ in 0..4 {
            specimens.push(sys.spawn_with(spec()).await?);
        }
    }
    let actors: Vec<u32> = sys.list().await?.iter().filter_map(|info| info.pid).collect();
    let before = actors.iter().map(|&pid| machine::processor_time(pid)).collect::<Result<Vec<_>>>()?;
    for specimen in &specimens {
        match state {
            "looping" => specimen.tell(Commit(Fault::Loop)).await?,
            "stopped" => specimen.tell(Commit(Fault::StopSelf)).await?,
            "grandchild" => grandchildren.push(specimen.ask(Grandchild).await?),
            "idle" => {}
            other => return Err(Error::new(format!("no such state: {other}"))),
        }
    }
    let deadline = Instant::now() + PATIENCE;
    for (&pid, &before) in actors.iter().zip(&before) {
        while !is_in_state(pid, state, before)? {
            if Instant::now() > deadline {
                return Err(Error::new(format!("process {pid} is not {state}")));
            }
            tokio::task::yield_now().await;
        }
    }
    println!("{}", serde_json::to_string(&Family { actors, grandchildren })?);
    std::io::stdout().flush()?;
    std::future::pending().await
}

fn is_in_state(pid: u32, state: &str, before: Duration) -> Result<bool> {
    match state {
        "stopped" => Ok(std::fs::read_to_string(format!("/proc/{pid}/stat"))?.contains(") T ")),
        "looping" | "sending" => Ok(machine::processor_time(pid)? >= before + Duration::from_millis(20)),
        _ => Ok(true),
    }
}

async fn send_for_ever(sys: &System) -> Result<()> {
    let nowhere = || "/dev/null".to_owned();
    for sender in 0..2 {
        let listener = sys.spawn_with(Spec::<Listener>::new(nowhere()).output(Output::Silent)).await?;
        let setup = TalkerSetup { sender, to: vec![listener], journal: nowhere(), idempotent: false };
        let talker = sys.spawn_with(Spec::<Talker>::new(setup).output(Output::Silent)).await?;
        talker.tell(Burst(u32::MAX)).await?;
    }
    Ok(())
}

/// Sends a signal to a process that may be gone.
pub fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}
