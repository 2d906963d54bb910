//! What a thread that hangs is doing: its stack, taken from outside while it runs or is blocked.
//!
//! ```text
//!  asking thread                                    watched thread, wherever it is
//!  ──────────────────────────────────────────       ─────────────────────────────────────
//!  dump     ASKED; sends it SIGURG ───────────────▶ handler: walks its own stack and stores
//!           waits, with an end     ◀── DONE ──────  addresses, nothing else; goes on
//!  describe finds names and lines for them
//! ```
//!
//! The handler may have interrupted anything, the allocator too. So it takes no lock, allocates nothing and looks no
//! symbol up: all that happens on the asking thread. Walking the stack is not promised to be safe in a handler; what
//! could block there is done once before ([`Watched::this_thread`]), and whoever asks does not wait for ever.
//!
//! SIGURG, because it is ignored unless somebody asks for it, which hardly anybody does. A thread that blocks the
//! signal, or a process that has taken it for something else, gives no stack.
//!
//! Elsewhere than on Linux for x86-64 and 64-bit ARM, the frames of the handler would stay at the top.
#![allow(unsafe_code)] // `sigaction`, `tgkill`, the interrupted context and the unwinder have no safe equals.

use std::ffi::c_void;
use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::futex;

use crate::sync::lock;

/// Most frames that are described: more than a person reads, and the innermost ones tell.
pub(crate) const FRAMES: usize = 64;
/// Frames of the handler itself: the interrupted function comes after some five.
const OF_HANDLER: usize = 16;
const STORED: usize = FRAMES + OF_HANDLER;
/// Longest name and longest path in a description, in bytes: those of nested generic types have no bound of their own.
const NAME: usize = 160;

/// Where the runtime begins, seen from a handler: what stands below is the same in every dump. Functions that were
/// inlined may have lost the path in their names, so their files tell.
const RUNTIME: &str = "watertight::host::main_loop::";
const RUNTIME_INLINED: [(&str, &str); 2] =
    [("polling<", "src/node/call.rs"), ("run_actor<", "src/host/main_loop.rs")];

/// A thread whose stack can be asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched(rustix::thread::Pid);

impl Watched {
    /// The calling thread. It must live for as long as anybody asks.
    ///
    /// # Errors
    /// When the kernel takes no handler.
    pub(crate) fn this_thread() -> io::Result<Watched> {
        // The unwinder is bound and initialized here, for the first use may take locks.
        // SAFETY: only frames are looked at, no symbols, and those of this thread are its own.
        unsafe { backtrace::trace_unsynchronized(|_| false) };
        install()?;
        Ok(Watched(rustix::thread::gettid()))
    }

    /// Interrupts the thread and takes its stack; `None` if it has given none after `limit`.
    pub(crate) fn dump(self, limit: Duration) -> Option<Stack> {
        // One at a time: there is one buffer.
        static ASKING: Mutex<()> = Mutex::new(());
        let _asking = lock(&ASKING);
        let end = Instant::now() + limit;
        if STATE.load(Ordering::Acquire) == WRITING {
            // The thread that was asked before is stuck in the handler.
            return None;
        }
        ASKED_THREAD.store(self.0.as_raw_nonzero().get(), Ordering::Relaxed);
        STATE.store(ASKED, Ordering::Release);
        send(self.0).ok()?;
        loop {
            let state = STATE.load(Ordering::Acquire);
            if state == DONE {
                return Some(Stack::stored());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // A handler that comes too late finds that nobody asks. One that is at it finishes for nobody.
                let _ = STATE.compare_exchange(ASKED, IDLE, Ordering::AcqRel, Ordering::Relaxed);
                return None;
            }
            let left = futex::Timespec { tv_sec: 0, tv_nsec: i64::from(left.min(STEP).subsec_nanos()) };
            // Whatever ends the wait, the state tells.
            let _ = futex::wait(&STATE, futex::Flags::PRIVATE, state, Some(&left));
        }
    }
}

/// The longest single wait: a second's nanoseconds are one field.
const STEP: Duration = Duration::from_millis(500);

/// Nobody waits for a stack.
const IDLE: u32 = 0;
/// Somebody does.
const ASKED: u32 = 1;
/// The handler is at it.
const WRITING: u32 = 2;
/// The buffer is the asker's.
const DONE: u32 = 3;

static STATE: AtomicU32 = AtomicU32::new(IDLE);
static ASKED_THREAD: AtomicI32 = AtomicI32::new(0);
static ADDRESSES: [AtomicUsize; STORED] = [const { AtomicUsize::new(0) }; STORED];
static STORED_COUNT: AtomicUsize = AtomicUsize::new(0);
/// Where the thread was interrupted; 0 if this machine's context is not known.
static INTERRUPTED_AT: AtomicUsize = AtomicUsize::new(0);

fn install() -> io::Result<()> {
    // SAFETY: an all-zero `sigaction` is a valid one: no flags, nothing blocked, the default action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) = interrupted;
    action.sa_sigaction = handler as *const () as usize;
    // System calls are begun again where the kernel can, so that the one who is asked does not notice.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: the action is complete, its handler has the form that SA_SIGINFO asks for and lives as long as the
    // process; it does nothing that another interrupted function could see but store in the statics above.
    let result = unsafe { libc::sigaction(libc::SIGURG, &raw const action, ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn send(thread: rustix::thread::Pid) -> io::Result<()> {
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: a system call on four numbers. If the thread has ended, the kernel says so; the signal has a handler.
    let result =
        unsafe { libc::syscall(libc::SYS_tgkill, process, thread.as_raw_nonzero().get(), libc::SIGURG) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The handler. Atomics, raw system calls and the unwinder, nothing else.
extern "C" fn interrupted(_signal: i32, _info: *mut libc::siginfo_t, context: *mut c_void) {
    if ASKED_THREAD.load(Ordering::Relaxed) != rustix::thread::gettid().as_raw_nonzero().get()
        || STATE.compare_exchange(ASKED, WRITING, Ordering::AcqRel, Ordering::Relaxed).is_err()
    {
        return;
    }
    // SAFETY: glibc's place of this thread's own `errno`, which what was interrupted may be about to read.
    let errno = unsafe { *libc::__errno_location() };
    INTERRUPTED_AT.store(program_counter(context), Ordering::Relaxed);
    let mut stored = 0;
    // SAFETY: it reads this thread's own stack, and synchronizes only the symbols, which are not asked for.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            ADDRESSES[stored].store(frame.ip().addr(), Ordering::Relaxed);
            stored += 1;
            stored < STORED
        });
    }
    STORED_COUNT.store(stored, Ordering::Relaxed);
    STATE.store(DONE, Ordering::Release);
    // If nobody waits any more, nobody is woken.
    let _ = futex::wake(&STATE, futex::Flags::PRIVATE, 1);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

#[cfg(target_arch = "x86_64")]
fn program_counter(context: *mut c_void) -> usize {
    // SAFETY: with SA_SIGINFO the third argument of a handler is the interrupted `ucontext_t`, valid until it returns.
    let counter = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] };
    usize::from_ne_bytes(counter.to_ne_bytes())
}

#[cfg(target_arch = "aarch64")]
fn program_counter(context: *mut c_void) -> usize {
    // SAFETY: as above.
    let counter = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.pc };
    usize::from_ne_bytes(counter.to_ne_bytes())
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn program_counter(_context: *mut c_void) -> usize {
    0
}

/// Addresses of a stack, innermost first.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    addresses: Vec<usize>,
    /// The first address is where the thread was interrupted; otherwise the handler's frames are there too.
    begins_where_interrupted: bool,
}

impl Stack {
    fn stored() -> Stack {
        let count = STORED_COUNT.load(Ordering::Relaxed).min(STORED);
        let mut addresses: Vec<usize> =
            ADDRESSES[..count].iter().map(|address| address.load(Ordering::Relaxed)).collect();
        let at = INTERRUPTED_AT.load(Ordering::Relaxed);
        let begin = addresses.iter().position(|&address| address == at);
        addresses.drain(..begin.unwrap_or(0));
        addresses.truncate(FRAMES);
        // Where the unwinder has come to the end, it says so with a zero.
        while addresses.last() == Some(&0) {
            addresses.pop();
        }
        Stack { addresses, begins_where_interrupted: begin.is_some() }
    }

    /// The stack in words, at most `most` bytes: a line for each function, innermost first, inlined ones too, with
    /// its place where that is known. It ends where the runtime has called the actor's code.
    ///
    /// Reads the executable's symbols and allocates.
    pub(crate) fn describe(&self, most: usize) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        let mut text = String::new();
        for (nth, &address) in self.addresses.iter().enumerate() {
            // Symbols are looked up one byte before: other frames hold the address behind their call.
            let exact = nth == 0 && self.begins_where_interrupted;
            let looked_up = if exact { address.saturating_add(1) } else { address };
            let mut functions = Vec::new();
            backtrace::resolve(ptr::without_provenance_mut(looked_up), |symbol| {
                functions.push(Function {
                    name: symbol.name().map_or_else(|| "?".into(), |name| format!("{name:#}")),
                    place: symbol.filename().map(|file| {
                        let file: PathBuf = file.strip_prefix(&here).unwrap_or(file).into();
                        (file, symbol.lineno())
                    }),
                });
            });
            if functions.is_empty() {
                functions.push(Function { name: format!("? at {address:#x}"), place: None });
            }
            for function in functions {
                let line = function.line(nth);
                // Room for the last line, too.
                if text.len() + line.len() + 32 > most {
                    text.push_str("    …");
                    return text;
                }
                text.push_str(&line);
                // Shown itself, since a handler may have been inlined into it.
                if function.is_runtime() {
                    text.push_str("    … the runtime");
                    return text;
                }
            }
        }
        text.truncate(text.trim_end().len());
        text
    }
}

struct Function {
    name: String,
    place: Option<(PathBuf, Option<u32>)>,
}

impl Function {
    fn is_runtime(&self) -> bool {
        let inlined = |(name, end): (&str, &str)| {
            self.name.starts_with(name) && self.place.as_ref().is_some_and(|(file, _)| file.ends_with(end))
        };
        self.name.starts_with(RUNTIME) || RUNTIME_INLINED.into_iter().any(inlined)
    }

    fn line(&self, nth: usize) -> String {
        let mut line = format!("{nth:>4}: {}", cut(&self.name));
        if let Some((file, number)) = &self.place {
            // Writing to a string does not fail.
            let _ = write!(line, " at {}:{}", cut(&file.to_string_lossy()), number.unwrap_or(0));
        }
        line.push('\n');
        line
    }
}

fn cut(text: &str) -> String {
    if text.len() <= NAME {
        return text.to_owned();
    }
    let end = (0..=NAME).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
#[path = "stack_tests.rs"]
mod tests;
