//! `ackpost generate`: completions, man pages and the command reference, all from the clap tree.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ackpost_notify::Services;
use clap::{Args, Subcommand};
use clap_complete::Shell;

use crate::complete;
use crate::exit::{Done, Exit, Failure};
use crate::help;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page, or write one page for each command into a folder
    Man {
        /// Write ackpost.1, ackpost-send.1 … into this folder
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print the reference of all commands as Markdown
    Reference,
    /// Print the reference of all URL parameters as Markdown
    Parameters,
}

/// `tree` is the whole clap tree.
pub(crate) fn run(args: &GenerateArgs, mut tree: clap::Command, services: Services) -> Done {
    match &args.what {
        What::Completions { shell } => {
            let text = complete::script(&shell.to_string()).unwrap_or_default();
            output::raw(&text);
        }
        What::Man { dir: None } => {
            tree.build();
            output::raw(&help::man_page(&tree, "").expect("writing to memory"));
        }
        What::Man { dir: Some(dir) } => {
            let failed = |e: std::io::Error| {
                Failure::new(
                    format!("cannot write man pages to {}: {e}", dir.display()),
                    "choose a folder you may write to",
                )
            };
            fs::create_dir_all(dir).map_err(failed)?;
            tree.build();
            man_pages(&tree, "", dir).map_err(failed)?;
        }
        What::Parameters => output::raw(super::details::page(services).as_bytes()),
        What::Reference => {
            let mut tree = help::compact(tree);
            tree.build();
            let mut text = String::from(
                "# Command reference\n\nWritten by `ackpost generate reference`; do not edit.\n",
            );
            reference(&mut tree, "ackpost", &mut text);
            output::raw(text.as_bytes());
        }
    }
    Ok(Exit::Success)
}

fn man_pages(command: &clap::Command, path: &str, dir: &Path) -> std::io::Result<()> {
    let name = format!("ackpost {path}").trim().replace(' ', "-");
    fs::write(dir.join(format!("{name}.1")), help::man_page(command, path)?)?;
    for sub in command
        .get_subcommands()
        .filter(|s| !s.is_hide_set() && s.get_name() != "help")
    {
        man_pages(sub, format!("{path} {}", sub.get_name()).trim(), dir)?;
    }
    Ok(())
}

fn reference(command: &mut clap::Command, name: &str, out: &mut String) {
    let help = command.clone().bin_name(name).term_width(100).render_help();
    let _ = write!(out, "\n## `{name}`\n\n```text\n");
    for line in help.to_string().trim_end().lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out.push_str("```\n");
    let names: Vec<String> = command
        .get_subcommands()
        .filter(|s| !s.is_hide_set() && s.get_name() != "help")
        .map(|s| s.get_name().to_owned())
        .collect();
    for sub in names {
        let full = format!("{name} {sub}");
        reference(
            command.find_subcommand_mut(&sub).expect("listed above"),
            &full,
            out,
        );
    }
}
