//! The gateway as a real process, asked over real connections.

mod access;
mod api;
mod apprise;
mod hostile;
mod lifecycle;
mod pages;
mod process;
#[path = "../support/mod.rs"]
mod support;
mod webhooks;
