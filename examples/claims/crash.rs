//! The second claim: a crash costs one task.

use watertight::Output;
use watertight::prelude::*;

use crate::Effort;
use crate::row::{Claim, Row};
use crate::threads::{self, Role};
use crate::work::{self, Deed};

/// Tasks, of which one segfaults.
const TASKS: usize = 100;
const BAD: usize = 37;

/// Measures.
pub async fn measure(sys: &System, effort: Effort) -> Result<Row> {
    let good = Deed::Crunch(effort.turns);
    let deeds: Vec<Deed> = (0..TASKS).map(|n| if n == BAD { Deed::Segfault } else { good }).collect();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..effort.of(5, 2) {
        let pool = sys.pool(effort.many).output(Output::Silent).await?;
        let outcomes = pool.map_each(work::act, deeds.clone()).await;
        pool.join().await;
        ours.push(outcomes.iter().filter(|outcome| outcome.is_ok()).count() as f64);

        let role = Role::Deeds { threads: effort.many, deeds: deeds.clone(), memory: None, core: false };
        theirs.push(threads::run(&role)?.lines.len() as f64);
    }
    let what = format!("results of {TASKS} tasks, of which one segfaults");
    let survived = Row::of_rounds(Claim::Stability, what, "results", &ours, &theirs);
    Ok(survived.more_is_better().without_ratio())
}
