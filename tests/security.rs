//! What actors can do to each other, to the program and to the machine, by profile; and what is kept from outsiders.

#![allow(clippy::unwrap_used)]

#[path = "security/doors.rs"]
mod doors;
#[path = "security/grandchildren.rs"]
mod grandchildren;
#[path = "security/profiles.rs"]
mod profiles;
#[path = "security/sandbox.rs"]
mod sandbox;
#[path = "security/text.rs"]
mod text;
