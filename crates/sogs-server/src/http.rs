//! HTTP: one router behind three doors (the network, onion requests, batches), authentication, limits.

mod auth;
mod batch;
mod context;
mod listen;
pub(crate) mod memory;
mod onion;
pub(crate) mod render;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod response_cache;
pub(crate) mod route;
mod routes;

pub(crate) use auth::claim;
pub(crate) use context::visible_room;
pub(crate) use listen::listen;
pub(crate) use reply::Refusal;
pub(crate) use routes::files::{NAME as FILE_NAME, clean as clean_file_name};
pub(crate) use routes::page::Viewer;
