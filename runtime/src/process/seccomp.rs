//! The system calls of a sandboxed actor: the only file that names seccompiler.
//!
//! Two filters. The first lets through what a program needs that computes, keeps memory, threads and time, and works on
//! descriptors that it has; any other call fails with `ENOSYS`, as if the kernel were older, because that is what
//! libraries are prepared for. It is a list of what is allowed, so a call that some later kernel has is refused too. The
//! second refuses with `EPERM` what is named below although it is known: there it is better to say plainly that it is
//! not allowed.
//!
//! Without a sandbox, an actor may be kept from starting processes: [`refuse_processes`].
//!
//! A filter sees numbers, not what they point to. Hence `clone3` is missing (C libraries then use `clone`, whose flags
//! can be seen), and so are datagram sockets, whose messages name their receiver in memory.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule,
};

use super::seccomp_calls::{ALLOWED, NAMING_FILES, REFUSED};

/// Which calls with which arguments.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Filters the calls of this process from now on, in all its threads and for good. `files`: it may open some.
///
/// # Errors
///
/// When the kernel has no filters, or this machine's calls are not known.
pub fn apply(files: bool) -> io::Result<()> {
    let refused = compile(refused(files)?, SeccompAction::Allow, errno(libc::EPERM))?;
    let allowed = compile(allowed(), errno(libc::ENOSYS), SeccompAction::Allow)?;
    // In this order: the second lets nobody set a third.
    for filter in [refused, allowed] {
        seccompiler::apply_filter_all_threads(&filter).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Refuses to start processes from now on, in all threads of this process and for good; threads may be started.
///
/// # Errors
///
/// When the kernel has no filters, or this machine's calls are not known.
pub fn refuse_processes() -> io::Result<()> {
    let mut refused = Rules::new();
    #[cfg(target_arch = "x86_64")]
    for call in [libc::SYS_fork, libc::SYS_vfork] {
        refused.insert(call, Vec::new());
    }
    let width = width(libc::SYS_clone, 0);
    let no_thread = SeccompCondition::new(0, width, Op::MaskedEq(unsigned(libc::CLONE_THREAD)), 0);
    let no_thread =
        no_thread.and_then(|condition| SeccompRule::new(vec![condition])).map_err(io::Error::other)?;
    refused.insert(libc::SYS_clone, vec![no_thread]);
    // Its flags are in memory. C libraries use `clone` where it is missing.
    let unseen = Rules::from([(libc::SYS_clone3, Vec::new())]);
    for (rules, error) in [(refused, libc::EPERM), (unseen, libc::ENOSYS)] {
        let filter = compile(rules, SeccompAction::Allow, errno(error))?;
        seccompiler::apply_filter_all_threads(&filter).map_err(io::Error::other)?;
    }
    Ok(())
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

fn compile(rules: Rules, otherwise: SeccompAction, matching: SeccompAction) -> io::Result<BpfProgram> {
    let machine = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, otherwise, matching, machine).map_err(io::Error::other)?;
    filter.try_into().map_err(|error: seccompiler::BackendError| io::Error::other(error))
}

/// All that is let through, with any arguments.
fn allowed() -> Rules {
    ALLOWED.iter().chain(NAMING_FILES).chain(REFUSED).map(|&call| (call, Vec::new())).collect()
}

/// What is refused: some calls always, some for some arguments.
fn refused(files: bool) -> io::Result<Rules> {
    let mut rules: Rules = REFUSED.iter().map(|&call| (call, Vec::new())).collect();
    if !files {
        rules.extend(NAMING_FILES.iter().map(|&call| (call, Vec::new())));
    }
    let own = u64::from(std::process::id());
    let mut refuse = |call: c_long, conditions: &[(u8, Op, u64)]| -> io::Result<()> {
        let conditions = conditions.iter().map(|(argument, operation, value)| {
            SeccompCondition::new(*argument, width(call, *argument), operation.clone(), *value)
        });
        let conditions = conditions.collect::<Result<_, _>>().map_err(io::Error::other)?;
        rules.entry(call).or_default().push(SeccompRule::new(conditions).map_err(io::Error::other)?);
        Ok(())
    };
    // Signals to anybody else, its own process group included.
    for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        refuse(call, &[(0, Op::Ne, own)])?;
    }
    // Signals by descriptors: who gets them, and which.
    for command in [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX] {
        refuse(libc::SYS_fcntl, &[(1, Op::Eq, unsigned(command))])?;
    }
    // The same by ioctl; and typing into a terminal, as if its user had.
    for request in [FIOSETOWN, SIOCSPGRP, libc::TIOCSTI, libc::TIOCLINUX] {
        refuse(libc::SYS_ioctl, &[(1, Op::Eq, request)])?;
    }
    // The limits of others. Its own process is named by zero or by its number.
    refuse(libc::SYS_prlimit64, &[(0, Op::Ne, 0), (0, Op::Ne, own)])?;
    // New processes: what is no thread, and what is in a namespace of its own.
    refuse(libc::SYS_clone, &[(0, Op::MaskedEq(unsigned(libc::CLONE_THREAD)), 0)])?;
    for namespace in NAMESPACES {
        let flag = unsigned(namespace);
        refuse(libc::SYS_clone, &[(0, Op::MaskedEq(flag), flag)])?;
    }
    // A datagram to an address. The sockets that it has are connected.
    refuse(libc::SYS_sendto, &[(4, Op::Ne, 0)])?;
    let kind = |kind: i32| (1, Op::MaskedEq(0xf), unsigned(kind));
    for datagrams in [libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_RDM] {
        refuse(libc::SYS_socketpair, &[kind(datagrams)])?;
    }
    // What it gave up when it was hardened, and what ends it with its supervisor.
    for option in
        [libc::PR_SET_DUMPABLE, libc::PR_SET_PDEATHSIG, libc::PR_SET_PTRACER, libc::PR_SET_CHILD_SUBREAPER]
    {
        refuse(libc::SYS_prctl, &[(0, Op::Eq, unsigned(option))])?;
    }
    Ok(rules)
}

/// Pointers and flags are as wide as a register; commands and process ids are not, and the rest of theirs is ignored by
/// the kernel, so it must be here too.
fn width(call: c_long, argument: u8) -> Width {
    let wide = (call == libc::SYS_sendto && argument == 4) || call == libc::SYS_clone;
    if wide { Width::Qword } else { Width::Dword }
}

const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWCGROUP,
];

// Of the kernel's headers, and not in every version of `libc`.
const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;

/// The bits of a number that the kernel takes as 32 of them.
fn unsigned(number: impl TryInto<i64>) -> u64 {
    number.try_into().map_or(0, |number| number.cast_unsigned() & u64::from(u32::MAX))
}
