//! The same from outside: programs that attach, say what they like, and are turned away.

use std::io::{self, Read as _, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use watertight::fuzzing::hostile::{self, Outsider, Read, Reader};

use super::Link;
use super::ammunition::{Draw, changed, messages};
use super::attacker::PARTS;

/// How long a supervisor may take to turn somebody away: it is no promise, only a watchdog.
const PATIENCE: Duration = Duration::from_secs(20);
/// Frames of one program, which then makes room for the next.
const ROUND: u64 = 200;

/// Fires so many frames at the socket of a system, as often attached as it takes, and returns how often that was.
/// Addresses as they stand in messages.
///
/// # Errors
/// When it is not served, or not turned away.
pub fn attack(
    at: Link,
    socket: &Path,
    mut draw: Draw,
    frames: u64,
    victim: &[u8],
    decoy: &[u8],
) -> io::Result<u64> {
    let (mut left, mut programs) = (frames, 0);
    while left > 0 {
        let most = left.min(ROUND);
        left -= match at {
            Link::Hello => hello(&mut draw, socket)?,
            Link::FromOutside => link(&mut draw, socket, victim, most)?,
            _ => attachment(&mut draw, socket, decoy, most)?,
        };
        programs += 1;
    }
    Ok(programs)
}

fn hello(draw: &mut Draw, socket: &Path) -> io::Result<u64> {
    let hellos: Vec<Vec<u8>> = vec![Outsider::hello(), Outsider::link_hello()];
    let mut outsider = Outsider::connect(socket)?;
    let (_, said) = changed(draw, &hellos);
    let mut reader = Reader::control(true);
    let read = reader.read(&said);
    if outsider.say(&said) && read == Read::Refused {
        outsider.is_turned_away_within(PATIENCE)?;
    }
    Ok(1)
}

fn attachment(draw: &mut Draw, socket: &Path, decoy: &[u8], most: u64) -> io::Result<u64> {
    let mut outsider = Outsider::connect(socket)?;
    outsider.say(&Outsider::hello());
    let mut reader = Reader::control(false);
    let frames: Vec<Vec<u8>> =
        hostile::requests(Some(decoy)).into_iter().chain(hostile::words()).map(|(_, frame)| frame).collect();
    let mut parts = 0;
    for sent in 1..=most {
        let (_, frame) = changed(draw, &frames);
        let read = reader.read(&frame);
        parts = if read == Read::Part { parts + 1 } else { 0 };
        if parts > PARTS {
            return Ok(sent - 1);
        }
        if !outsider.say(&frame) || read == Read::Refused {
            outsider.is_turned_away_within(PATIENCE)?;
            return Ok(sent);
        }
        outsider.hear_nothing()?;
    }
    Ok(most)
}

fn link(draw: &mut Draw, socket: &Path, victim: &[u8], most: u64) -> io::Result<u64> {
    let mut outsider = Outsider::connect(socket)?;
    outsider.say(&Outsider::hello());
    let mut link = outsider.link(victim)?;
    let hello = Outsider::link_hello();
    let mut reader = Reader::data(0);
    if draw.spoils_hello() {
        let (_, hello) = changed(draw, &[hello]);
        let read = reader.read(&hello);
        return ends(&mut outsider, &mut link, &hello, read).map(|_| 1);
    }
    reader.read(&hello);
    link.write_all(&hello)?;
    let mut parts = 0;
    for sent in 1..=most {
        let (_, frame) = changed(draw, &messages(sent));
        let read = reader.read(&frame);
        parts = if read == Read::Part { parts + 1 } else { 0 };
        if parts > PARTS {
            return Ok(sent - 1);
        }
        if ends(&mut outsider, &mut link, &frame, read)? {
            return Ok(sent);
        }
        drop_answers(&link)?;
    }
    Ok(most)
}

/// Sends this; whether it was the end.
fn ends(outsider: &mut Outsider, link: &mut UnixStream, bytes: &[u8], read: Read) -> io::Result<bool> {
    let gone = link.write_all(bytes).is_err();
    if gone || read == Read::Refused {
        // The receiver names it to the supervisor, who turns it away.
        outsider.is_turned_away_within(PATIENCE)?;
        let _ = link.shutdown(Shutdown::Both);
    }
    Ok(gone || read == Read::Refused)
}

fn drop_answers(link: &UnixStream) -> io::Result<()> {
    let mut link = link;
    link.set_nonblocking(true)?;
    let mut buffer = [0; 4096];
    while matches!(link.read(&mut buffer), Ok(read) if read > 0) {}
    link.set_nonblocking(false)
}
