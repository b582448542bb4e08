//! Rules on plain values: no SQL, no HTTP, no clock.

pub mod filter;
pub mod gate;
pub mod raid;
pub mod rules;
