//! Fault plans on real processes: each fault at each cut, what it costs, and that the report says so.

#![allow(clippy::unwrap_used)]

#[path = "plans/cuts.rs"]
mod cuts;
#[path = "plans/frames.rs"]
mod frames;
#[path = "plans/rules.rs"]
mod rules;
