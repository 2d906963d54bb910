//! A program from outside that says its words itself.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::RecvFlags;

use super::hostile::{again, said};
use crate::wire::control::{Request, ToPeer, ToSupervisor};
use crate::wire::conversation::Listener;
use crate::wire::hello::{Hello, Role};
use crate::wire::ids::SystemId;
use crate::wire::transport;

/// A program from outside that has attached, and says what it is told to.
pub struct Outsider {
    control: UnixStream,
    listener: Listener,
    questions: u64,
}

impl Outsider {
    /// Connects to the socket of a system, and says nothing yet.
    ///
    /// # Errors
    /// As `connect`.
    pub fn connect(socket: &Path) -> io::Result<Outsider> {
        let control = UnixStream::connect(socket)?;
        let listener = Listener::new(Role::Supervisor, SystemId(0));
        Ok(Outsider { control, listener, questions: 0 })
    }

    /// What it should say first.
    pub fn hello() -> Vec<u8> {
        Hello { role: Role::Outside, system: SystemId(0) }.encode().to_vec()
    }

    /// What the sender of a data link should say first.
    pub fn link_hello() -> Vec<u8> {
        Hello { role: Role::Link, system: SystemId(0) }.encode().to_vec()
    }

    /// Says this, unless it was turned away before; whether all of it was said.
    pub fn say(&mut self, bytes: &[u8]) -> bool {
        self.control.write_all(bytes).is_ok()
    }

    /// Hears nothing of what has come.
    ///
    /// # Errors
    /// As `recv`, and when it was turned away.
    pub fn hear_nothing(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            match rustix::net::recv(&self.control, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until it is turned away; an error if that takes longer than `limit`.
    ///
    /// # Errors
    /// `WouldBlock` when it was not.
    pub fn is_turned_away_within(&mut self, limit: Duration) -> io::Result<()> {
        self.control.set_read_timeout(Some(limit))?;
        let mut buffer = [0; 16 << 10];
        loop {
            match io::Read::read(&mut self.control, &mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for a link to the actor at this address, as it stands in a message; the sender's end of it.
    ///
    /// # Errors
    /// What was answered instead.
    pub fn link(&mut self, address: &[u8]) -> io::Result<UnixStream> {
        self.questions += 1;
        let request = Request::Link { address: again(address) };
        let asked = said(&ToSupervisor::Request { number: self.questions, request });
        self.control.write_all(&asked)?;
        loop {
            match self.hear()? {
                (ToPeer::LinkUp { .. }, descriptors) => {
                    let socket = descriptors.into_iter().next().map(UnixStream::from);
                    let socket = socket.ok_or_else(|| io::Error::other("a link without a socket"))?;
                    socket.set_nonblocking(false)?;
                    return Ok(socket);
                }
                (ToPeer::Answer { answer: Err(refusal), .. }, _) => {
                    return Err(io::Error::other(format!("{refusal:?}")));
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self) -> io::Result<(ToPeer, Vec<OwnedFd>)> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.listener.next::<ToPeer>() {
                Ok(Some(heard)) => return Ok(heard),
                Ok(None) => {}
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
            let control = self.control.as_fd();
            let read = transport::read_control(control, &mut buffer, &mut self.listener.descriptors)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.listener.heard(&buffer[..read]);
        }
    }
}
