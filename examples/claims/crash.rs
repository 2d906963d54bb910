//! The second claim and the fourth: a crash costs one task, and is explained.

use watertight::pool::TaskError;
use watertight::prelude::*;
use watertight::{CrashReport, Output};

use crate::Effort;
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

/// Measures.
pub async fn measure(sys: &System, effort: Effort) -> Result<(Vec<Row>, Vec<Fact>)> {
    let good = Deed::Crunch(effort.turns);
    let deeds: Vec<Deed> = (0..TASKS).map(|n| if n == BAD { Deed::Segfault } else { good }).collect();
    let (mut ours, mut theirs, mut facts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.of(5, 2) {
        let pool = sys.pool(effort.many).output(Output::Silent).await?;
        let outcomes = pool.map_each(work::act, deeds.clone()).await;
        pool.join().await;
        ours.push(outcomes.iter().filter(|outcome| outcome.is_ok()).count() as f64);

        let role = Role::Deeds { threads: effort.many, deeds: deeds.clone(), memory: None };
        let ended = threads::run(&role)?;
        theirs.push(ended.lines.len() as f64);
        let failed = outcomes.into_iter().enumerate();
        let failed = failed
            .filter_map(|(n, outcome)| Some((n, outcome.err()?)))
            .next()
            .ok_or_else(|| Error::new("nothing failed, although a task followed a null pointer"))?;
        facts = all_facts(&failed, &ended);
    }
    let known = |of: fn(&Fact) -> bool| facts.iter().filter(|fact| of(fact)).count() as f64;
    let known = [known(|fact| fact.processes.is_some()), known(|fact| fact.threads.is_some())];
    let what = format!("results of {TASKS} tasks, of which one segfaults");
    let survived = Row::of_rounds(Claim::Stability, what, "results", &ours, &theirs);
    let what = format!("of {} questions after a crash, answered", facts.len());
    let explained = Row::of_rounds(Claim::Debugging, what, "answers", &known[..1], &known[1..]);
    Ok(([survived, explained].map(|row| row.more_is_better().without_ratio()).into(), facts))
}

/// What is known of the task that failed, and of the process whose thread did the same.
fn all_facts((task, error): &(usize, TaskError), ended: &Ended) -> Vec<Fact> {
    let report = error.report();
    let of = |tell: fn(&CrashReport) -> String| report.map(tell);
    let fact = |what, processes, threads| Fact { what, processes, threads };
    let said = ended.stderr.lines().last().map(|line| format!("{line} (of which thread?)"));
    vec![
        fact("how it died", of(|report| report.exit.to_string()), Some(ended.status.to_string())),
        fact("which task did it", Some(format!("task {task}")), None),
        fact("its last words", of(|report| report.stderr.join(" / ")), said),
        fact("which process it was", of(|report| format!("pid {}", report.pid)), None),
        fact("how long that lived", of(|report| format!("{:.1?}", report.uptime)), None),
        fact("its processor time", of(|report| format!("{:.1?}", report.usage.user)), None),
        fact("its peak of memory", of(peak), None),
    ]
}

fn peak(report: &CrashReport) -> String {
    let bound = if report.usage.peak_memory_is_upper_bound { "at most " } else { "" };
    format!("{bound}{:.1} MiB", report.usage.peak_memory_bytes as f64 / (1 << 20) as f64)
}
