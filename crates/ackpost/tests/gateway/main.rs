//! The gateway as a real process, asked over real connections.

mod access;
mod answers;
mod answers_direct;
mod api;
mod apprise;
mod bounds;
mod clients;
mod compat;
mod disk;
mod documented;
mod foreign;
mod hostile;
mod intake;
mod kept;
mod kuma;
mod lifecycle;
mod loops;
mod older;
mod operator;
mod pages;
mod process;
mod resolved;
mod sendmail;
mod smtp;
mod smtp_hostile;
mod smtp_recipients;
#[path = "../support/mod.rs"]
mod support;
mod webhooks;
mod wiped;
mod xmpp;
