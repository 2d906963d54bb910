//! The fourth claim: a crash is explained, and one may look at one without stopping the others.
//!
//! The same bug twice: a task of many segfaults. A worker leaves a crash report, the program with threads a core file,
//! which a debugger reads. A core has more in it (all memory, all threads), a report is there at once and names the task.

use watertight::pool::TaskError;
use watertight::prelude::*;
use watertight::{CrashReport, Output};

use crate::Effort;
use crate::debugger::{self, Core, Told};
use crate::row::{Claim, Row};
use crate::threads::{self, Ended, Role};
use crate::work::{self, Deed};

/// Tasks, of which one segfaults.
const TASKS: usize = 100;
const BAD: usize = 37;

/// Something that one may want to know of a crash, and what is known of it.
pub struct Fact {
    pub what: &'static str,
    pub processes: Option<String>,
    pub threads: Option<String>,
}

/// What a pool tells of the task that segfaults.
struct Reported {
    task: u64,
    report: Box<CrashReport>,
    /// As one would log it.
    text: String,
    /// From the crash to that, in milliseconds.
    milliseconds: f64,
    /// Tasks that came to their end.
    done: usize,
}

/// What is left of a program one of whose threads has done the same.
struct Left {
    ended: Ended,
    core: std::result::Result<Core, String>,
    /// What a debugger told of it.
    told: std::result::Result<Told, String>,
    /// From the crash to that, in milliseconds, and how much of it until the core was written.
    milliseconds: [f64; 2],
}

/// Measures.
pub async fn measure(sys: &System, effort: Effort) -> Result<(Vec<Row>, Vec<Fact>)> {
    let good = Deed::Crunch(effort.turns);
    let deeds: Vec<Deed> = (0..TASKS).map(|n| if n == BAD { Deed::Segfault } else { good }).collect();
    let (mut times, mut sizes, mut facts) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()], Vec::new());
    let mut notes = [None, None];
    for _ in 0..effort.of(3, 1) {
        let reported = reported(sys, effort, &deeds).await?;
        times[0].push(reported.milliseconds);
        sizes[0].push(reported.text.len() as f64 / 1024.0);
        let left = left(effort, &deeds)?;
        match &left.told {
            Ok(_) => times[1].push(left.milliseconds[0]),
            Err(why) => notes[0] = Some(why.clone()),
        }
        match &left.core {
            Ok(core) => sizes[1].push(core.on_disk as f64 / 1024.0),
            Err(why) => notes[1] = Some(why.clone()),
        }
        facts = all_facts(&deeds, &reported, &left);
    }
    let known = |of: fn(&Fact) -> bool| facts.iter().filter(|fact| of(fact)).count() as f64;
    let known = [known(|fact| fact.processes.is_some()), known(|fact| fact.threads.is_some())];
    let row = |what: &str, unit, [ours, theirs]: &[Vec<f64>; 2]| {
        Row::of_rounds(Claim::Debugging, what, unit, ours, theirs)
    };
    let [no_stacks, no_core] = notes;
    let what = format!("of {} questions after a crash, answered", facts.len());
    let answered = Row::of_rounds(Claim::Debugging, what, "answers", &known[..1], &known[1..]);
    let rows = vec![
        row("from a crash to its report, or the stacks of its core", "ms", &times).note(no_stacks),
        row("kept of a crash, as text or as a core file", "KiB", &sizes).note(no_core),
        answered.more_is_better().without_ratio(),
    ];
    Ok((rows, facts))
}

async fn reported(sys: &System, effort: Effort, deeds: &[Deed]) -> Result<Reported> {
    let pool = sys.pool(effort.many).output(Output::Silent).await?;
    let mut results = pool.map_unordered(work::act, deeds.to_vec());
    let (mut found, mut done) = (None, 0);
    while let Some((task, outcome)) = results.next().await {
        match outcome {
            Ok(_) => done += 1,
            Err(TaskError::Died { report, .. }) => {
                let said = report.stderr.join("\n  ");
                let text = format!("task {task}, {}: {report}\n  {said}\n", deed(deeds, task));
                let milliseconds = since_crash(report.stderr.iter().map(String::as_str));
                found = Some((task, report, text, milliseconds));
            }
            Err(error) => return Err(error.into()),
        }
    }
    pool.join().await;
    let none = || Error::new("nothing died, although a task followed a null pointer");
    let (task, report, text, milliseconds) = found.ok_or_else(none)?;
    let milliseconds =
        milliseconds.ok_or_else(|| Error::new("the crash report has lost what the task said"))?;
    Ok(Reported { task, report, text, milliseconds, done })
}

/// What the task was given: whoever has made the items still has them.
fn deed(deeds: &[Deed], task: u64) -> String {
    let deed = usize::try_from(task).ok().and_then(|task| deeds.get(task));
    deed.map_or_else(|| "nobody knows what".into(), |deed| format!("{deed:?}"))
}

/// By the clock that the task has told before it crashed.
fn since_crash<'a>(mut said: impl Iterator<Item = &'a str>) -> Option<f64> {
    let crashed: u64 = said.find_map(|line| line.strip_prefix(work::CLOCK)?.parse().ok())?;
    Some(work::clock().saturating_sub(crashed) as f64 / 1e6)
}

fn left(effort: Effort, deeds: &[Deed]) -> Result<Left> {
    let folder = tempfile::tempdir()?;
    let role = Role::Deeds { threads: effort.many, deeds: deeds.to_vec(), memory: None, core: true };
    let ended = threads::run_in(folder.path(), &role)?;
    let until_core = since_crash(ended.stderr.lines());
    let until_core = until_core.ok_or_else(|| Error::new("a program with threads did not crash"))?;
    let core = debugger::cores_can_be_had().and_then(|()| debugger::core_in(folder.path()));
    let told = core.as_ref().map_err(Clone::clone).and_then(|core| debugger::read_core(&core.path));
    let reading = told.as_ref().map_or(0.0, |told| told.took.as_secs_f64() * 1e3);
    Ok(Left { ended, core, told, milliseconds: [until_core + reading, until_core] })
}

/// Questions that one asks after a crash; a core answers some that a report does not.
fn all_facts(deeds: &[Deed], ours: &Reported, theirs: &Left) -> Vec<Fact> {
    let fact = |what, processes, threads| Fact { what, processes, threads };
    let (report, told) = (&ours.report, theirs.told.as_ref().ok());
    let core = theirs.core.as_ref().ok();
    let last = |said: &str| said.lines().last().map(str::to_owned);
    let usage =
        format!("{:.1?} alive, {:.1?} of processor time, {}", report.uptime, report.usage.user, peak(report));
    let others = deeds.len() - 1;
    let written = theirs.ended.lines.len();
    vec![
        fact("how it died", Some(report.exit.to_string()), Some(theirs.ended.status.to_string())),
        fact(
            "which task did it",
            Some(format!("task {}", ours.task)),
            told.and_then(|told| Some(format!("task {}, by a variable", told.number.as_ref()?))),
        ),
        fact("what that was given", Some(deed(deeds, ours.task)), told.and_then(|told| told.deed.clone())),
        fact("in which line", line_of(report), told.and_then(|told| told.place.clone())),
        fact(
            "its last words",
            report.stderr.last().cloned(),
            last(&theirs.ended.stderr).map(|line| format!("{line} (of which thread?)")),
        ),
        fact("what it had used", Some(usage), None),
        fact("what its variables were", None, core.map(memory)),
        fact(
            "what the others did then",
            None,
            told.map(|told| format!("stacks of {} threads", told.threads)),
        ),
        fact(
            "what came of the others",
            Some(format!("{} of {others} done", ours.done)),
            Some(format!("{written} of {others} written out before, the rest died")),
        ),
    ]
}

/// A report has a line for a panic or a hang; of a signal it has none.
fn line_of(report: &CrashReport) -> Option<String> {
    let of_panic = report.panic.as_ref().map(|panic| panic.location.clone());
    of_panic.or_else(|| report.stack.as_ref()?.lines().next().map(|line| line.trim().to_owned()))
}

fn memory(core: &Core) -> String {
    format!("in {:.1} MiB of memory", core.length as f64 / (1 << 20) as f64)
}

fn peak(report: &CrashReport) -> String {
    let bound = if report.usage.peak_memory_is_upper_bound { "at most " } else { "" };
    format!("{bound}{:.1} MiB", report.usage.peak_memory_bytes as f64 / (1 << 20) as f64)
}
