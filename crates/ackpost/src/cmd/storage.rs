//! `ackpost storage`: accepted for Apprise's sake. Neither service keeps anything on disk.

use clap::Args;

use crate::cli::refuse_value;
use crate::context::Context;
use crate::exit::Exit;

#[derive(Debug, Args)]
pub(crate) struct StorageArgs {
    /// Where Apprise would keep its files; nothing is kept here
    #[arg(short = 'S', long, value_name = "PATH")]
    storage_path: Option<String>,
    /// Age in days after which Apprise would remove them
    #[arg(long, value_name = "INTEGER")]
    storage_prune_days: Option<String>,
    /// Length of the ids
    #[arg(long, value_name = "INTEGER")]
    storage_uid_length: Option<String>,
    /// auto, flush or memory
    #[arg(long, value_name = "MODE")]
    storage_mode: Option<String>,
    /// Configuration files, as in `send`
    #[arg(short, long, value_name = "CONFIG_URL")]
    config: Vec<String>,
    /// Tags, as in `send`
    #[arg(short = 'g', long, value_name = "TAG")]
    tag: Vec<String>,
    /// list, prune, clear or clean, then ids or URLs
    #[arg(value_name = "ACTION")]
    action: Vec<String>,
}

pub(crate) fn run(args: &StorageArgs, context: Context) -> Exit {
    let (days, length, mode) = (&args.storage_prune_days, &args.storage_uid_length, &args.storage_mode);
    if let Err(refused) = super::send::check_storage(days.as_deref(), length.as_deref(), mode.as_deref(), true) {
        return refuse_value(context, &refused);
    }
    if let Some(word) = args.action.first()
        && !["list", "prune", "clear", "clean"].contains(&word.as_str())
    {
        return refuse_value(context, &format!("The storage action '{word}' is not one of list, prune, clear, clean."));
    }
    Exit::Success
}
