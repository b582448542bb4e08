//! The outbox, every test on SQLite and on PostgreSQL.

mod alarm;
mod crash;
mod queue;
mod shared;
mod storm;
mod support;
