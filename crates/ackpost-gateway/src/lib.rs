//! The gateway: one resident process that takes messages over HTTP, stores them in the outbox and delivers them over
//! kept connections.
//!
//! [`Config::load`] reads `gateway.toml`, [`run`] serves until a signal ends it, [`Tokens`] are the permissions. A request
//! takes this way:
//!
//! ```text
//! serve ── router ── auth (token, rates) ── payload (json, form, multipart) ── catalog (key -> services)
//!                                                                                   │
//!   answer <── reply (json or text) <── routes::send <── ackpost_outbox::accept <───┘
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

#![warn(clippy::missing_errors_doc)]

mod attach;
mod auth;
mod catalog;
mod compat;
mod config;
mod health;
mod hook;
mod json_value;
mod key;
mod listeners;
mod login;
mod look;
mod mail;
#[cfg(test)]
mod matrix;
mod memory;
mod metrics;
mod operate;
mod pages;
mod payload;
mod permit;
mod rate;
mod recipient;
mod replacing;
mod reply;
mod router;
mod routes;
mod run;
mod serve;
mod signature;
mod smtp;
mod state;
mod store;
mod tags;
mod token;
mod units;

pub use catalog::OperatorOptions;
pub use config::{Access, Config, ConfigError, DEFAULT_TEXT};
pub use key::Key;
pub use look::{Fact, answers};
pub use mail::{Mail, MailError, MailFile};
pub use rate::Rate;
pub use run::{GatewayError, Listening, run};
pub use token::{Grant, NewToken, Scope, TokenError, Tokens};
pub use units::duration;

/// Readers of what anybody may send over SMTP, for the fuzz targets.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    /// Reads any bytes as commands and as the data of a mail.
    pub fn smtp(bytes: &[u8]) {
        crate::smtp::read_any(bytes);
    }
}

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
