//! Descriptors: that none reaches a child by accident, that there are enough, and the pairs that are made of them.
#![allow(unsafe_code)] // `close_range`, and marking descriptors that are known only by their number.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use rustix::process::{Resource, Rlimit};

use crate::fault::{self, Call};

/// Descriptors 0 to 2 are the standard streams; the others are what a program opened, or was started with.
const FIRST: RawFd = 3;

/// The highest limit that is asked for: each process of a system takes about five, and tables of this size still cost
/// little. Where the hard limit is higher (some set a thousand millions) programs that visit every number would hang.
const MOST: u64 = 1 << 20;

/// Marks every descriptor from 3 on as not to be inherited.
///
/// For the start of a process: what its own starter left open would otherwise be held open by every child for as long
/// as that lives. Standard library and runtime open nothing inheritable, so once is enough.
///
/// # Errors
///
/// When the kernel is older than 5.11 and `/proc` cannot be read either.
pub fn close_all_on_exec() -> io::Result<()> {
    // Through `syscall`, because C libraries have had a function for it only since 2021.
    // SAFETY: it takes three numbers; with this flag it closes nothing and only marks.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { mark_each() }
}

/// What `close_range` does, one by one, where it is missing or forbidden.
fn mark_each() -> io::Result<()> {
    // All names first: the directory's own descriptor is among them and is gone by the time it is marked.
    let names: Vec<_> = std::fs::read_dir("/proc/self/fd")?.collect::<io::Result<_>>()?;
    for number in names.iter().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok()) {
        if number < FIRST {
            continue;
        }
        // SAFETY: it is borrowed for one call, which marks it or says that it is no longer open; the mark is what every
        // owner in this process wants.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        match rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC) {
            Ok(()) | Err(Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Raises the number of descriptors that this process may have open as far as it may itself.
///
/// For the supervisor, which holds several for each process. Returns the limit that it found and the one that holds
/// now. Children inherit it; one that uses `select(2)` must lower it to 1024 again.
///
/// # Errors
///
/// When the kernel refuses, which it does not unless a sandbox makes it.
pub fn raise_limit() -> io::Result<(u64, u64)> {
    let found = rustix::process::getrlimit(Resource::Nofile);
    let former = found.current.unwrap_or(u64::MAX);
    let wanted = found.maximum.unwrap_or(u64::MAX).min(MOST);
    if former >= wanted {
        return Ok((former, former));
    }
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: found.maximum })?;
    Ok((former, wanted))
}

/// Two connected Unix stream sockets, neither of which is inherited or blocks.
///
/// # Errors
///
/// When descriptors have run out.
pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    fault::call(Call::SocketPair)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// A pipe for a child's output: its read end, which does not block, and its write end, which does.
///
/// Neither is inherited; the spawner gives the write end to the child as a standard stream. That must block, as
/// programs expect of their output.
///
/// # Errors
///
/// When descriptors have run out.
pub fn pipe_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    fault::call(Call::Pipe)?;
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?; // The ends have flags of their own.
    Ok((read, write))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustix::fs::{OFlags, fcntl_getfl};
    use rustix::io::fcntl_getfd;

    use super::*;

    /// What a careless starter leaves behind.
    fn inheritable() -> OwnedFd {
        let file = rustix::io::dup(io::stderr()).unwrap();
        assert!(!fcntl_getfd(&file).unwrap().contains(FdFlags::CLOEXEC));
        file
    }

    #[test]
    fn every_descriptor_but_the_standard_streams_is_marked() {
        for mark in [close_all_on_exec, mark_each] {
            let strays = [inheritable(), inheritable()];
            let far = rustix::io::fcntl_dupfd_cloexec(&strays[0], 700).unwrap();
            rustix::io::fcntl_setfd(&far, FdFlags::empty()).unwrap();
            let standard = fcntl_getfd(io::stderr()).unwrap();
            mark().unwrap();
            for file in strays.iter().chain([&far]) {
                assert!(fcntl_getfd(file).unwrap().contains(FdFlags::CLOEXEC), "{file:?}");
            }
            assert_eq!(fcntl_getfd(io::stderr()).unwrap(), standard);
        }
    }

    #[test]
    fn the_limit_is_raised_once_and_never_lowered() {
        let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
        let highest = maximum.unwrap_or(u64::MAX).min(MOST);
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(highest - 1), maximum }).unwrap();
        let (former, new) = raise_limit().unwrap();
        assert_eq!((former, new), (highest - 1, highest));
        assert_eq!(raise_limit().unwrap(), (new, new));
        assert_eq!(rustix::process::getrlimit(Resource::Nofile).current, Some(new));
    }

    #[test]
    fn pairs_are_not_inherited_and_block_only_where_a_child_writes() {
        let (one, other) = socket_pair().unwrap();
        let (read, write) = pipe_pair().unwrap();
        for (file, blocks) in [(&one, false), (&other, false), (&read, false), (&write, true)] {
            assert!(fcntl_getfd(file).unwrap().contains(FdFlags::CLOEXEC));
            assert_eq!(!fcntl_getfl(file).unwrap().contains(OFlags::NONBLOCK), blocks);
        }
        rustix::io::write(&one, b"across").unwrap();
        rustix::io::write(&write, b"through").unwrap();
        let mut received = [0; 16];
        assert_eq!(rustix::io::read(&other, &mut received), Ok(6));
        assert_eq!(rustix::io::read(&read, &mut received), Ok(7));
        assert_eq!(rustix::io::read(&read, &mut received), Err(Errno::AGAIN));
    }
}
