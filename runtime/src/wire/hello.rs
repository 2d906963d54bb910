//! The first bytes of every conversation: a fixed layout that any version can read, never postcard.
//!
//! ```text
//!  0  4 bytes  "WTRT"
//!  4  u16      protocol version
//!  6  u8       role of the speaker
//!  7  u8       zero
//!  8  u64      the system, 0 if the speaker knows none
//! ```

use thiserror::Error;

use super::ids::SystemId;

/// Length of a hello in bytes.
pub const LENGTH: usize = 16;
/// The version that this build speaks. It changes with every change of a frame, a control message or the ticket.
pub const VERSION: u16 = 1;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// The supervisor.
    Supervisor = 1,
    /// A process that the supervisor started.
    Actor = 2,
    /// The program that holds the supervisor.
    Program = 3,
    /// A program that attached from outside.
    Outside = 4,
    /// The sending end of a data link.
    Link = 5,
}

/// A speaker's introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who speaks.
    pub role: Role,
    /// The system, 0 if unknown.
    pub system: SystemId,
}

/// Why the first bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HelloError {
    /// Not this protocol at all.
    #[error("the peer does not speak this protocol")]
    NotOurs,
    /// Another version of it.
    #[error(
        "the peer speaks version {theirs} of the protocol, this build version {VERSION}: use one build for both"
    )]
    Version {
        /// The peer's.
        theirs: u16,
    },
    /// A role that does not belong here.
    #[error("the peer's role {0} does not belong in this conversation")]
    Role(u8),
    /// Another system.
    #[error("the peer belongs to another system")]
    OtherSystem,
}

impl Hello {
    /// The bytes to send.
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..4].copy_from_slice(b"WTRT");
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6] = self.role as u8;
        bytes[8..].copy_from_slice(&self.system.0.to_le_bytes());
        bytes
    }

    /// Reads a hello and checks that its speaker is one of `expected` and, unless it is 0 on either side, of `system`.
    ///
    /// # Errors
    /// [`HelloError`], for the log and for the peer.
    pub fn check(bytes: &[u8; LENGTH], expected: Role, system: SystemId) -> Result<Hello, HelloError> {
        if &bytes[..4] != b"WTRT" {
            return Err(HelloError::NotOurs);
        }
        let theirs = u16::from_le_bytes([bytes[4], bytes[5]]);
        if theirs != VERSION {
            return Err(HelloError::Version { theirs });
        }
        if bytes[6] != expected as u8 || bytes[7] != 0 {
            return Err(HelloError::Role(bytes[6]));
        }
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[8..]);
        let theirs = SystemId(u64::from_le_bytes(number));
        if theirs.0 != 0 && system.0 != 0 && theirs != system {
            return Err(HelloError::OtherSystem);
        }
        Ok(Hello { role: expected, system: theirs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> [u8; LENGTH] {
        Hello { role: Role::Actor, system: SystemId(7) }.encode()
    }

    #[test]
    fn a_hello_is_read_back() {
        let read = Hello::check(&hello(), Role::Actor, SystemId(7));
        assert_eq!(read, Ok(Hello { role: Role::Actor, system: SystemId(7) }));
    }

    #[test]
    fn another_version_is_refused_with_both_named() {
        let mut bytes = hello();
        bytes[4] = 9;
        let error = Hello::check(&bytes, Role::Actor, SystemId(7)).unwrap_err();
        assert_eq!(error, HelloError::Version { theirs: 9 });
        assert!(error.to_string().contains("version 9") && error.to_string().contains("version 1"));
    }

    #[test]
    fn garbage_another_role_and_another_system_are_refused() {
        assert_eq!(Hello::check(&[0xff; LENGTH], Role::Actor, SystemId(7)), Err(HelloError::NotOurs));
        assert_eq!(Hello::check(&hello(), Role::Program, SystemId(7)), Err(HelloError::Role(2)));
        assert_eq!(Hello::check(&hello(), Role::Actor, SystemId(8)), Err(HelloError::OtherSystem));
    }
}
