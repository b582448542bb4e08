//! Rules on plain values: no SQL, no HTTP, no clock.

pub mod filter;
pub mod gate;
pub mod permission;
pub mod raid;
pub mod reaction;
pub mod rules;
pub mod verdict;
