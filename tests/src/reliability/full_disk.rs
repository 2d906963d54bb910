//! Disks that are full: what actors write to, what the supervisor writes to, and what it prints to.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use watertight::error::SystemError;
use watertight::prelude::*;
use watertight::{Event, Output, SpawnError};

use super::parts::program;
use super::{Effort, Score, progress};
use crate::Specimen;
use crate::specimen::{Add, Number, Setup};

const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(sys: &System, effort: Effort, score: &mut Score) -> Result<()> {
    let rounds = effort.of(100, 5);
    let mut events = sys.events().await?;
    full_device(sys, rounds, score).await?;
    prints_to_a_full_disk(rounds, score)?;
    let place = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let place = place.ok_or_else(|| Error::new("XDG_RUNTIME_DIR is not set: run this by its program"))?;
    match Tiny::mount(&place) {
        Ok(tiny) => full_file_system(sys, &tiny, rounds, score).await?,
        Err(error) => {
            progress(&format!("SKIPPED: a file system of its own, which only root may mount: {error}"));
            score.figure("a full file system", "SKIPPED: it could not be mounted");
        }
    }
    let mut deaths = 0;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(1), events.next()).await {
        deaths += u64::from(
            matches!(event, Event::Exited(report) if report.incarnation.0 > 0 && !report.exit.is_normal() && report.name != "late"),
        );
    }
    score.zero("actors that died of it", deaths, rounds);
    Ok(())
}

fn spec(journal: &Path) -> Spec<Specimen> {
    let journal = Some(journal.display().to_string());
    Spec::new(Setup { journal, ..Setup::default() }).output(Output::Silent)
}

/// An actor whose every write fails: each is an answer, and it stays what it was.
async fn full_device(sys: &System, rounds: u64, score: &mut Score) -> Result<()> {
    let actor = sys.spawn_with(spec(Path::new("/dev/full"))).await?;
    let (mut untold, mut unwell) = (0, 0);
    for number in 1..=rounds {
        untold += u64::from(!is_refused(actor.ask(Number { sender: 1, number }).deadline(PATIENCE).await));
        unwell += u64::from(actor.ask(Add(1)).deadline(PATIENCE).await.is_err());
    }
    score.zero("writes to a full device whose failure was not the answer", untold, rounds);
    score.zero("messages behind those that were not handled", unwell, rounds);
    Ok(sys.stop(&actor).await?)
}

/// Whether an answer is the handler's error for a full disk.
fn is_refused(answer: Result<u64, AskError>) -> bool {
    matches!(answer, Err(AskError::Failed(error)) if error.to_string().contains("No space left"))
}

/// A program whose standard output and error are on a full disk, and whose actors print and crash.
fn prints_to_a_full_disk(rounds: u64, score: &mut Score) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let result = folder.path().join("result");
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").map(Stdio::from);
    let mut command = program(&format!("printer:{rounds}:{}", result.display()));
    let status = command.env("RUST_LOG", "debug").stdout(full()?).stderr(full()?).status()?;
    let said = std::fs::read_to_string(&result).unwrap_or_default();
    score.zero("ends of a program that could not print", u64::from(!status.success()), 1);
    score.same("its actors' answers, all the same", rounds, said.parse().unwrap_or(0));
    Ok(())
}

/// Prints so many lines to both outputs.
struct Loud;

#[message]
struct Print(u32);

impl Actor for Loud {
    type Args = ();
    type Messages = (Print,);

    async fn start((): (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Loud)
    }
}

impl Handler<Print> for Loud {
    async fn handle(&mut self, Print(lines): Print, _: &mut Context<Self>) -> Result<()> {
        for nth in 0..lines {
            println!("line {nth}");
            eprintln!("line {nth}");
        }
        Ok(())
    }
}

/// The part of that program: `ROUNDS:FILE`, into which it writes how many answers it got.
pub async fn printer(sys: &System, part: &str) -> Result<()> {
    let (rounds, result) = part.split_once(':').ok_or_else(|| Error::new("printer:ROUNDS:FILE"))?;
    let mut answers = 0;
    let spec = || Spec::<Loud>::new(()).backoff(Backoff::NONE).intensity(u32::MAX, PATIENCE);
    let labelled = sys.spawn_with(spec()).await?;
    let plain = sys.spawn_with(spec().output(Output::Plain)).await?;
    for nth in 0..rounds.parse::<u64>()? {
        let (one, other) = if nth % 2 == 0 { (&labelled, &plain) } else { (&plain, &labelled) };
        one.ask(Print(200)).deadline(PATIENCE).await?;
        // Its report goes to the log, which is on the same disk.
        sys.kill(other).await?;
        answers += 1;
    }
    Ok(std::fs::write(result, answers.to_string())?)
}

/// A file system of 64 KiB and few files; gone when dropped.
struct Tiny(PathBuf);

impl Tiny {
    fn mount(at: &Path) -> Result<Tiny> {
        let options = ["-t", "tmpfs", "-o", "size=64k,nr_inodes=24,mode=700", "watertight-tests"];
        let mount = Command::new("mount").args(options).arg(at).output()?;
        if !mount.status.success() {
            return Err(Error::new(String::from_utf8_lossy(&mount.stderr).trim()));
        }
        Ok(Tiny(at.to_owned()))
    }

    /// Fills it up, first with bytes and then with files.
    fn fill(&self, with_files: bool) -> Result<()> {
        let mut file = std::fs::File::create(self.0.join("filling"))?;
        while file.write_all(&[7; 1024]).is_ok() {}
        if with_files {
            let mut nth = 0;
            while std::fs::File::create(self.0.join(format!("filling-{nth}"))).is_ok() {
                nth += 1;
            }
        }
        Ok(())
    }

    /// Makes room again: only the journal stays, and is empty.
    fn empty(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            } else if path.file_name().is_some_and(|name| name == "journal") {
                std::fs::OpenOptions::new().write(true).open(path)?.set_len(0)?;
            } else {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there keeps it.
        if !Command::new("umount").arg("-l").arg(&self.0).status().is_ok_and(|status| status.success()) {
            progress(&format!("{} stays mounted", self.0.display()));
        }
    }
}

/// A file system on which actors write and the supervisor is to listen, filled and emptied again and again.
async fn full_file_system(sys: &System, tiny: &Tiny, rounds: u64, score: &mut Score) -> Result<()> {
    let actor = sys.spawn_with(spec(&tiny.0.join("journal"))).await?;
    let (mut untold, mut unwell, mut listened, mut started) = (0, 0, 0, 0);
    let mut said = String::new();
    for round in 1..=rounds {
        tiny.fill(round % 2 == 0)?;
        // A line fits perhaps into what is left of the last page; a thousand do not.
        let mut refused = false;
        for number in 0..1000 {
            refused |= is_refused(actor.ask(Number { sender: 1, number }).deadline(PATIENCE).await);
        }
        untold += u64::from(!refused);
        match sys.listen(&format!("full-{round}")).await {
            Err(SystemError::Listen(words)) => said = words,
            _ => listened += 1,
        }
        if round % 2 == 0 {
            let late = spec(&tiny.0.join(format!("late-{round}"))).name("late").restart(Restart::Temporary);
            started += u64::from(!matches!(sys.spawn_with(late).await, Err(SpawnError::Start(_))));
        }
        tiny.empty()?;
        let answer = actor.ask(Number { sender: 1, number: round }).deadline(PATIENCE).await;
        unwell += u64::from(answer.ok() != Some(round));
    }
    score.zero("full disks of which its actor was not told", untold, rounds);
    score.zero("full disks on which the supervisor seemed to listen", listened, rounds);
    score.zero("starts that needed a file and were no failed start", started, rounds / 2);
    score.zero("disks emptied again on which the actor could not write", unwell, rounds);
    let listens = sys.listen("free-again").await;
    score.zero("refusals to listen when there was room again", u64::from(listens.is_err()), 1);
    score.figure("what the supervisor says of a full disk", said.replace(&tiny.0.display().to_string(), "…"));
    Ok(sys.stop(&actor).await?)
}
