//! The gateway: one resident process that takes messages over HTTP, stores them in the outbox and delivers them over
//! kept connections.
//!
//! [`Config::load`] reads `gateway.toml`, [`run`] serves until a signal ends it, [`Tokens`] are the permissions. A request
//! takes this way:
//!
//! ```text
//! serve ── router ── auth (token, rates) ── payload (json, form, multipart) ── catalog (key -> services)
//!                                                                                   │
//!   answer <── reply (json or text) <── routes::send <── ackpost_notify::outbox::accept <───┘
//! ```
//!
//! ```
//! use ackpost_gateway::{Access, Config};
//!
//! let folder = std::env::temp_dir().join("gateway");
//! let config = Config::with_folder(folder);
//! assert_eq!(config.access, Access::Auto);
//! assert!(config.listen.iter().all(|address| address.ip().is_loopback()));
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

pub use catalog::OperatorOptions;
pub use config::{Access, Config, ConfigError, DEFAULT_TEXT};
pub use key::Key;
pub use rate::Rate;
pub use run::{GatewayError, run};
pub use token::{Grant, NewToken, Scope, TokenError, Tokens};
pub use units::duration;

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
