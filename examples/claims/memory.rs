//! The third claim: memory is limited task by task, and given back.

use watertight::Output;
use watertight::prelude::*;

use crate::Effort;
use crate::row::{Claim, Row};
use crate::threads::{self, Role};
use crate::work::{self, Deed};

/// What each worker may have, and so many times that for all threads together.
const LIMIT: u64 = 128 << 20;
/// Tasks, of which one takes all that it gets.
const TASKS: usize = 20;
const GREEDY: usize = 7;
const MIB: f64 = (1 << 20) as f64;

/// Measures.
pub async fn measure(sys: &System, effort: Effort) -> Result<Vec<Row>> {
    let mut rows = vec![limited(sys, effort).await?];
    for keep in [false, true] {
        rows.push(given_back(sys, effort, keep).await?);
    }
    Ok(rows)
}

async fn limited(sys: &System, effort: Effort) -> Result<Row> {
    let good = Deed::Crunch(effort.turns);
    let deeds: Vec<Deed> = (0..TASKS).map(|n| if n == GREEDY { Deed::Devour } else { good }).collect();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..effort.of(5, 1) {
        let pool = sys.pool(effort.many).memory(LIMIT).output(Output::Silent).await?;
        let outcomes = pool.map_each(work::act, deeds.clone()).await;
        pool.join().await;
        ours.push(outcomes.iter().filter(|outcome| outcome.is_ok()).count() as f64);
        let memory = Some(LIMIT * effort.many as u64);
        let role = Role::Deeds { threads: effort.many, deeds: deeds.clone(), memory, core: false };
        theirs.push(threads::run(&role)?.lines.len() as f64);
    }
    let what = format!("results of {TASKS} tasks, of which one takes all memory");
    let row = Row::of_rounds(Claim::Resources, what, "results", &ours, &theirs);
    Ok(row.more_is_better().without_ratio())
}

/// How much larger the program is after tasks that have filled the heap, when the workers or threads have ended.
async fn given_back(sys: &System, effort: Effort, keep: bool) -> Result<Row> {
    let deeds = vec![Deed::Heap { keep }; effort.of(8, 2)];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..effort.of(3, 1) {
        let before = work::resident();
        let pool = sys.pool(effort.many).await?;
        pool.map(work::act, deeds.clone()).chunk(1).await?;
        pool.join().await;
        drop(pool);
        ours.push((work::resident() - before).max(0.0) / MIB);
        theirs.push(threads::number(&Role::Growth { threads: effort.many, deeds: deeds.clone() })? / MIB);
    }
    let kept = if keep { format!("1 in {} kept", work::KEPT) } else { "all freed".into() };
    let what = format!("left of {} x 64 MiB in small blocks, {kept}", deeds.len());
    Ok(Row::of_rounds(Claim::Resources, what, "MiB", &ours, &theirs).without_ratio())
}
