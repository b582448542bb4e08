//! The gateway: one resident process that takes messages over HTTP, stores them and delivers them over kept
//! connections.
//!
//! ```text
//! serve ── router ── auth (token, rates) ── payload (json, form, multipart) ── catalog (key -> services)
//!                                                                                   │
//!   answer <── reply (json or text) <── routes::send <── ackpost_notify::outbox::accept <───┘
//! ```

mod attach;
mod auth;
mod catalog;
mod config;
mod health;
mod hook;
mod key;
mod login;
#[cfg(test)]
mod matrix;
mod memory;
mod metrics;
mod pages;
mod payload;
pub(crate) mod private_file;
mod rate;
mod reply;
mod router;
mod routes;
mod run;
mod serve;
mod state;
mod store;
mod tags;
mod token;
mod turn;
mod units;

pub(crate) use config::{Access, Config, DEFAULT_TEXT};
pub(crate) use key::Key;
pub(crate) use private_file::create_folder as private_folder;
pub(crate) use rate::Rate;
pub(crate) use run::{GatewayError, run};
pub(crate) use token::{NewToken, Scope, TokenError, Tokens};
pub(crate) use units::duration;
