//! Help texts: the short one of `-h`, the complete one of `--help`, man pages, and help under the name `apprise`.

mod apprise;
mod examples;
mod man;

use clap::{Arg, Command};

pub(crate) use self::apprise::{print_apprise, print_version};
pub(crate) use self::man::page as man_page;

/// Headings of options that `-h` leaves out.
const RARE: [&str; 5] = [
    crate::cmd::outbox::HEADING,
    "Time limits",
    "Accepted for scripts written for Apprise",
    "Connection",
    "Session network (experimental)",
];
/// Options that `-h` shows although their heading is left out, or leaves out although their heading is shown.
const EXCEPTIONS: [(&str, bool); 14] = [
    ("signs", false),
    ("input-format", false),
    ("foreign", false),
    ("require-proof", false),
    ("color", false),
    ("log-format", false),
    ("debug", false),
    ("recursion-depth", false),
    ("template-var", false),
    ("interpret-escapes", false),
    ("interpret-emojis", false),
    ("details", false),
    ("disable-async", false),
    ("file-server", false),
];

/// Commands that `-h` only names, by the command that they belong to.
const RARE_COMMANDS: [(&str, &[&str]); 3] = [
    (
        "",
        &[
            "sendmail", "sendxmpp", "bridge", "omemo", "dm", "details", "storage", "generate",
        ],
    ),
    (
        "server",
        &[
            "config",
            "verify",
            "import",
            "migrate",
            "new-key",
            "moderation",
            "file",
            "filter",
            "settings",
            "raid",
        ],
    ),
    (
        "room",
        &[
            "edit",
            "upload",
            "download",
            "held",
            "report",
            "reports",
            "permissions",
            "settings",
            "saved",
            "forget",
        ],
    ),
];

/// Text that a call prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `-h`: what most people need, at most 30 lines.
    Short,
    /// `--help`: all commands, options and examples.
    Long,
    /// Every option on one line where it fits, for the command reference.
    Compact,
}

/// Returns true when a command line asks for help, so that only such a call pays for the texts.
pub(crate) fn is_asked_for(words: &[String]) -> bool {
    words
        .iter()
        .any(|word| ["-h", "--help", "help", "generate"].contains(&word.as_str()))
}

/// Adds the examples to every command, and leaves rare commands and options out of the text of `-h`.
pub(crate) fn complete(tree: Command, words: &[String]) -> Command {
    let is_long = words.iter().any(|word| word == "--help" || word == "help");
    shape(tree, "", if is_long { Shape::Long } else { Shape::Short })
}

/// Adds the examples to every command; `-h` has all options, each on one line where it fits. For the command reference.
pub(crate) fn compact(tree: Command) -> Command {
    shape(tree, "", Shape::Compact)
}

fn shape(command: Command, path: &str, shape_of: Shape) -> Command {
    let own = command.get_after_help().map(ToString::to_string);
    let mut command = if shape_of == Shape::Compact {
        command.after_help(with_examples(own.as_deref(), path))
    } else {
        command
            .after_help(short_end(own.as_deref(), path))
            .after_long_help(with_examples(own.as_deref(), path))
            .mut_args(|arg| {
                let rare = is_rare(&arg);
                first_sentence(arg).hide_short_help(rare)
            })
    };
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    let rare = rare_commands(path);
    for name in names {
        let below = format!("{path} {name}");
        let is_left_out = shape_of == Shape::Short && rare.contains(&name.as_str());
        command = command.mut_subcommand(&name, |sub| {
            let hidden = sub.is_hide_set() || is_left_out;
            shape(sub, below.trim(), shape_of).hide(hidden)
        });
    }
    command
}

/// Returns a command's own text and its examples.
fn with_examples(own: Option<&str>, path: &str) -> String {
    let mut text = own.map(|text| format!("{text}\n\n")).unwrap_or_default();
    let examples = examples::of(path);
    if !examples.is_empty() {
        text.push_str("Examples:");
    }
    for example in examples {
        text.push_str("\n  ");
        text.push_str(example);
    }
    text.trim_end().to_owned()
}

/// Returns the end of the text of `-h`: the first paragraph of a command's own text, and the commands left out.
fn short_end(own: Option<&str>, path: &str) -> String {
    let full = format!("ackpost {path}");
    let own = own.and_then(|text| text.split("\n\n").next());
    let own = own.map(|text| format!("{text}\n\n")).unwrap_or_default();
    let rare = match rare_commands(path) {
        [] => String::new(),
        names => format!("More commands: {}.\n", names.join(", ")),
    };
    format!(
        "{own}{rare}`{} --help` shows all options and examples.",
        full.trim()
    )
}

fn rare_commands(path: &str) -> &'static [&'static str] {
    RARE_COMMANDS
        .iter()
        .find(|(one, _)| *one == path)
        .map_or(&[], |(_, names)| names)
}

/// Leaves the first sentence of an option's text for `-h`; `--help` keeps all of it.
fn first_sentence(arg: Arg) -> Arg {
    let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match text.split_once(". ") {
        Some((first, _)) if arg.get_long_help().is_none() => {
            let first = first.to_owned();
            arg.help(first).long_help(text)
        }
        _ => arg,
    }
}

fn is_rare(arg: &Arg) -> bool {
    let exception = arg
        .get_long()
        .and_then(|long| EXCEPTIONS.iter().find(|(one, _)| *one == long));
    match exception {
        Some((_, shown)) => !shown,
        None => arg
            .get_help_heading()
            .is_some_and(|heading| RARE.contains(&heading)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// Maximum number of lines of `-h`.
    const SHORT: usize = 30;

    fn each(command: &mut Command, path: &str, check: &mut dyn FnMut(&mut Command, &str)) {
        check(command, path);
        let names: Vec<String> = command
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
            .map(|sub| sub.get_name().to_owned())
            .collect();
        for name in names {
            let sub = command.find_subcommand_mut(&name).expect("listed");
            each(sub, format!("{path} {name}").trim(), check);
        }
    }

    /// The rules of the help texts, over the whole tree.
    #[test]
    fn short_help_is_short_and_long_help_is_complete() {
        let mut shorts = complete(Cli::command(), &["-h".to_owned()]);
        shorts.build();
        let mut too_long = Vec::new();
        let mut left_out = BTreeMap::new();
        each(&mut shorts, "", &mut |command, path| {
            let short = command.render_help().to_string();
            if short.lines().count() > SHORT {
                too_long.push(format!("`{path}` -h: {} lines", short.lines().count()));
            }
            left_out.insert(path.to_owned(), short);
        });
        assert!(too_long.is_empty(), "{too_long:#?}");
        let mut tree = complete(Cli::command(), &["--help".to_owned()]);
        tree.build();
        each(&mut tree, "", &mut |command, path| {
            let short = command.render_help().to_string();
            let long = command.render_long_help().to_string();
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                let name = sub.get_name();
                assert!(long.contains(&format!("\n  {name} ")), "`{path}` --help: {name}");
                let short = left_out.get(path).unwrap_or(&short);
                assert!(short.contains(name), "`{path}` -h does not name {name}");
            }
            assert!(long.contains("Example"), "`{path}`: {long}");
            // It accepts every flag of `send`, and its text names those that have an effect.
            if path == "storage" {
                return;
            }
            assert!(short.contains("--help` shows all options"), "`{path}`: {short}");
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                if let Some(name) = arg.get_long() {
                    assert!(long.contains(&format!("--{name}")), "`{path}` --{name}");
                }
                assert!(arg.get_help().is_some(), "`{path}` {} has no help", arg.get_id());
            }
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && !about.ends_with('.'), "`{path}`: {about}");
            let first = about.split(' ').next().unwrap_or_default();
            assert!(
                !["What", "Who", "Where", "How", "Whether"].contains(&first),
                "`{path}`: {about}"
            );
        });
    }
}
