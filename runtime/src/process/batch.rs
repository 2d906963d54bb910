//! A process that computes for others, and lets them go on while it is given something to do.
//!
//! Linux lets a process that was asleep interrupt whoever wakes it, so that what is short is answered soon. A worker of a
//! pool is woken by the one who is about to give work to the next worker as well: interrupted, that one waits for the whole
//! chunk, and the other processors with it. As batch work (`sched(7)`) a worker starts on a processor that is free, or when
//! the one that is not becomes so. Elsewhere nothing is done: it costs time and nothing else.
#![allow(unsafe_code)] // No crate that is here already sets the way in which a thread is scheduled.

use std::io;

/// Makes the calling thread batch work.
///
/// # Errors
/// When a sandbox does not allow it.
pub fn be_batch_work() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let parameter = libc::sched_param { sched_priority: 0 };
        // SAFETY: it reads the parameter, which lives as long as the call, and changes how this thread is scheduled.
        if unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameter) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn batch_work_is_what_the_kernel_calls_it() {
        let policy = || {
            let text = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // The 41st field, counted from behind the name, which may hold anything.
            text.rsplit(')').next().unwrap().split_whitespace().nth(38).unwrap().parse::<i32>().unwrap()
        };
        std::thread::spawn(move || {
            assert_eq!(policy(), libc::SCHED_OTHER);
            be_batch_work().unwrap();
            assert_eq!(policy(), libc::SCHED_BATCH);
        })
        .join()
        .unwrap();
    }
}
