//! The commands, one module each.

pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod details;
pub(crate) mod doctor;
pub(crate) mod gateway;
pub(crate) mod generate;
pub(crate) mod outbox;
pub(crate) mod preview;
pub(crate) mod send;
pub(crate) mod server;
pub(crate) mod storage;
