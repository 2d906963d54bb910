//! Values of any type by keys of any type, that many processes read and write. Python's `Manager().dict()`.
//!
//! # Promise
//! - Every operation is whole. A swap writes only over the value that its sender has seen, so two writers cannot
//!   overwrite each other unknowingly.
//! - Keys and values are kept as their bytes: nothing of them is decoded in the keeper's process. Two keys are one if
//!   their bytes are equal; see [`Encoded`].
//! - It never holds more than its limits: a write beyond them changes nothing and is [`SharedError::Full`].
//! - Nobody holds it, so no death of a user changes it.
//! - What survives a restart of its own process: nothing. It is empty.
//!
//! The [table](crate::table) shows the same pattern as an actor of few lines, for texts.

use std::time::Instant;

use serde::{Serialize, de::DeserializeOwned};
use watertight::{DEFAULT_DEADLINE, Encoded};

use crate::handle::{Home, SharedError, TypedSpec, typed_handle, typed_places};

mod keeper;

pub use keeper::Keeper;
use keeper::messages;

typed_handle! {
    /// A handle to values by key; clone it, send it in messages and arguments.
    ///
    /// ```no_run
    /// use watertight::prelude::*;
    /// use watertight_actors::key_value::KeyValue;
    ///
    /// # async fn f(sys: System) -> Result<()> {
    /// let stock = KeyValue::<String, i64>::start(&sys).await?;
    /// stock.insert(&"apples".into(), &3).await?;
    /// stock.update(&"apples".into(), |n| n.map(|n| n - 1)).await?;
    /// assert_eq!(stock.get(&"apples".into()).await?, Some(2));
    /// assert_eq!(stock.add(&"pears".into(), 5).await?, 5);
    /// # Ok(()) }
    /// ```
    KeyValue<K, V> of (K, V), Keeper
}

typed_places!(KeyValue < K, V > of(K, V), Keeper);

/// The most that it holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries.
    pub entries: u32,
    /// Bytes of all keys and values together.
    pub bytes: u64,
}

impl Default for Limits {
    /// 10,000 entries and 15 MiB: all of it fits one reply.
    fn default() -> Self {
        Limits { entries: 10_000, bytes: 15 << 20 }
    }
}

impl<K: Serialize + DeserializeOwned, V: Serialize + DeserializeOwned> KeyValue<K, V> {
    /// Starts one with the default limits.
    ///
    /// # Errors
    /// [`SharedError::Start`].
    pub async fn start(home: impl Home) -> Result<KeyValue<K, V>, SharedError> {
        Ok(KeyValue::start_with(home, KeyValue::spec(Limits::default())).await?)
    }

    /// A spec to add a name, a place in a group or limits to.
    pub fn spec(limits: Limits) -> TypedSpec<Keeper, (K, V)> {
        let holds = std::any::type_name::<(K, V)>().to_owned();
        TypedSpec::new(messages::Setup { holds, entries: limits.entries, bytes: limits.bytes })
    }

    /// The value of a key, if it has one.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn get(&self, key: &K) -> Result<Option<V>, SharedError> {
        read(self.keeper.ask(messages::Get { key: encoded(key)? }).await?)
    }

    /// Gives a key a value, and returns the one that it had.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn insert(&self, key: &K, value: &V) -> Result<Option<V>, SharedError> {
        let insert = messages::Insert { key: encoded(key)?, value: encoded(value)? };
        match self.keeper.ask(insert).await? {
            messages::Written::Yes(old) => read(old),
            messages::Written::Changed(_) | messages::Written::Full => Err(SharedError::Full),
        }
    }

    /// Takes a key's value away, and returns it.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn remove(&self, key: &K) -> Result<Option<V>, SharedError> {
        read(self.keeper.ask(messages::Remove { key: encoded(key)? }).await?)
    }

    /// Whether the key has a value.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn contains(&self, key: &K) -> Result<bool, SharedError> {
        Ok(self.keeper.ask(messages::Contains { key: encoded(key)? }).await?)
    }

    /// Gives a key the value `new` if it has the value `expected`, where `None` is no value at all; else returns what it
    /// has, as the error within. Values are compared by their bytes.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn compare_and_set(
        &self,
        key: &K,
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Result<Result<(), Option<V>>, SharedError> {
        let expected = expected.map(encoded).transpose()?;
        match self.swap(key, expected, new).await? {
            None => Ok(Ok(())),
            Some(found) => Ok(Err(read(found)?)),
        }
    }

    /// Makes of a key's value what `change` makes of it, where `None` is no value at all, and returns that. `change` is
    /// called again if somebody else has written the same key meanwhile, for 5 s at most.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn update(
        &self,
        key: &K,
        mut change: impl FnMut(Option<V>) -> Option<V>,
    ) -> Result<Option<V>, SharedError> {
        let end = Instant::now() + DEFAULT_DEADLINE;
        let mut found = self.keeper.ask(messages::Get { key: encoded(key)? }).await?;
        loop {
            let new = change(read(found.clone())?);
            match self.swap(key, found, new.as_ref()).await? {
                None => return Ok(new),
                Some(_) if Instant::now() >= end => return Err(SharedError::Deadline),
                Some(other) => found = other,
            }
        }
    }

    /// How many keys have values.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn len(&self) -> Result<u64, SharedError> {
        Ok(self.keeper.ask(messages::Len).await?)
    }

    /// Whether no key has a value.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn is_empty(&self) -> Result<bool, SharedError> {
        Ok(self.len().await? == 0)
    }

    /// All keys that have values, in the order of their bytes.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn keys(&self) -> Result<Vec<K>, SharedError> {
        let keys = self.keeper.ask(messages::Keys).await?;
        keys.iter().map(|key| key.read().map_err(SharedError::Value)).collect()
    }

    /// All keys with their values at one moment, in the order of the keys' bytes. They must fit one message: 16 MiB.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn entries(&self) -> Result<Vec<(K, V)>, SharedError> {
        let entries = self.keeper.ask(messages::Entries).await?;
        let read = |(key, value): &(Encoded, Encoded)| Ok((key.read()?, value.read()?));
        entries.iter().map(|entry| read(entry).map_err(SharedError::Value)).collect()
    }

    /// Takes all values away.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn clear(&self) -> Result<(), SharedError> {
        Ok(self.keeper.ask(messages::Clear).await?)
    }

    /// What was found instead of the expected, if something was.
    async fn swap(
        &self,
        key: &K,
        expected: Option<Encoded>,
        new: Option<&V>,
    ) -> Result<Option<Option<Encoded>>, SharedError> {
        let new = new.map(encoded).transpose()?;
        match self.keeper.ask(messages::Swap { key: encoded(key)?, expected, new }).await? {
            messages::Written::Yes(_) => Ok(None),
            messages::Written::Changed(found) => Ok(Some(found)),
            messages::Written::Full => Err(SharedError::Full),
        }
    }
}

impl<K: Serialize + DeserializeOwned> KeyValue<K, i64> {
    /// Adds to a key's number, which is 0 if it has none, and returns the sum; a sum beyond 64 bits stays at their end.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn add(&self, key: &K, by: i64) -> Result<i64, SharedError> {
        let sum = self.update(key, |number| Some(number.unwrap_or(0).saturating_add(by))).await?;
        Ok(sum.unwrap_or(0))
    }
}

fn encoded<T: Serialize>(value: &T) -> Result<Encoded, SharedError> {
    Encoded::of(value).map_err(SharedError::Value)
}

fn read<T: DeserializeOwned>(value: Option<Encoded>) -> Result<Option<T>, SharedError> {
    value.map(|value| value.read()).transpose().map_err(SharedError::Value)
}
