//! The program `ackpost` as a library, for programs that add their own services.
//!
//! ```no_run
//! use ackpost_notify::service::{SOGS, Services, XMPP};
//!
//! // A program adds its own: `examples/third-service` in the repository does.
//! static SERVICES: Services = Services::new(&[&SOGS, &XMPP]);
//!
//! fn main() -> std::process::ExitCode {
//!     ackpost_cli::run(SERVICES)
//! }
//! ```
//!
//! This crate parses what was typed, builds configurations, calls the libraries and prints outcomes; it does not know SQL,
//! stanza XML or signatures.

// Documentation of the argument types is help text first: a person at a terminal reads it.
#![allow(rustdoc::bare_urls)]

mod argv;
mod cli;
mod cmd;
mod complete;
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

use ackpost_notify::Services;

use crate::argv::Call;

/// Runs the command line of this process; URLs may name these services. Everything that `ackpost` does with a URL knows
/// them: sending, previews, configuration files, the outbox and its worker, the gateway, `doctor` and `details`.
///
/// It is to be called first, by `main`: it forbids memory dumps of the process, which will hold secrets, and chooses the TLS
/// provider of the process unless one is chosen.
pub fn run(services: Services) -> ExitCode {
    // Before any secret is read.
    #[cfg(unix)]
    sogs_server::dumps::forbid();
    // The one place where a TLS provider is chosen; the libraries take it from here.
    if let Ok(provider) = ackpost_tls::provider() {
        let _ = rustls::crypto::CryptoProvider::clone(&provider).install_default();
    }
    if complete::answer(services) {
        return ExitCode::SUCCESS;
    }
    let call = match Call::from_process() {
        Ok(call) => call,
        Err(usage) => return usage.print().into(),
    };
    run::run(&call, services).into()
}
