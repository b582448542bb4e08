//! The outbox, every test on SQLite and on PostgreSQL.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod alarm;
mod answers;
mod conflicts;
mod crash;
mod disk;
mod doubt;
mod jumps;
mod large;
mod look;
mod lost_commit;
mod partial;
mod queue;
mod rest;
mod shared;
mod storm;
mod support;
