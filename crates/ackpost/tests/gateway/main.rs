//! The gateway as a real process, asked over real connections.

mod access;
mod api;
mod apprise;
mod bounds;
mod documented;
mod hostile;
mod intake;
mod kept;
mod lifecycle;
mod operator;
mod pages;
mod process;
#[path = "../support/mod.rs"]
mod support;
mod webhooks;
