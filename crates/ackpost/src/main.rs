//! Ackpost: post that is acknowledged.
//!
//! This crate is the one binary. It parses what was typed, builds configurations, calls the libraries
//! and prints outcomes; it knows no SQL, no stanza XML and no signatures.

// Documentation of the argument types is help text first: a person at a terminal reads it.
#![allow(rustdoc::bare_urls)]

mod argv;
mod cli;
mod cmd;
mod context;
mod exit;
mod help;
mod input;
mod log;
mod output;
mod progress;
mod run;
mod similar;
mod sources;
mod usage;

use std::process::ExitCode;

use crate::argv::Call;

fn main() -> ExitCode {
    // Before any secret is read.
    sogs_server::dumps::forbid();
    // The one place where a TLS provider is chosen; the libraries take it from here.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let call = match Call::from_process() {
        Ok(call) => call,
        Err(usage) => return usage.print().into(),
    };
    run::run(&call).into()
}
