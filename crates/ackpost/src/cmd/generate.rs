//! `ackpost generate`: completions, man pages and the command reference, all from the clap tree.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use clap_complete::Shell;

use crate::exit::{Done, Exit, Failure};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Completions for a shell, on standard output
    Completions {
        /// The shell
        shell: Shell,
    },
    /// The man page on standard output, or one page for each command in a folder
    Man {
        /// Write ackpost.1, ackpost-send.1 … into this folder
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// The reference of all commands as Markdown, on standard output
    Reference,
    /// The reference of all URL parameters as Markdown, on standard output
    Parameters,
}

/// `tree` is the whole clap tree.
pub(crate) fn run(args: &GenerateArgs, mut tree: clap::Command) -> Done {
    match &args.what {
        What::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut tree, "ackpost", &mut text);
            output::raw(&text);
        }
        What::Man { dir: None } => {
            let mut text = Vec::new();
            clap_mangen::Man::new(tree)
                .render(&mut text)
                .expect("writing to memory");
            output::raw(&text);
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
            man_pages(&tree, "ackpost", dir).map_err(failed)?;
        }
        What::Parameters => output::raw(super::details::page().as_bytes()),
        What::Reference => {
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

fn man_pages(command: &clap::Command, name: &str, dir: &Path) -> std::io::Result<()> {
    let mut text = Vec::new();
    // The page's name has dashes, and clap wants a name that lives as long as the program.
    let page: &'static str = Box::leak(name.replace(' ', "-").into_boxed_str());
    clap_mangen::Man::new(command.clone().name(page).display_name(page).bin_name(name)).render(&mut text)?;
    fs::write(dir.join(format!("{page}.1")), text)?;
    for sub in command
        .get_subcommands()
        .filter(|s| !s.is_hide_set() && s.get_name() != "help")
    {
        man_pages(sub, &format!("{name} {}", sub.get_name()), dir)?;
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
