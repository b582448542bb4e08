//! HTTP: one router behind three doors (the network, onion requests, batches), authentication, limits.

pub(crate) mod answers;
mod auth;
mod batch;
pub(crate) mod budget;
mod listen;
mod onion;
pub(crate) mod render;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod route;
mod routes;
mod steady;

pub(crate) use auth::claim;
pub use listen::client;
pub(crate) use listen::{Listening, listen};
pub(crate) use routes::files::{NAME as FILE_NAME, clean as clean_file_name};
pub use steady::Steady;
