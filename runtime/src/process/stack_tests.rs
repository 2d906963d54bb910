use std::sync::mpsc;
use std::thread;

use super::*;

/// For what takes milliseconds.
const WATCHDOG: Duration = Duration::from_secs(30);

/// Starts a thread that says who it is and then runs `hang` for ever.
fn hanging(hang: fn()) -> Watched {
    let (sender, watched) = mpsc::channel();
    thread::spawn(move || {
        sender.send(Watched::this_thread().unwrap()).unwrap();
        hang();
    });
    watched.recv_timeout(WATCHDOG).unwrap()
}

/// What the thread does once it does what it is to do: it has just been started.
fn seen(watched: Watched, function: &str) -> String {
    let end = Instant::now() + WATCHDOG;
    loop {
        let text = watched.dump(WATCHDOG).expect("a stack").describe(16 << 10);
        if text.contains(function) {
            return text;
        }
        assert!(Instant::now() < end, "{function} is not in\n{text}");
    }
}

#[inline(never)]
fn turns_in_circles() {
    loop {
        std::hint::spin_loop();
    }
}

#[inline(never)]
fn locks_itself_out() {
    let lock = Mutex::new(());
    let first = lock.lock();
    let second = lock.lock();
    drop((first, second));
}

#[inline(never)]
fn reads_what_never_comes() {
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    while let Err(rustix::io::Errno::INTR) = rustix::io::read(&reader, &mut [0; 1]) {
        INTERRUPTED_READS.fetch_add(1, Ordering::Relaxed);
    }
}

static INTERRUPTED_READS: AtomicU32 = AtomicU32::new(0);

#[inline(never)]
fn sleeps_for_ever() {
    thread::sleep(Duration::MAX);
    // Else the call above is the last thing it does, and need not come back to it.
    std::hint::black_box(());
}

#[test]
fn a_loop_is_seen_where_it_is_and_without_the_handler_above_it() {
    let text = seen(hanging(turns_in_circles), "turns_in_circles");
    assert!(text.starts_with("   0: "), "{text}");
    assert!(!text.contains("stack::interrupted"), "{text}");
    let at = text.lines().position(|line| line.contains("turns_in_circles")).unwrap();
    assert!(at <= 2, "only what it calls stands above it:\n{text}");
}

#[test]
fn a_deadlock_a_blocking_read_and_a_sleep_are_seen_and_go_on_unharmed() {
    for (hang, function) in [
        (locks_itself_out as fn(), "locks_itself_out"),
        (reads_what_never_comes, "reads_what_never_comes"),
        (sleeps_for_ever, "sleeps_for_ever"),
    ] {
        let watched = hanging(hang);
        // By the last look, what the first ones may have done to the thread is done.
        for _ in 0..10 {
            seen(watched, function);
        }
    }
    assert_eq!(INTERRUPTED_READS.load(Ordering::Relaxed), 0, "a read goes on as if nothing had happened");
}

#[test]
fn a_function_that_was_interrupted_at_its_first_instruction_is_named_itself() {
    let addresses = vec![turns_in_circles as *const () as usize];
    let stack = Stack { addresses, begins_where_interrupted: true };
    assert!(stack.describe(16 << 10).contains("turns_in_circles"), "{}", stack.describe(16 << 10));
}

#[test]
fn a_description_keeps_to_its_length() {
    let stack = hanging(turns_in_circles).dump(WATCHDOG).unwrap();
    for most in [0, 100, 300, 16 << 10] {
        assert!(stack.describe(most).len() <= most.max(32));
    }
}

#[test]
fn a_thread_that_blocks_the_signal_gives_none_in_time() {
    let watched = hanging(|| {
        // SAFETY: a zeroed set is a valid one, the calls only write to it and block a signal for this thread.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&raw mut set, libc::SIGURG);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        }
        BLOCKED.store(1, Ordering::Release);
        turns_in_circles();
    });
    static BLOCKED: AtomicU32 = AtomicU32::new(0);
    while BLOCKED.load(Ordering::Acquire) == 0 {
        thread::yield_now();
    }
    assert!(watched.dump(Duration::from_millis(50)).is_none());
    // And nobody else is hindered by it.
    seen(hanging(turns_in_circles), "turns_in_circles");
}
