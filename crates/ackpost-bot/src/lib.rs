//! The parts of a chat bot that need no network: commands, roles, cooldowns, schedules, and a memory.
//!
//! A bot of some chat gives its own context and outcome to [`Command`], keeps its commands in [`Commands`], and asks
//! [`Commands::look`] about each line that somebody writes. Times are parameters: the crate reads no clock.

mod command;
mod cooldown;
pub mod line;
mod memory;
mod role;
mod schedule;

pub use command::{Command, Commands, Found, Handler, HandlerFuture, handler};
pub use cooldown::Cooldowns;
pub use memory::{Memory, MemoryStore, Recollection, StateStore, StoreError};
pub use role::Role;
pub use schedule::{Schedule, ScheduleError, Scheduled};

/// Reads one argument of a command as a `T`. A leading `@` is passed over.
///
/// # Errors
/// The text for the caller, if the argument is missing or wrong.
pub fn argument<T: std::str::FromStr>(args: &[String], index: usize) -> Result<T, String> {
    let text = args
        .get(index)
        .ok_or_else(|| format!("Argument {} is missing.", index + 1))?;
    text.trim_start_matches('@')
        .parse()
        .map_err(|_| format!("I do not understand “{text}”."))
}

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
