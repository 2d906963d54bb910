//! Pools and processes: plain functions in processes of their own, and what becomes of the others when one dies.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

#[path = "pools/faults.rs"]
mod faults;
#[path = "pools/maps.rs"]
mod maps;
#[path = "pools/processes.rs"]
mod processes;
