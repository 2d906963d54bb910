//! Actors for a system under fire: one that is shot at, one that shoots, and what it shoots with.

pub mod ammunition;
mod attacker;
mod besieged;
pub mod city;
mod outsider;

pub use attacker::{Attacker, Fire, Setup};
pub use besieged::{Besieged, NAME, Told};
pub use outsider::attack;

use watertight::ActorId;
use watertight::prelude::*;

/// Everything that bytes from outside can arrive on.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The first bytes of a program that attaches.
    Hello,
    /// What an attached program says to the supervisor.
    Attachment,
    /// What an attached program sends to an actor.
    FromOutside,
    /// What an actor says to the supervisor.
    Control,
    /// What an actor sends to another one.
    Data,
    /// What an actor answers to the program that holds the supervisor.
    Answers,
}

impl Link {
    pub const ALL: [Link; 6] =
        [Link::Hello, Link::Attachment, Link::FromOutside, Link::Control, Link::Data, Link::Answers];

    /// Its place in tallies.
    pub fn place(self) -> usize {
        self as usize
    }
}

/// Is sent good messages by the program, one after the other, and anything by others.
pub struct Victim {
    /// A plant for whoever judges.
    plant: Option<Plant>,
    last: u64,
    wrong: u64,
    foreign: u64,
}

/// What goes wrong with one message of the program's, on purpose.
#[data]
#[derive(Clone, Copy, Debug)]
pub enum Plant {
    /// It is as if it had come twice.
    Repeated,
    /// It gets the reply to another.
    Mistaken,
}

/// Of this one.
const PLANTED: u64 = 7;

/// The program counts from 1; the answer is the same number.
#[message(reply = u64)]
pub struct Ping(pub u64);

/// What attackers send, when it arrives as they meant it.
#[message(reply = u64)]
pub struct Payload {
    pub numbers: Vec<u64>,
    pub text: String,
    pub perhaps: Option<bool>,
}

/// How many of the program's messages were not the next one, and how many of others' arrived.
#[message(reply = (u64, u64))]
pub struct Wrong;

impl Actor for Victim {
    type Args = Option<Plant>;
    type Messages = (Ping, Payload, Wrong);

    async fn start(plant: Option<Plant>, _: &mut Context<Self>) -> Result<Self> {
        Ok(Victim { plant, last: 0, wrong: 0, foreign: 0 })
    }
}

impl Handler<Ping> for Victim {
    async fn handle(&mut self, Ping(number): Ping, cx: &mut Context<Self>) -> Result<u64> {
        // Who sends is told by the supervisor, not by the sender.
        if cx.sender() == ActorId::PROGRAM {
            self.wrong += u64::from(number != self.last + 1);
            self.last = number;
            match self.plant.filter(|_| number == PLANTED) {
                Some(Plant::Repeated) => self.wrong += u64::from(number != self.last + 1),
                Some(Plant::Mistaken) => return Ok(number - 1),
                None => {}
            }
        } else {
            self.foreign += 1;
        }
        Ok(number)
    }
}

impl Handler<Payload> for Victim {
    async fn handle(&mut self, payload: Payload, cx: &mut Context<Self>) -> Result<u64> {
        if cx.sender() == ActorId::PROGRAM {
            self.wrong += 1;
        } else {
            self.foreign += 1;
        }
        Ok(payload.numbers.len() as u64)
    }
}

impl Handler<Wrong> for Victim {
    async fn handle(&mut self, _: Wrong, _: &mut Context<Self>) -> Result<(u64, u64)> {
        Ok((self.wrong, self.foreign))
    }
}
