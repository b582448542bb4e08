//! The commands, one module each.

pub(crate) mod bridge;
pub(crate) mod config;
#[cfg(unix)]
pub(crate) mod demo;
pub(crate) mod details;
pub(crate) mod dm;
pub(crate) mod doctor;
pub(crate) mod gateway;
pub(crate) mod generate;
pub(crate) mod identity;
pub(crate) mod omemo;
pub(crate) mod outbox;
mod people;
pub(crate) mod preview;
pub(crate) mod room;
pub(crate) mod send;
pub(crate) mod sendmail;
pub(crate) mod sendxmpp;
#[cfg(unix)]
pub(crate) mod server;
pub(crate) mod storage;
pub(crate) mod watch;
