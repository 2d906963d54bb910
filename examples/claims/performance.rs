//! The first claim: work that computes runs on all cores.

use std::time::Instant;

use watertight::prelude::*;

use crate::row::{Claim, Row};
use crate::{Effort, threads, work};

/// Measures how many times as fast as one thread they are, on 1, 2 and all cores.
pub async fn measure(sys: &System, effort: Effort) -> Result<Vec<Row>> {
    let tasks = effort.of(400, 100);
    let items = vec![effort.turns; tasks];
    let mut sizes = vec![1, 2, effort.many];
    sizes.dedup();
    let mut rows = Vec::new();
    for size in sizes {
        let pool = sys.pool(size).await?;
        let (mut processes, mut by_threads) = (Vec::new(), Vec::new());
        for _ in 0..effort.of(7, 2) {
            let began = Instant::now();
            let expected: u64 = items.iter().map(|turns| work::crunch(*turns) & 0xff).sum();
            let alone = began.elapsed().as_secs_f64();

            let began = Instant::now();
            let made = pool.map(work::crunch, items.clone()).await?;
            processes.push(alone / began.elapsed().as_secs_f64());

            let began = Instant::now();
            let also = threads::map(size, &items, |turns| work::crunch(*turns));
            by_threads.push(alone / began.elapsed().as_secs_f64());

            for made in [made, also] {
                if made.iter().map(|result| result & 0xff).sum::<u64>() != expected {
                    return Err(Error::new("the results differ"));
                }
            }
        }
        pool.join().await;
        let what = format!("speed of {tasks} tasks on {size}, against 1 thread");
        let row = Row::of_rounds(Claim::Performance, what, "x", &processes, &by_threads);
        rows.push(row.more_is_better());
    }
    Ok(rows)
}
