//! Attributes by name, each of a type of its own, that many processes read and write. Python's `Manager().Namespace()`.
//!
//! # Promise
//! - An attribute remembers the type that it was set with, and is read only as that: as another, it is
//!   [`SharedError::OtherType`].
//! - The rest is as with [values by key](crate::key_value), of which it is made: bytes that the keeper does not decode,
//!   limits, no holder, and empty after a restart of its own process.

use std::any::type_name;

use serde::{Serialize, de::DeserializeOwned};
use watertight::Encoded;
use watertight::prelude::*;

use crate::handle::{Home, SharedError, TypedSpec, check};
use crate::key_value::{Keeper, KeyValue, Limits};

/// A handle to a namespace; clone it, send it in messages and arguments.
///
/// ```no_run
/// use watertight::prelude::*;
/// use watertight_actors::namespace::Namespace;
///
/// # async fn f(sys: System) -> Result<()> {
/// let settings = Namespace::start(&sys).await?;
/// settings.set("rate", &0.1).await?;
/// settings.set("colours", &vec!["red".to_string()]).await?;
/// assert_eq!(settings.get::<f64>("rate").await?, Some(0.1));
/// assert!(settings.get::<u64>("rate").await.is_err());
/// # Ok(()) }
/// ```
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    attributes: KeyValue<String, Attribute>,
}

/// A value, and the name of its type.
#[data]
#[derive(Clone, Debug)]
pub struct Attribute {
    holds: String,
    value: Encoded,
}

impl Namespace {
    /// Starts one with the limits of [values by key](Limits::default).
    ///
    /// # Errors
    /// [`SharedError::Start`].
    pub async fn start(home: impl Home) -> Result<Namespace, SharedError> {
        Namespace::start_with(home, Namespace::spec(Limits::default())).await
    }

    /// Starts one as its spec says.
    ///
    /// # Errors
    /// [`SharedError::Start`].
    pub async fn start_with(
        home: impl Home,
        spec: TypedSpec<Keeper, (String, Attribute)>,
    ) -> Result<Namespace, SharedError> {
        Ok(Namespace { attributes: KeyValue::start_with(home, spec).await? })
    }

    /// A spec to add a name, a place in a group or limits to.
    pub fn spec(limits: Limits) -> TypedSpec<Keeper, (String, Attribute)> {
        KeyValue::spec(limits)
    }

    /// The one whose actor has this name.
    ///
    /// # Errors
    /// [`SharedError::Find`], [`SharedError::OtherType`].
    pub async fn find(home: impl Home, name: &str) -> Result<Namespace, SharedError> {
        Ok(Namespace { attributes: KeyValue::find(home, name).await? })
    }

    /// The address of the actor behind it: to stop, kill or monitor it.
    pub fn address(&self) -> &Address<Keeper> {
        self.attributes.address()
    }

    /// The attribute of this name, if there is one.
    ///
    /// # Errors
    /// [`SharedError::OtherType`] if it was set with another type; [`SharedError`].
    pub async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SharedError> {
        let Some(Attribute { holds, value }) = self.attributes.get(&name.to_owned()).await? else {
            return Ok(None);
        };
        check::<T>(holds)?;
        value.read().map(Some).map_err(SharedError::Value)
    }

    /// Sets the attribute of this name, whatever it was.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn set<T: Serialize>(&self, name: &str, value: &T) -> Result<(), SharedError> {
        let value = Encoded::of(value).map_err(SharedError::Value)?;
        let attribute = Attribute { holds: type_name::<T>().to_owned(), value };
        self.attributes.insert(&name.to_owned(), &attribute).await.map(drop)
    }

    /// Takes the attribute of this name away, and answers whether there was one.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn remove(&self, name: &str) -> Result<bool, SharedError> {
        Ok(self.attributes.remove(&name.to_owned()).await?.is_some())
    }

    /// The names of all attributes.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn names(&self) -> Result<Vec<String>, SharedError> {
        self.attributes.keys().await
    }
}
