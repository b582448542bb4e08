//! Help and version under the name `apprise`.

use std::fmt::Write as _;

use ackpost_apprise::APPRISE_VERSION;
use clap::{ArgAction, CommandFactory as _};

use crate::argv::{MULTI_LETTER, is_apprise};
use crate::cli::Cli;
use crate::context::Invocation;
use crate::output;

/// The column in which the texts of the options begin.
const COLUMN: usize = 34;
/// `--version`. Under our own name it also says which Apprise the program was compared with.
pub(crate) fn print_version(name: Invocation) {
    let own = concat!("ackpost ", env!("CARGO_PKG_VERSION"));
    if name == Invocation::Apprise {
        output::line(&format!("Apprise v{APPRISE_VERSION}"));
        output::line(&format!("{own}, which speaks its language"));
        output::line("Licensed under MIT or Apache-2.0.");
    } else {
        output::line(own);
        output::line(&format!("Apprise {APPRISE_VERSION} (URLs, flags, configuration)"));
    }
}

/// `apprise --help`.
pub(crate) fn print_apprise() {
    let width = std::env::var("COLUMNS")
        .ok()
        .and_then(|c| c.parse().ok())
        .unwrap_or(80usize)
        .clamp(60, 80);
    output::line(apprise(width).trim_end());
}

fn apprise(width: usize) -> String {
    let tree = Cli::command();
    let send = tree.find_subcommand("send").expect("the tree has `send`");
    let mut out = String::from(
        "Usage:\n   apprise [OPTIONS] [APPRISE_URL [APPRISE_URL2 [APPRISE_URL3]]]\n   \
         apprise storage [OPTIONS] [ACTION] [UID1 [UID2 [UID3]]]\n\n\
         Send a message to the XMPP accounts, rooms and Session communities named by the URLs.\n\
         This is Ackpost under the name of Apprise; `ackpost --help` shows what else it can do.\n\nOptions:\n",
    );
    for arg in send.get_arguments().chain(tree.get_arguments()) {
        let Some(long) = arg.get_long().filter(|_| is_apprise(arg) && !arg.is_hide_set()) else {
            continue;
        };
        let short = MULTI_LETTER
            .iter()
            .find(|(_, l)| *l == long)
            .map(|(multi, _)| (*multi).to_owned())
            .or_else(|| arg.get_short().map(|s| format!("-{s}")));
        let mut left = short.map_or_else(|| format!("--{long}"), |s| format!("{s}, --{long}"));
        if matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
            let value = arg
                .get_value_names()
                .and_then(|names| names.first())
                .map_or("TEXT", |n| n.as_str());
            let _ = write!(left, " {value}");
        }
        // Here the short name is on the left.
        let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let text = MULTI_LETTER
            .iter()
            .fold(text, |text, (multi, _)| text.replace(&format!(" ({multi})"), ""));
        entry(&mut out, &left, &text, width);
    }
    entry(&mut out, "-V, --version", "Show the version and exit", width);
    entry(&mut out, "-h, --help", "Show this message and exit", width);
    out.push_str("\nActions:\n  storage             Accepted; these services keep nothing on disk\n");
    for (action, text) in [
        ("list", "List what is stored (nothing)"),
        ("prune", "Remove what is old"),
        ("clean", "Remove everything"),
    ] {
        let _ = writeln!(out, "    {action:<18}{text}");
    }
    out
}

/// One option: its names on the left, its text wrapped on the right.
fn entry(out: &mut String, left: &str, text: &str, width: usize) {
    let mut line = format!("  {left}");
    if line.len() + 2 > COLUMN {
        let _ = writeln!(out, "{line}");
        line.clear();
    }
    for word in text.split_whitespace() {
        if line.len() > COLUMN && line.len() + 1 + word.len() > width {
            let _ = writeln!(out, "{line}");
            line.clear();
        }
        if line.len() < COLUMN {
            line = format!("{line:<COLUMN$}");
        } else {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}
