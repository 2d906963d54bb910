//! A value of any type that many processes read and write. Python's `multiprocessing.Value`.
//!
//! # Promise
//! - Every operation is whole. A write over a version succeeds only if nobody has written since, so two writers cannot
//!   overwrite each other unknowingly.
//! - The value is kept as its bytes: nothing of it is decoded in the keeper's process, and no value can harm it.
//! - Nobody holds it, so no death of a user changes it.
//! - What survives a restart of its own process: the value it was started with. Versions rise from one life to the next:
//!   a write over a version of an earlier life is refused.

use std::time::Instant;

use serde::{Serialize, de::DeserializeOwned};
use watertight::prelude::*;
use watertight::{DEFAULT_DEADLINE, Encoded};

use crate::handle::{Holds, Home, SharedError, TypedSpec, typed_handle, typed_places};

/// Versions of one life, before those of the next.
const VERSIONS_OF_A_LIFE: u32 = 40;

typed_handle! {
    /// A handle to a shared value; clone it, send it in messages and arguments.
    ///
    /// ```no_run
    /// use watertight::prelude::*;
    /// use watertight_actors::value::Value;
    ///
    /// # async fn f(sys: System) -> Result<()> {
    /// let limits = Value::start(&sys, (0.0, 1.0)).await?;
    /// limits.set(&(0.0, 2.0)).await?;
    /// let (now, version) = limits.read().await?;
    /// assert!(limits.compare_and_set(version, &(1.0, now.1)).await?.is_ok());
    /// let (low, _): (f64, f64) = limits.update(|(low, high)| (low / 2.0, high)).await?;
    /// assert_eq!(low, 0.5);
    /// # Ok(()) }
    /// ```
    Value<T> of T, Keeper
}

typed_places!(Value<T> of T, Keeper);

/// Which write of a value it was; it only says whether another came after.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(u64);

impl<T: Serialize + DeserializeOwned> Value<T> {
    /// Starts a value that is `first`.
    ///
    /// # Errors
    /// [`SharedError::Start`], [`SharedError::Value`].
    pub async fn start(home: impl Home, first: T) -> Result<Value<T>, SharedError> {
        Ok(Value::start_with(home, Value::spec(&first)?).await?)
    }

    /// A spec to add a name, a place in a group or limits to.
    ///
    /// # Errors
    /// [`SharedError::Value`].
    pub fn spec(first: &T) -> Result<TypedSpec<Keeper, T>, SharedError> {
        let first = Encoded::of(first).map_err(SharedError::Value)?;
        let holds = std::any::type_name::<T>().to_owned();
        Ok(TypedSpec::new(messages::Setup { holds, first }))
    }

    /// The value.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn get(&self) -> Result<T, SharedError> {
        Ok(self.read().await?.0)
    }

    /// The value, and its version.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn read(&self) -> Result<(T, Version), SharedError> {
        let messages::Read { value, version } = self.keeper.ask(messages::Look).await?;
        Ok((value.read().map_err(SharedError::Value)?, Version(version)))
    }

    /// Makes it `new`, whatever it is, and returns the new version.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn set(&self, new: &T) -> Result<Version, SharedError> {
        let (_, version) = self.write(new, None).await?;
        Ok(Version(version))
    }

    /// Makes it `new` if it is still of this version; else tells the version it has now, as the error within.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn compare_and_set(
        &self,
        expected: Version,
        new: &T,
    ) -> Result<Result<Version, Version>, SharedError> {
        let (is_written, version) = self.write(new, Some(expected.0)).await?;
        Ok(if is_written { Ok(Version(version)) } else { Err(Version(version)) })
    }

    /// Makes of it what `change` makes of it, and returns that. `change` is called again if somebody else has written
    /// meanwhile, for 5 s at most.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn update(&self, mut change: impl FnMut(T) -> T) -> Result<T, SharedError> {
        let end = Instant::now() + DEFAULT_DEADLINE;
        while Instant::now() < end {
            let (old, version) = self.read().await?;
            let new = change(old);
            if self.compare_and_set(version, &new).await?.is_ok() {
                return Ok(new);
            }
        }
        Err(SharedError::Deadline)
    }

    async fn write(&self, new: &T, expected: Option<u64>) -> Result<(bool, u64), SharedError> {
        let value = Encoded::of(new).map_err(SharedError::Value)?;
        Ok(self.keeper.ask(messages::Write { value, expected }).await?)
    }
}

mod messages {
    use watertight::Encoded;
    use watertight::prelude::*;

    #[data]
    #[derive(Clone)]
    pub struct Setup {
        pub(super) holds: String,
        pub(super) first: Encoded,
    }

    #[message(reply = Read, idempotent)]
    pub struct Look;

    #[data]
    pub struct Read {
        pub(super) value: Encoded,
        pub(super) version: u64,
    }

    /// Whether it was written, and the version now.
    #[message(reply = (bool, u64))]
    pub struct Write {
        pub(super) value: Encoded,
        pub(super) expected: Option<u64>,
    }
}

/// The actor behind a shared value.
pub struct Keeper {
    holds: String,
    value: Encoded,
    version: u64,
}

impl Actor for Keeper {
    type Args = messages::Setup;
    type Messages = (messages::Look, messages::Write, Holds);

    async fn start(setup: messages::Setup, cx: &mut Context<Self>) -> Result<Self> {
        let version = u64::from(cx.incarnation().0) << VERSIONS_OF_A_LIFE;
        Ok(Keeper { holds: setup.holds, value: setup.first, version })
    }
}

impl Handler<messages::Look> for Keeper {
    async fn handle(&mut self, _: messages::Look, _: &mut Context<Self>) -> Result<messages::Read> {
        Ok(messages::Read { value: self.value.clone(), version: self.version })
    }
}

impl Handler<messages::Write> for Keeper {
    async fn handle(&mut self, write: messages::Write, _: &mut Context<Self>) -> Result<(bool, u64)> {
        let is_written = write.expected.is_none_or(|expected| expected == self.version);
        if is_written {
            self.value = write.value;
            self.version += 1;
        }
        Ok((is_written, self.version))
    }
}

impl Handler<Holds> for Keeper {
    async fn handle(&mut self, _: Holds, _: &mut Context<Self>) -> Result<String> {
        Ok(self.holds.clone())
    }
}
