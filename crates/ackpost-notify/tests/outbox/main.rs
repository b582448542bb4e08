//! The outbox, every test on SQLite and on PostgreSQL.

#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests fail by panicking, and some tell a long story"
)]

mod alarm;
mod crash;
mod disk;
mod doubt;
mod jumps;
mod large;
mod look;
mod partial;
mod queue;
mod rest;
mod shared;
mod storm;
mod support;
