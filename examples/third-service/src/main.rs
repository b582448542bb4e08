//! The command line of Ackpost with one service more.

use std::process::ExitCode;

use ackpost_notify::Services;
use ackpost_notify::service::{SOGS, XMPP};

/// Everything that URLs may name in this program.
static SERVICES: Services = Services::new(&[&SOGS, &XMPP, &third_service::TCPLINE]);

fn main() -> ExitCode {
    ackpost_cli::run(SERVICES)
}
