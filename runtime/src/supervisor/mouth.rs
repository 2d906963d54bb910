//! What a process is told: written at once if its control link has room, else as soon as it has.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::sync::lock;
use crate::wire::transport::{self, ControlStream};

/// What a process is told and has not read yet.
pub(super) struct Mouth {
    pub(super) control: Arc<ControlStream>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// Of the first frame.
    written: usize,
    bytes: usize,
    /// A task waits for room.
    waiting: bool,
}

/// What has become of something that was to be said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has left, or the peer has closed its end: its exit is on its way.
    Now,
    /// It leaves when there is room: [`Mouth::write_all`] is to be waited for.
    Waits,
    /// It leaves when there is room, which somebody waits for already.
    Behind,
    /// The peer leaves more unread than anyone who reads.
    TooMuch,
}

/// Control messages that a process may leave unread, in bytes: a thread of its own reads them, so one that leaves this
/// much is stopped or broken. The largest ticket fits.
const UNREAD: usize = 64 << 20;
/// Events are dropped from here on, so that a slow listener loses those and nothing else.
const EVENTS: usize = 4 << 20;
/// How long it is until something that no descriptor, or no room for descriptors, was left for is tried again.
const AGAIN: Duration = Duration::from_millis(20);

impl Mouth {
    pub(super) fn new(control: Arc<ControlStream>) -> Arc<Self> {
        Arc::new(Mouth { control, queue: Mutex::default() })
    }

    /// Whether events may still be added.
    pub(super) fn takes_events(&self) -> bool {
        lock(&self.queue).bytes < EVENTS
    }

    /// Something that goes out with the next thing that is said.
    pub(super) fn prepare(&self, frame: Vec<u8>) {
        let mut queue = lock(&self.queue);
        queue.bytes += frame.len();
        queue.frames.push_back((frame, Vec::new()));
    }

    /// Says a frame, behind what waits.
    pub(super) fn say(&self, frame: Vec<u8>, descriptors: Vec<OwnedFd>) -> Said {
        let mut queue = lock(&self.queue);
        queue.bytes += frame.len();
        queue.frames.push_back((frame, descriptors));
        if queue.waiting {
            return if queue.bytes > UNREAD { Said::TooMuch } else { Said::Behind };
        }
        queue.waiting = matches!(queue.write(&self.control), Ok(Left::Some { .. }));
        if queue.waiting { Said::Waits } else { Said::Now }
    }

    /// What was prepared leaves now, if there is room.
    pub(super) fn flush(&self) {
        // Whatever does not leave now goes with what is said next.
        let _ = lock(&self.queue).write(&self.control);
    }

    /// Writes what waits as soon as there is room, until nothing does, or the peer has closed its end. `false` if it leaves
    /// too much unread. `room` waits for room, or fails when no descriptor is to be had for the watch.
    pub(super) async fn write_all(&self, room: impl AsyncFn(&ControlStream) -> io::Result<()>) -> bool {
        loop {
            let unwatched = room(&self.control).await.is_err();
            let crowded = {
                let mut queue = lock(&self.queue);
                let Ok(Left::Some { crowded }) = queue.write(&self.control) else {
                    queue.waiting = false;
                    return true;
                };
                if queue.bytes > UNREAD {
                    return false;
                }
                crowded
            };
            if unwatched || crowded {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// What a write has left over.
enum Left {
    Nothing,
    /// The peer lives, and cannot take the rest now; if `crowded`, only because no more descriptors may be under way.
    Some {
        crowded: bool,
    },
}

impl Queue {
    /// Writes what there is room for.
    ///
    /// # Errors
    /// When the peer has closed its end. Nothing waits then.
    fn write(&mut self, control: &ControlStream) -> io::Result<Left> {
        while let Some((frame, descriptors)) = self.frames.front_mut() {
            match control.try_write(&frame[self.written..], descriptors) {
                Ok(sent) => {
                    // They went with the first byte.
                    descriptors.clear();
                    self.written += sent;
                    self.bytes -= sent;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Left::Some { crowded: false }),
                Err(e) if transport::is_crowded(&e) => return Ok(Left::Some { crowded: true }),
                Err(error) => {
                    *self = Queue::default();
                    return Err(error);
                }
            }
            if self.written == frame.len() {
                self.written = 0;
                self.frames.pop_front();
            }
        }
        Ok(Left::Nothing)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn mouth() -> (Arc<Mouth>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Mouth::new(Arc::new(ControlStream::new(ours.into()).unwrap())), theirs)
    }

    /// Says so much that it does not fit.
    fn fill(mouth: &Mouth) -> usize {
        for said in 1.. {
            match mouth.say(vec![7; 10_000], Vec::new()) {
                Said::Now => {}
                outcome => {
                    assert_eq!(outcome, Said::Waits);
                    return said * 10_000;
                }
            }
        }
        unreachable!()
    }

    #[tokio::test]
    async fn what_does_not_fit_is_written_although_no_descriptor_was_left_to_wait_for_room() {
        let (mouth, mut theirs) = mouth();
        let bytes = fill(&mouth) + 5;
        assert_eq!(mouth.say(vec![8; 5], Vec::new()), Said::Behind);
        // Under a watchdog: what is never written is never read.
        theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let reader = std::thread::spawn(move || {
            let mut read = vec![0; bytes];
            theirs.read_exact(&mut read).unwrap();
            (read, theirs)
        });
        let looks = AtomicU32::new(0);
        let written = mouth.write_all(async |control| match looks.fetch_add(1, Ordering::Relaxed) {
            0..3 => Err(io::Error::other("no descriptor is left")),
            _ => control.writable().await,
        });
        assert!(tokio::time::timeout(Duration::from_secs(20), written).await.unwrap());
        let (read, theirs) = reader.join().unwrap();
        assert_eq!(read[bytes - 6..], [7, 8, 8, 8, 8, 8]);
        assert_eq!(mouth.say(vec![9], Vec::new()), Said::Now, "nobody waits any more");
        drop(theirs);
        assert_eq!(mouth.say(vec![9], Vec::new()), Said::Now, "it has gone, and nothing is kept for it");
        assert!(lock(&mouth.queue).frames.is_empty());
    }

    #[tokio::test]
    async fn who_leaves_too_much_unread_is_found_out_and_whoever_goes_is_not_waited_for() {
        let (mouth, theirs) = mouth();
        fill(&mouth);
        assert_eq!(mouth.say(vec![7; UNREAD], Vec::new()), Said::TooMuch);
        assert!(!mouth.write_all(async |_| Ok(())).await);
        drop(theirs);
        assert!(mouth.write_all(async |_| Ok(())).await);
    }
}
