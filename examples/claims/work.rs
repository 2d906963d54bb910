//! The tasks, the same for processes and for threads.

// One of them follows a null pointer: that is what the claim of stability is about.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What a task does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Deed {
    /// It computes, so many turns.
    Crunch(u64),
    /// It complains and segfaults.
    Segfault,
    /// It takes memory until there is none.
    Devour,
    /// It fills the heap with small blocks and frees them.
    Heap {
        /// All but one in [`KEPT`], which it leaves behind, as caches and leaks do.
        keep: bool,
    },
}

/// Of so many small blocks one is kept: about one in every fourth page, so that no large stretch becomes free.
pub const KEPT: usize = 16;
/// What a task does with the heap: so many blocks of this size, 64 MiB in all.
const BLOCKS: usize = 1 << 16;
const BLOCK: usize = 1 << 10;

/// What stands before the time in what a task says before it crashes.
pub const CLOCK: &str = "the clock says ";

/// A clock that all processes have in common, in nanoseconds.
pub fn clock() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Does it.
pub fn act(deed: Deed) -> u64 {
    match deed {
        Deed::Crunch(turns) => crunch(turns),
        Deed::Segfault => {
            let now = clock();
            eprintln!("{CLOCK}{now}\nlibpicture: chunk 0x2a is longer than the file");
            // SAFETY: not safe at all; that is the fault.
            unsafe { std::ptr::null_mut::<u64>().write_volatile(7) };
            0
        }
        Deed::Devour => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                // Memory counts against the limit when it is given out; writing to it would only take time.
                hoard.push(black_box(Vec::with_capacity(1 << 20)));
            }
        }
        Deed::Heap { keep } => heap(keep),
    }
}

/// Computes so many turns.
pub fn crunch(turns: u64) -> u64 {
    (0..turns).fold(black_box(0x9e37_79b9_7f4a_7c15), |x, turn| (x ^ (x << 13) ^ turn).rotate_left(7))
}

/// So many turns take so long here: the fastest of some attempts, because nothing makes a computer too fast.
pub fn turns_in(time: Duration) -> u64 {
    const TRIED: u64 = 200_000;
    let attempt = |_| {
        let began = Instant::now();
        black_box(crunch(black_box(TRIED)));
        began.elapsed()
    };
    let fastest = (0..9).map(attempt).min().unwrap_or_default().as_nanos().max(1);
    u64::try_from(u128::from(TRIED) * time.as_nanos() / fastest).unwrap_or(TRIED).max(1)
}

fn heap(keep: bool) -> u64 {
    static LEFT_BEHIND: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());
    let blocks: Vec<Box<[u8]>> = (0..BLOCKS).map(|_| vec![7; BLOCK].into_boxed_slice()).collect();
    if keep && let Ok(mut left) = LEFT_BEHIND.lock() {
        left.extend(blocks.into_iter().step_by(KEPT));
    }
    0
}

/// Memory of this process that is in the machine's, in bytes.
pub fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0.0);
    pages * rustix::param::page_size() as f64
}

/// The same, with what it shares with other processes divided among them, in bytes; `None` if it is not told.
pub fn share() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kibibytes| kibibytes * 1024.0)
}
