//! The actor behind values by key: bytes by bytes.

use std::collections::BTreeMap;

use watertight::Encoded;
use watertight::prelude::*;

use crate::handle::Holds;

pub(super) mod messages {
    use watertight::Encoded;
    use watertight::prelude::*;

    #[data]
    #[derive(Clone)]
    pub struct Setup {
        pub(crate) holds: String,
        pub(crate) entries: u32,
        pub(crate) bytes: u64,
    }

    #[message(reply = Option<Encoded>, idempotent)]
    pub struct Get {
        pub(crate) key: Encoded,
    }

    #[message(reply = Written)]
    pub struct Insert {
        pub(crate) key: Encoded,
        pub(crate) value: Encoded,
    }

    #[message(reply = Written)]
    pub struct Swap {
        pub(crate) key: Encoded,
        pub(crate) expected: Option<Encoded>,
        pub(crate) new: Option<Encoded>,
    }

    #[data]
    pub enum Written {
        /// With what was there.
        Yes(Option<Encoded>),
        Changed(Option<Encoded>),
        Full,
    }

    #[message(reply = Option<Encoded>)]
    pub struct Remove {
        pub(crate) key: Encoded,
    }

    #[message(reply = bool, idempotent)]
    pub struct Contains {
        pub(crate) key: Encoded,
    }

    #[message(reply = u64, idempotent)]
    pub struct Len;

    #[message(reply = Vec<Encoded>, idempotent)]
    pub struct Keys;

    #[message(reply = Vec<(Encoded, Encoded)>, idempotent)]
    pub struct Entries;

    #[message(idempotent)]
    pub struct Clear;
}

use messages::{Clear, Contains, Entries, Get, Insert, Keys, Len, Remove, Setup, Swap, Written};

/// The actor behind values by key.
pub struct Keeper {
    setup: Setup,
    entries: BTreeMap<Encoded, Encoded>,
    bytes: u64,
}

impl Keeper {
    /// Sets or, with `None`, takes away.
    fn set(&mut self, key: Encoded, value: Option<Encoded>) -> Written {
        let size = |key: &Encoded, value: &Encoded| (key.len() + value.len()) as u64;
        let old = self.entries.get(&key);
        let before = old.map_or(0, |old| size(&key, old));
        let after = value.as_ref().map_or(0, |value| size(&key, value));
        let bytes = self.bytes - before + after;
        let grows = value.is_some() && old.is_none();
        if value.is_some()
            && (bytes > self.setup.bytes || grows && self.entries.len() >= self.setup.entries as usize)
        {
            return Written::Full;
        }
        self.bytes = bytes;
        Written::Yes(match value {
            Some(value) => self.entries.insert(key, value),
            None => self.entries.remove(&key),
        })
    }
}

impl Actor for Keeper {
    type Args = Setup;
    type Messages = (Get, Insert, Swap, Remove, Contains, Len, Keys, Entries, Clear, Holds);

    async fn start(setup: Setup, _: &mut Context<Self>) -> Result<Self> {
        Ok(Keeper { setup, entries: BTreeMap::new(), bytes: 0 })
    }
}

impl Handler<Get> for Keeper {
    async fn handle(&mut self, Get { key }: Get, _: &mut Context<Self>) -> Result<Option<Encoded>> {
        Ok(self.entries.get(&key).cloned())
    }
}

impl Handler<Insert> for Keeper {
    async fn handle(&mut self, Insert { key, value }: Insert, _: &mut Context<Self>) -> Result<Written> {
        Ok(self.set(key, Some(value)))
    }
}

impl Handler<Swap> for Keeper {
    async fn handle(&mut self, swap: Swap, _: &mut Context<Self>) -> Result<Written> {
        let found = self.entries.get(&swap.key);
        if found != swap.expected.as_ref() {
            return Ok(Written::Changed(found.cloned()));
        }
        Ok(self.set(swap.key, swap.new))
    }
}

impl Handler<Remove> for Keeper {
    async fn handle(&mut self, Remove { key }: Remove, _: &mut Context<Self>) -> Result<Option<Encoded>> {
        let old = self.entries.get(&key).cloned();
        self.set(key, None);
        Ok(old)
    }
}

impl Handler<Contains> for Keeper {
    async fn handle(&mut self, Contains { key }: Contains, _: &mut Context<Self>) -> Result<bool> {
        Ok(self.entries.contains_key(&key))
    }
}

impl Handler<Len> for Keeper {
    async fn handle(&mut self, _: Len, _: &mut Context<Self>) -> Result<u64> {
        Ok(self.entries.len() as u64)
    }
}

impl Handler<Keys> for Keeper {
    async fn handle(&mut self, _: Keys, _: &mut Context<Self>) -> Result<Vec<Encoded>> {
        Ok(self.entries.keys().cloned().collect())
    }
}

impl Handler<Entries> for Keeper {
    async fn handle(&mut self, _: Entries, _: &mut Context<Self>) -> Result<Vec<(Encoded, Encoded)>> {
        Ok(self.entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl Handler<Clear> for Keeper {
    async fn handle(&mut self, _: Clear, _: &mut Context<Self>) -> Result<()> {
        self.entries.clear();
        self.bytes = 0;
        Ok(())
    }
}

impl Handler<Holds> for Keeper {
    async fn handle(&mut self, _: Holds, _: &mut Context<Self>) -> Result<String> {
        Ok(self.setup.holds.clone())
    }
}
