//! What the claims cost: here threads are ahead, and stay there.

use std::sync::mpsc;
use std::time::Instant;

use watertight::prelude::*;

use crate::row::{Claim, Row, median};
use crate::threads::{self, Role};
use crate::{Effort, work};

/// The argument that is moved.
const LARGE: usize = 4 << 20;

/// Measures.
pub async fn measure(sys: &System, effort: Effort) -> Result<Vec<Row>> {
    let mut rows = vec![start(sys, effort).await?];
    rows.extend(idle(sys, effort).await?);
    rows.push(latency(sys, effort).await?);
    rows.push(tiny(sys, effort).await?);
    rows.push(large(sys, effort).await?);
    Ok(rows)
}

fn microseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e6
}

async fn start(sys: &System, effort: Effort) -> Result<Row> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..effort.of(50, 10) {
        let began = Instant::now();
        let pool = sys.pool(1).await?;
        pool.submit(|()| (), ()).await?;
        ours.push(microseconds(began));
        pool.join().await;
        let began = Instant::now();
        std::thread::scope(|scope| scope.spawn(|| ()).join().is_ok());
        theirs.push(microseconds(began));
    }
    Ok(Row::of_rounds(Claim::Costs, "start, to the first result", "\u{b5}s", &ours, &theirs))
}

/// `None` where the kernel does not tell what a process shares.
async fn idle(sys: &System, effort: Effort) -> Result<Option<Row>> {
    let count = effort.of(16, 4);
    let pool = sys.pool(count).await?;
    let told = pool.map(|()| work::share(), vec![(); 8 * count]).chunk(1).await?;
    pool.join().await;
    let Some(told) = told.into_iter().collect::<Option<Vec<f64>>>() else {
        eprintln!("memory of workers: /proc/self/smaps_rollup is not there to be read");
        return Ok(None);
    };
    let of_a_thread = threads::number(&Role::Idle { threads: 16 * count })? / 1024.0;
    let what = format!("memory of an idle one, of {count}");
    let ours = median(&told) / 1024.0;
    Ok(Some(Row::of_rounds(Claim::Costs, what, "KiB", &[ours], &[of_a_thread])))
}

async fn latency(sys: &System, effort: Effort) -> Result<Row> {
    let pool = sys.pool(1).await?;
    let (to, taken) = mpsc::channel::<u64>();
    let (give, given) = mpsc::channel::<u64>();
    let thread = std::thread::spawn(move || {
        // It ends with the channel.
        taken.into_iter().try_for_each(|x| give.send(x + 1))
    });
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..effort.of(2_000, 200) {
        let began = Instant::now();
        pool.submit(|x: u64| x + 1, n).await?;
        ours.push(microseconds(began));
        let began = Instant::now();
        to.send(n)?;
        given.recv()?;
        theirs.push(microseconds(began));
    }
    drop(to);
    let ended = thread.join();
    pool.join().await;
    ended.map_err(|_| Error::new("the thread panicked"))??;
    Ok(Row::of_rounds(Claim::Costs, "a task and its result, one at a time", "\u{b5}s", &ours, &theirs))
}

async fn tiny(sys: &System, effort: Effort) -> Result<Row> {
    let tasks: u64 = effort.of(200_000, 10_000);
    let items: Vec<u64> = (0..tasks).collect();
    let pool = sys.pool(effort.many).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..effort.of(5, 2) {
        let began = Instant::now();
        pool.map(|x: u64| x + 1, items.clone()).await?;
        ours.push(microseconds(began) * 1e3 / tasks as f64);
        let began = Instant::now();
        threads::map(effort.many, &items, |x| x + 1);
        theirs.push(microseconds(began) * 1e3 / tasks as f64);
    }
    pool.join().await;
    Ok(Row::of_rounds(Claim::Costs, "a task of nothing, among many", "ns", &ours, &theirs))
}

async fn large(sys: &System, effort: Effort) -> Result<Row> {
    let pool = sys.pool(1).await?;
    let (to, taken) = mpsc::channel::<Vec<u8>>();
    let (give, given) = mpsc::channel::<usize>();
    let thread = std::thread::spawn(move || taken.into_iter().try_for_each(|bytes| give.send(bytes.len())));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..effort.of(30, 3) {
        let bytes = vec![7; LARGE];
        let began = Instant::now();
        pool.submit(|bytes: Vec<u8>| bytes.len(), bytes).await?;
        ours.push(microseconds(began));
        let bytes = vec![7; LARGE];
        let began = Instant::now();
        to.send(bytes)?;
        given.recv()?;
        theirs.push(microseconds(began));
    }
    drop(to);
    let ended = thread.join();
    pool.join().await;
    ended.map_err(|_| Error::new("the thread panicked"))??;
    let what = format!("a task with a Vec<u8> of {} MiB", LARGE >> 20);
    Ok(Row::of_rounds(Claim::Costs, what, "\u{b5}s", &ours, &theirs))
}
