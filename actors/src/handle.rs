//! What the handles of shared things have in common: where they are started and found, what goes wrong, of which type
//! their values are.

use std::any::type_name;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use thiserror::Error;
use watertight::prelude::*;
use watertight::{MessageKey, SpawnError, SystemError};

/// As a wait: as long as it takes. A hundred years; the wait still ends when the thing is restarted or has ended.
///
/// ```no_run
/// # use watertight_actors::{FOREVER, lock::Lock};
/// # async fn f(lock: Lock) -> watertight::Result<()> {
/// let guard = lock.acquire_within(FOREVER).await?;
/// # drop(guard); Ok(()) }
/// ```
pub const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Where a shared thing is started and found: the program's `&System`, or an actor's `&mut Context`.
///
/// Started in an actor, it stands under this actor and ends with it.
pub trait Home {
    /// Starts an actor.
    fn spawn_with<A: Actor>(self, spec: Spec<A>) -> impl Future<Output = Result<Address<A>, SpawnError>>;
    /// The address of the actor with this name.
    fn find<A: Actor>(self, name: &str) -> impl Future<Output = Result<Address<A>, SystemError>>;
}

impl Home for &System {
    async fn spawn_with<A: Actor>(self, spec: Spec<A>) -> Result<Address<A>, SpawnError> {
        System::spawn_with(self, spec).await
    }

    async fn find<A: Actor>(self, name: &str) -> Result<Address<A>, SystemError> {
        System::find(self, name).await
    }
}

impl<B: Actor> Home for &mut Context<B> {
    async fn spawn_with<A: Actor>(self, spec: Spec<A>) -> Result<Address<A>, SpawnError> {
        Context::spawn_with(self, spec).await
    }

    async fn find<A: Actor>(self, name: &str) -> Result<Address<A>, SystemError> {
        Context::find(self, name).await
    }
}

/// Why something was not done with a shared thing.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SharedError {
    /// The wait is over. Nothing has changed: the caller has left the line, and nothing was given to it.
    #[error("it was not had within the wait: wait for longer, or try again")]
    Deadline,
    /// The actor that kept it died. A wait is over; whether something else was done is in
    /// [`AskError::executed`]. Its next life begins as it was started.
    #[error("the actor that keeps it died, and what it kept is gone: {0}")]
    Died(AskError),
    /// It was not answered, for another reason.
    #[error("{0}")]
    Ask(AskError),
    /// It keeps values of another type.
    #[error("it keeps values of type {holds}, not of type {wanted}")]
    OtherType {
        /// What it keeps.
        holds: String,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A value does not encode, or takes more than 16 MiB; or what came is no value of this type.
    #[error("{0}")]
    Value(watertight::Error),
    /// Nothing of this name was found.
    #[error("{0}")]
    Find(#[from] SystemError),
    /// It did not start.
    #[error("{0}")]
    Start(#[from] SpawnError),
    /// It would be larger than it may: take something out first, or start it with a larger limit.
    #[error("it is full: take something out first, or start it with a larger limit")]
    Full,
}

impl From<AskError> for SharedError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Died { .. } | AskError::Quarantined { .. } => SharedError::Died(error),
            error => SharedError::Ask(error),
        }
    }
}

impl SharedError {
    /// How a wait has ended that is withdrawn: what was not had by the deadline is not had later either.
    pub(crate) fn of_wait(error: AskError) -> Self {
        match error {
            // The keeper gives up the right to answer only when the deadline has passed, and may be the first to see it.
            AskError::Deadline { .. } | AskError::NoReply => SharedError::Deadline,
            error => error.into(),
        }
    }
}

/// Tells one type of values from another: of its name, as the compiler writes it. Two programs that share a thing must
/// name the type alike.
pub(crate) fn mark<T: ?Sized>() -> u64 {
    MessageKey::named(type_name::<T>()).0
}

/// Whether what a keeper says that it holds is this type.
pub(crate) fn check<T: ?Sized>(holds: String) -> Result<(), SharedError> {
    let wanted = type_name::<T>();
    if holds == wanted { Ok(()) } else { Err(SharedError::OtherType { holds, wanted }) }
}

/// Answers what type of values the thing keeps.
#[message(reply = String, idempotent)]
pub struct Holds;

/// How a thing is started as its spec says, and found: for handles without a type of values.
macro_rules! places {
    ($name:ident, $keeper:ty) => {
        impl $name {
            /// Starts one as its spec says: with a name, in its place in the tree.
            ///
            /// # Errors
            /// [`SpawnError`](watertight::SpawnError).
            pub async fn start_with(
                home: impl $crate::Home,
                spec: watertight::Spec<$keeper>,
            ) -> Result<Self, watertight::SpawnError> {
                Ok(Self { keeper: home.spawn_with(spec).await? })
            }

            /// The one whose actor has this name.
            ///
            /// # Errors
            /// [`SharedError::Find`](crate::SharedError::Find).
            pub async fn find(home: impl $crate::Home, name: &str) -> Result<Self, $crate::SharedError> {
                Ok(Self { keeper: home.find(name).await? })
            }

            /// The address of the actor behind it: to stop, kill or monitor it.
            pub fn address(&self) -> &watertight::Address<$keeper> {
                &self.keeper
            }
        }
    };
}
pub(crate) use places;

/// The same for handles with a type of values, which the keeper is asked for.
macro_rules! typed_places {
    ($name:ident<$($parameter:ident),+> of $values:ty, $keeper:ty) => {
        impl<$($parameter),+> $name<$($parameter),+> {
            /// Starts one as its spec says: with a name, in its place in the tree.
            ///
            /// # Errors
            /// [`SpawnError`](watertight::SpawnError).
            pub async fn start_with(
                home: impl $crate::Home,
                spec: $crate::handle::TypedSpec<$keeper, $values>,
            ) -> Result<Self, watertight::SpawnError> {
                Ok(Self::new(home.spawn_with(spec.into_spec()).await?))
            }

            /// The one whose actor has this name, if its values are of this type.
            ///
            /// # Errors
            /// [`SharedError::Find`](crate::SharedError::Find), [`SharedError::OtherType`](crate::SharedError::OtherType).
            pub async fn find(home: impl $crate::Home, name: &str) -> Result<Self, $crate::SharedError> {
                let keeper: watertight::Address<$keeper> = home.find(name).await?;
                $crate::handle::check::<$values>(keeper.ask($crate::handle::Holds).await?)?;
                Ok(Self::new(keeper))
            }
        }
    };
}
pub(crate) use typed_places;

/// How a thing with values of type `T` is started: a [`Spec`] that remembers the type.
pub struct TypedSpec<K: Actor, T> {
    spec: Spec<K>,
    values: PhantomData<fn() -> T>,
}

impl<K: Actor, T> TypedSpec<K, T> {
    pub(crate) fn new(arguments: K::Args) -> Self {
        TypedSpec { spec: Spec::new(arguments), values: PhantomData }
    }

    /// Says more about how it is started: a name, a restart policy, limits.
    ///
    /// ```no_run
    /// # use watertight::prelude::*;
    /// # use watertight_actors::queue::Queue;
    /// # async fn f(sys: System) -> Result<()> {
    /// let spec = Queue::<String>::spec(100).with(|spec| spec.name("jobs").memory(256 << 20));
    /// let jobs = Queue::start_with(&sys, spec).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with(mut self, more: impl FnOnce(Spec<K>) -> Spec<K>) -> Self {
        self.spec = more(self.spec);
        self
    }

    /// The spec itself, for a place in a group; the thing is then had with `find`.
    pub fn into_spec(self) -> Spec<K> {
        self.spec
    }
}

/// Makes a handle for values of a type: an address that remembers the type, also when it travels.
macro_rules! typed_handle {
    ($(#[$doc:meta])* $name:ident<$($parameter:ident),+> of $values:ty, $keeper:ty) => {
        $(#[$doc])*
        pub struct $name<$($parameter),+> {
            keeper: watertight::Address<$keeper>,
            values: std::marker::PhantomData<fn() -> $values>,
        }

        impl<$($parameter),+> $name<$($parameter),+> {
            fn new(keeper: watertight::Address<$keeper>) -> Self {
                Self { keeper, values: std::marker::PhantomData }
            }

            /// The address of the actor behind it: to stop, kill or monitor it.
            pub fn address(&self) -> &watertight::Address<$keeper> {
                &self.keeper
            }
        }

        impl<$($parameter),+> Clone for $name<$($parameter),+> {
            fn clone(&self) -> Self {
                Self::new(self.keeper.clone())
            }
        }

        impl<$($parameter),+> PartialEq for $name<$($parameter),+> {
            fn eq(&self, other: &Self) -> bool {
                self.keeper == other.keeper
            }
        }

        impl<$($parameter),+> Eq for $name<$($parameter),+> {}

        impl<$($parameter),+> std::fmt::Debug for $name<$($parameter),+> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.keeper.actor())
            }
        }

        impl<$($parameter),+> serde::Serialize for $name<$($parameter),+> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                (&self.keeper, $crate::handle::mark::<$values>()).serialize(serializer)
            }
        }

        impl<'de, $($parameter),+> serde::Deserialize<'de> for $name<$($parameter),+> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (keeper, mark) = <(watertight::Address<$keeper>, u64)>::deserialize(deserializer)?;
                if mark == $crate::handle::mark::<$values>() {
                    Ok(Self::new(keeper))
                } else {
                    let wanted = std::any::type_name::<Self>();
                    Err(serde::de::Error::custom(format_args!("the handle is for other values than {wanted}")))
                }
            }
        }

        impl<$($parameter),+> postcard_schema::Schema for $name<$($parameter),+> {
            const SCHEMA: &'static postcard_schema::schema::NamedType = &postcard_schema::schema::NamedType {
                name: stringify!($name),
                ty: &postcard_schema::schema::DataModelType::Tuple(&[
                    <watertight::Address<$keeper> as postcard_schema::Schema>::SCHEMA,
                    <u64 as postcard_schema::Schema>::SCHEMA,
                ]),
            };
        }
    };
}
pub(crate) use typed_handle;
