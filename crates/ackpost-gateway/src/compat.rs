//! Requests of programs that only know another service: ntfy, gotify, Slack's and Discord's webhooks, plain text.
//!
//! [`service`] has the paths, one module for each service reads its requests, and [`answer`] writes the answers that its
//! clients expect. The handlers are in `routes::compat`.

pub(crate) mod answer;
mod color;
pub(crate) mod credential;
pub(crate) mod discord;
mod encoded_word;
pub(crate) mod gotify;
pub(crate) mod ntfy;
pub(crate) mod service;
pub(crate) mod slack;

pub(crate) use service::{CompatRoute, CompatService};
