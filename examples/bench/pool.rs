//! Functions on many items in two processes, beside threads, beside a bare loop over sockets, and beside Python.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use watertight::Pool;
use watertight::prelude::*;

use crate::Effort;
use crate::plain::{Plain, Role};
use crate::subjects::{Echo, Receiver, Sample, start};
use crate::table::{Bound, Row, at_percent, beside, largest, median, row_of_times, turns};

/// Items of the map of tiny tasks.
const TINY: u64 = 100_000;
/// Tasks of a millisecond.
const LONG: usize = 1_000;
/// Items in a chunk of the bare loop.
const CHUNK: usize = 6_250;
const WORKERS: usize = 2;

fn square(x: u64) -> u64 {
    x * x
}

/// Computes for so many microseconds of processor time, whoever else computes beside it.
fn compute(microseconds: u64) -> u64 {
    let now = || Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime));
    let limit = Duration::from_micros(microseconds);
    let Ok(begun) = now() else { return 0 };
    while now().is_ok_and(|now| now - begun < limit) {}
    microseconds
}

/// Measures.
pub async fn measure(sys: &System, effort: Effort) -> Result<Vec<Row>> {
    let pool = sys.pool(WORKERS).await?;
    let mut rows = tiny(&pool, effort).await?;
    rows.push(long(&pool, effort).await?);
    pool.join().await;
    rows.push(one(sys, effort).await?);
    rows.push(memory(sys, effort).await?);
    Ok(rows)
}

async fn tiny(pool: &Pool, effort: Effort) -> Result<Vec<Row>> {
    let mut bare = Bare::start()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..effort.of(41, 11) {
        for is_ours in turns(round, &[true, false]) {
            let begun = Instant::now();
            let squares = if is_ours { pool.map(square, 0..TINY).await? } else { bare.map()? };
            let took = begun.elapsed().as_secs_f64() * 1e3;
            if squares.last() != Some(&square(TINY - 1)) || squares.len() as u64 != TINY {
                return Err(watertight::Error::new("a map has left something out"));
            }
            if is_ours { &mut ours } else { &mut theirs }.push(took);
        }
    }
    let what = "map of 100,000 x*x on 2 workers";
    let mut row = row_of_times(what, "ms", &ours);
    row.beside = Some(beside("bare loop over sockets", &ours, &theirs));
    row.bound = Some(Bound::RatioAtMost(1.5));
    let mut rows = vec![row.clone()];
    match python(effort) {
        Ok(python) => {
            // A round of ours is no round of theirs: the medians are compared.
            let theirs = vec![median(&python); ours.len()];
            row.beside = Some(beside("Python's Pool.map", &ours, &theirs));
            row.bound = Some(Bound::RatioAtMost(0.125));
            rows.push(row);
        }
        Err(error) => eprintln!("Python is not measured: {error}"),
    }
    Ok(rows)
}

async fn long(pool: &Pool, effort: Effort) -> Result<Row> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build()?;
    let tasks = effort.of(LONG, LONG / 4);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..effort.of(7, 3) {
        for is_ours in turns(round, &[true, false]) {
            let begun = Instant::now();
            if is_ours {
                pool.map(compute, std::iter::repeat_n(1_000, tasks)).await?;
            } else {
                threads.install(|| (0..tasks).into_par_iter().map(|_| compute(1_000)).sum::<u64>());
            }
            if is_ours { &mut ours } else { &mut theirs }.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    let mut row = row_of_times(format!("{tasks} tasks of 1 ms on 2 workers"), "ms", &ours);
    row.beside = Some(beside("rayon on 2 threads", &ours, &theirs));
    row.bound = Some(Bound::RatioAtMost(1.05));
    Ok(row)
}

async fn one(sys: &System, effort: Effort) -> Result<Row> {
    let pool = sys.pool(1).await?;
    let receiver = start::<Receiver>(sys).await?;
    let (mut ours, mut theirs, mut worst) = (Vec::new(), Vec::new(), 0.0_f64);
    for round in 0..effort.of(15, 5) {
        for is_ours in turns(round, &[true, false]) {
            let mut times = Vec::new();
            for item in 0..effort.of(2_000, 500) {
                let begun = Instant::now();
                if is_ours {
                    pool.submit(square, item).await?;
                } else {
                    receiver.ask(Echo(Sample::new(1))).await?;
                }
                times.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            if is_ours {
                worst = worst.max(largest(&times));
                ours.push(median(&times));
            } else {
                theirs.push(median(&times));
            }
        }
    }
    sys.stop(&receiver).await?;
    pool.join().await;
    Ok(Row {
        what: "one task, submitted and awaited".into(),
        unit: "µs",
        median: median(&ours),
        p99: Some(at_percent(&ours, 99)),
        worst,
        beside: Some(beside("our own ask", &ours, &theirs)),
        bound: Some(Bound::RatioAtMost(1.5)),
    })
}

/// The memory of this process at the end of a long stream, beside what it was when a tenth of it had gone by.
async fn memory(sys: &System, effort: Effort) -> Result<Row> {
    let items: u64 = effort.of(10_000_000, 500_000);
    let pool = sys.pool(WORKERS).await?;
    let mut results = pool.map_unordered(square, 0..items);
    let (mut early, mut late, mut most, mut count) = (0.0, 0.0, 0.0_f64, 0);
    while let Some((_, result)) = results.next().await {
        result?;
        count += 1;
        if count % (items / 10) == 0 {
            late = resident()?;
            most = most.max(late);
            if count == items / 10 {
                early = late;
            }
        }
    }
    if count != items {
        return Err(watertight::Error::new("a stream has left something out"));
    }
    Ok(Row {
        what: format!("memory after map_unordered of {items} items"),
        unit: "MiB",
        median: late,
        p99: None,
        worst: most,
        beside: Some(beside("after a tenth of them", &[late], &[early])),
        bound: Some(Bound::RatioAtMost(1.05)),
    })
}

#[allow(clippy::cast_precision_loss)] // Memory in MiB.
fn resident() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok((pages * rustix::param::page_size() as u64) as f64 / f64::from(1 << 20))
}

/// What a map is at least: two processes that read chunks from sockets, and square what is in them.
struct Bare {
    workers: Vec<Plain>,
}

impl Bare {
    fn start() -> Result<Bare> {
        let workers = (0..WORKERS).map(|_| Plain::start(Role::Square)).collect::<Result<_>>()?;
        Ok(Bare { workers })
    }

    /// Keeps two chunks under way to each.
    fn map(&mut self) -> Result<Vec<u64>> {
        let mut squares = Vec::with_capacity(usize::try_from(TINY)?);
        let items: Vec<u64> = (0..TINY).collect();
        let mut chunks = items.chunks(CHUNK);
        let mut under_way = std::collections::VecDeque::new();
        for turn in 0..2 * WORKERS {
            let Some(chunk) = chunks.next() else { break };
            self.workers[turn % WORKERS].send_chunk(chunk)?;
            under_way.push_back(turn % WORKERS);
        }
        while let Some(worker) = under_way.pop_front() {
            self.workers[worker].take_chunk(&mut squares)?;
            if let Some(chunk) = chunks.next() {
                self.workers[worker].send_chunk(chunk)?;
                under_way.push_back(worker);
            }
        }
        Ok(squares)
    }
}

/// The same map by Python's own pool, in milliseconds a round.
fn python(effort: Effort) -> Result<Vec<f64>> {
    let program = format!(
        "import multiprocessing, time\n\
         def square(x): return x * x\n\
         if __name__ == '__main__':\n\
         \x20   with multiprocessing.Pool({WORKERS}) as pool:\n\
         \x20       pool.map(square, range(1000))\n\
         \x20       for _ in range({}):\n\
         \x20           begun = time.perf_counter()\n\
         \x20           pool.map(square, range({TINY}))\n\
         \x20           print((time.perf_counter() - begun) * 1e3)\n",
        effort.of(11, 5)
    );
    let output = Command::new("python3").args(["-c", &program]).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(watertight::Error::new(String::from_utf8_lossy(&output.stderr).trim()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| Ok(line.trim().parse::<f64>()?)).collect()
}
