//! Delivers URLs of services that Ackpost does not implement through an installed Apprise.
//!
//! [`APPRISE`] is added to the services of a program with
//! [`Services::with_foreign`](ackpost_notify::Services::with_foreign). Nothing is started before a message is sent: then
//! one Python process delivers one message of one URL at a time. URLs and texts go through its standard input, so that no
//! secret is in a process list, an environment or on a disk.

#![warn(clippy::missing_errors_doc)]

mod answer;
mod find;
mod schemas;
mod service;
mod worker;

pub use find::Candidate;
pub use service::{APPRISE, DELEGATED};
pub use worker::{Installed, installed};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
