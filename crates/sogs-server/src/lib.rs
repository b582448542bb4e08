//! The community server as a library: a [`Config`], and [`Server::start`].
//!
//! | module | what |
//! |---|---|
//! | [`config`] | `server.toml`, every option with its default |
//! | [`model`] | rules on plain values: permissions, filters, gates, raids |
//! | [`store`] | one trait, one SQL text, SQLite and PostgreSQL |
//! | `http` | one router behind three doors: network, onion requests, batches |
//! | [`guard`] | the rules of the operator, asked before something is stored |
//! | [`admin`], [`web`], [`plugin`], [`import`] | commands, pages, plugins, moving in |

pub mod account;
mod activity;
pub mod admin;
mod app;
mod arrivals;
mod cache;
pub mod config;
mod contents;
mod database_url;
pub mod dumps;
pub mod guard;
mod http;
pub mod import;
mod jobs;
mod key;
pub mod model;
mod moderation;
mod nonce;
pub mod plugin;
mod search;
mod server;
mod shared;
pub mod store;
pub mod web;

pub use app::{App, Counters, LogLevel, unix_now};
pub use cache::{Live, Room, User};
pub use config::{Config, ConfigError};
pub use contents::{ContentError, Contents, content_name};
pub use key::{load_key, load_or_create_key, write_key};
pub use server::{Running, Server, StartError, bind};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
