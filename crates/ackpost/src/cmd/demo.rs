//! `ackpost demo`: the whole way of a message, shown step by step.

use clap::Args;

use crate::context::Context;
use crate::exit::{Done, Exit};

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the server running, and print its link
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(_args: &DemoArgs, _context: Context) -> Done {
    Ok(Exit::Success)
}
