//! An actor that writes what it likes to its sockets.

// Writing past the runtime is what it is for.
#![allow(unsafe_code)]

use watertight::ArrayPart;
use watertight::fuzzing::hostile::{self, Read, Reader};
use watertight::prelude::*;

use super::ammunition::{Draw, answers, changed, messages};
use super::{Link, Ping, Victim};

/// So many frames in a row may be inside of one that has claimed more than it has.
pub(super) const PARTS: u32 = 3;

/// Says what it is told to, until it is killed for it; and again in its next life.
pub struct Attacker {
    setup: Setup,
}

/// What it is started with.
#[data]
pub struct Setup {
    /// Whom it sends to.
    pub victim: Address<Victim>,
    /// Whose address stands in what it says to the supervisor: it may stop or kill that one.
    pub decoy: Address<Victim>,
    /// Frames that were read, for each kind of link; it outlives its writer.
    pub tally: ArrayPart<u64>,
}

/// Fires so many frames at one of its links, or as many as it can.
#[message(reply = ())]
pub struct Fire {
    pub at: Link,
    pub seed: u64,
    pub frames: u64,
    /// Which message this is of the asker's to this actor, counted from 1.
    pub number: u64,
}

impl Actor for Attacker {
    type Args = Setup;
    type Messages = (Fire,);

    async fn start(setup: Setup, _: &mut Context<Self>) -> Result<Self> {
        Ok(Attacker { setup })
    }
}

impl Handler<Fire> for Attacker {
    async fn handle(&mut self, fire: Fire, _: &mut Context<Self>) -> Result<()> {
        let before = sockets()?;
        let missing = || Error::new("this process has no such link");
        let (socket, mut reader) = match fire.at {
            // A new socket of its own, after the first message has gone through it.
            Link::Data => {
                self.setup.victim.ask(Ping(1)).await?;
                let Some(new) = sockets()?.into_iter().find(|socket| !before.contains(socket)) else {
                    // It has had one since an order whose time was over before it could fire: only its next life has a new one.
                    std::process::exit(1);
                };
                (new, Reader::data(1))
            }
            // The one on which this message came.
            Link::Answers => (*before.last().ok_or_else(missing)?, Reader::answers(fire.number)),
            _ => (*before.first().ok_or_else(missing)?, Reader::control(false)),
        };
        let mut draw = Draw::new(fire.seed);
        let (mut next, mut left, mut parts) = (2, fire.frames, 0);
        // A link on which its runtime goes on has to end with a whole frame.
        while left > 0 || parts > 0 || fire.at == Link::Data {
            let (_, frame) = changed(&mut draw, &self.frames(&fire, next));
            next += 1;
            let read = reader.read(&frame);
            if !write(socket, &frame) {
                break;
            }
            let tally = self.setup.tally.get(fire.at.place())?;
            self.setup.tally.set(fire.at.place(), tally + 1)?;
            left = left.saturating_sub(1);
            parts = if read == Read::Part { parts + 1 } else { 0 };
            if parts > PARTS {
                // What follows would be the inside of one endless frame: it dies in the middle of that.
                std::process::exit(1);
            }
            if read == Read::Refused {
                // It is ended for it, here. Its runtime does not go on: it would blame the victim for answers to what it did
                // not send itself, and the word of one end of a link against the other is believed.
                loop {
                    std::thread::park();
                }
            }
        }
        Ok(())
    }
}

impl Attacker {
    fn frames(&self, fire: &Fire, next: u64) -> Vec<Vec<u8>> {
        match fire.at {
            Link::Data => messages(next),
            Link::Answers => answers(fire.number),
            _ => {
                let address = watertight::fuzzing::written(&self.setup.decoy);
                let all = hostile::requests(Some(&address)).into_iter().chain(hostile::words());
                all.map(|(_, frame)| frame).collect()
            }
        }
    }
}

/// The sockets that this process was given by the supervisor, in order: its control link comes first.
fn sockets() -> Result<Vec<i32>> {
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Ok(number) = entry?.file_name().to_string_lossy().parse::<i32>() else { continue };
        // SAFETY: it is asked what it is, and not kept.
        let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        // Whoever made the pair is its peer.
        let maker = rustix::net::sockopt::socket_peercred(socket);
        if maker.is_ok_and(|maker| maker.pid != rustix::process::getpid()) {
            sockets.push(number);
        }
    }
    sockets.sort_unstable();
    Ok(sockets)
}

/// Whether all of it was written.
fn write(socket: i32, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        // SAFETY: writes bytes to a socket of this process.
        let written = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
        match usize::try_from(written) {
            Ok(written) => bytes = &bytes[written..],
            Err(_) if std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::yield_now();
            }
            Err(_) => return false,
        }
    }
    true
}
