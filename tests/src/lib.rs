//! What the fault-injection tests share: the misbehaving specimen, and waiting for what should happen.

#![allow(missing_docs)]

pub mod attack;
pub mod confined;
pub mod doomed;
pub mod loud;
pub mod member;
pub mod reliability;
pub mod siege;
pub mod specimen;
pub mod starved;

pub use specimen::{Fault, Specimen};
pub use watertight::testing::history;

#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-actors.md")]
pub struct WritingActors;

#[cfg(doctest)]
#[doc = include_str!("../../docs/shared.md")]
pub struct Shared;

#[cfg(doctest)]
#[doc = include_str!("../../docs/security.md")]
pub struct Security;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
pub struct Testing;

#[cfg(doctest)]
#[doc = include_str!("../../docs/pools.md")]
pub struct Pools;

#[cfg(doctest)]
#[doc = include_str!("../../docs/from-python.md")]
pub struct FromPython;
