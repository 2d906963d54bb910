//! The pure parts together, in virtual time; only for tests.
#![forbid(unsafe_code)]

pub(crate) mod seeded;
