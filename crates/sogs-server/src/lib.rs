//! The community server as a library: a [`Config`], and [`Server::start`].
//!
//! | module | what |
//! |---|---|
//! | [`config`] | `server.toml`, every option with its default |
//! | [`store`] | the crate `sogs-store`: the database, and rules on plain values |
//! | `http` | one router for network, onion requests and batches |
//! | [`guard`] | the rules of the operator, asked before something is stored |
//! | [`admin`], [`web`], [`plugin`], [`import`] | commands, pages, plugins, imports and backups |

mod activity;
pub mod admin;
mod app;
mod arrivals;
mod cache;
mod clock;
pub mod config;
mod contents;
pub mod dumps;
pub mod guard;
mod http;
pub mod import;
mod jobs;
mod key;
mod moderation;
mod nonce;
pub mod plugin;
mod server;
mod shared;
pub mod web;

pub use sogs_store::{self as store, account, model};
use sogs_store::{database_url, search};

pub use app::{App, Counters, LogLevel};
pub use cache::{Room, RoomCounters, User};
pub use clock::{set_clock_wrong_by, unix_now};
pub use config::{Config, ConfigError};
pub use contents::{BlobStore, ContentError, content_name};
pub use key::{load_key, load_or_create_key, write_key};
pub use server::{Running, Server, StartError, bind};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
