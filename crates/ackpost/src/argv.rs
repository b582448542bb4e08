//! Conversion of the command line to the words that clap reads.
//!
//! Apprise's command line has options of several letters behind one dash (`-tv`, `-Da`, `-SUL`),
//! values that begin with dashes (`-b --x`), and no abbreviations of long options. clap reads none of
//! that, so the words of the commands that speak Apprise's language are first brought into the one
//! form that leaves no doubt: `--long`, `--long=value`, then `--` and the rest. Which options exist
//! and which take a value comes from the clap tree itself, so the two cannot drift apart.

use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use crate::cli::Cli;
use crate::context::Invocation;
use crate::similar::{ranked, similar};
use crate::usage::Usage;

/// Options of several letters behind one dash, and their long names.
pub(crate) const MULTI_LETTER: [(&str, &str); 6] = [
    ("-tv", "template-var"),
    ("-Da", "disable-async"),
    ("-SL", "service-limit"),
    ("-SM", "storage-mode"),
    ("-SPD", "storage-prune-days"),
    ("-SUL", "storage-uid-length"),
];

/// By how much an option of ours must be closer to a mistyped one than Apprise's to be suggested instead.
const MUCH_CLOSER: f64 = 0.1;

/// Commands whose words are in Apprise's syntax.
const APPRISE_SYNTAX: [&str; 3] = ["send", "preview", "storage"];

/// A command line, ready for clap.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The name the program was called by.
    pub(crate) name: Invocation,
    /// Requests beside the commands.
    pub(crate) ask: Ask,
    /// The words for clap, beginning with the program's name.
    pub(crate) words: Vec<String>,
    /// Bytes of the message that are not UTF-8 were replaced.
    pub(crate) replaced: bool,
}

/// Request of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Run the command in `words`.
    Command,
    /// `--help`, under the name `apprise`.
    Help,
    /// `--version`.
    Version,
}

impl Call {
    /// The call of this process.
    pub(crate) fn from_process() -> Result<Self, Usage> {
        let mut words = std::env::args_os();
        let program = words.next().unwrap_or_default();
        let stem = Path::new(&program)
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        let name = if stem == "apprise" {
            Invocation::Apprise
        } else {
            Invocation::Ackpost
        };
        let mut words: Vec<OsString> = words.collect();
        if stem == "sendmail" {
            // None of the following words is an option of ours.
            words.splice(0..0, [OsString::from("sendmail"), OsString::from("--")]);
        } else if stem == "mailq" {
            words.splice(0..0, ["sendmail", "--", "-bp"].map(OsString::from));
        } else if stem == "newaliases" {
            words.splice(0..0, ["sendmail", "--", "-bi"].map(OsString::from));
        } else if stem == "sendxmpp" {
            words.splice(0..0, ["sendxmpp", "--"].map(OsString::from));
        } else if stem == "go-sendxmpp" {
            words.splice(0..0, ["sendxmpp", "--go", "--"].map(OsString::from));
        }
        let text: Vec<String> = words
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let mut call = Self::new(name, &text)?;
        let broken = |at: usize| words[at].to_str().is_none();
        for at in (0..words.len()).filter(|at| broken(*at)) {
            // A message is worth more than a byte; a path or an address with another byte is another one.
            if !is_text(&text, at) {
                let start: String = text[at].chars().take(8).collect();
                return Err(Usage::new(
                    name,
                    format!("the argument {start:?} is not UTF-8"),
                    false,
                ));
            }
            call.replaced = true;
        }
        Ok(call)
    }

    /// Reads the words behind the program's name.
    pub(crate) fn new(name: Invocation, words: &[String]) -> Result<Self, Usage> {
        let tree = Cli::command();
        let send = tree.find_subcommand("send").expect("the tree has `send`");
        let read = read(words, send, &tree);
        let command = |at: Option<usize>| at.and_then(|at| tree.find_subcommand(&words[at]));

        if name == Invocation::Ackpost {
            if let Some(found) = command(read.first_positional) {
                let at = read.first_positional.expect("found there");
                if !APPRISE_SYNTAX.contains(&found.get_name()) {
                    return Ok(Self::plain(name, words));
                }
                let mut rest = words.to_vec();
                rest.remove(at);
                return Self::normal(name, found, &tree, &rest);
            }
            // `ackpost help …`, `ackpost --help`: clap's own.
            let first = words.first().map(String::as_str);
            if first == Some("help")
                || (read.error.is_none() && read.positionals.is_empty() && read.asks("help"))
            {
                return Ok(Self::plain(name, words));
            }
        }
        if name == Invocation::Apprise && read.first_positional.is_some_and(|at| words[at] == "storage") {
            let mut rest = words.to_vec();
            rest.remove(read.first_positional.expect("just seen"));
            let storage = tree.find_subcommand("storage").expect("the tree has `storage`");
            return Self::normal(name, storage, &tree, &rest);
        }
        // `apprise -b x ""` comes from an unset variable; a bare beginning of `storage` is not a URL either.
        if let Some(first) = read.first_positional.map(|at| words[at].as_str())
            && "storage".starts_with(first)
        {
            let text = if first.is_empty() {
                "the first URL is empty (an unset variable?)".to_owned()
            } else {
                format!("`{first}` is neither a URL nor a command; did you mean `storage`?")
            };
            return Err(Usage::new(name, text, true));
        }
        if name == Invocation::Ackpost
            && let Some(first) = read.first_positional.map(|at| words[at].as_str())
            && let Some(text) = mistyped(first, &tree, read.error.is_none())
        {
            return Err(Usage::new(name, text, true));
        }
        Self::normal(name, send, &tree, words)
    }

    fn plain(name: Invocation, words: &[String]) -> Self {
        let mut all = vec![name.as_str().to_owned()];
        all.extend_from_slice(words);
        Self {
            name,
            ask: Ask::Command,
            words: all,
            replaced: false,
        }
    }

    fn normal(name: Invocation, command: &Command, tree: &Command, words: &[String]) -> Result<Self, Usage> {
        let read = read(words, command, tree);
        if let Some(wrong) = read.error {
            return Err(Usage::new(name, wrong.text(name), wrong.has_header()));
        }
        // As in Apprise, these two win over values that are not accepted.
        let ask = if read.asks("help") {
            Ask::Help
        } else if read.asks("version") {
            Ask::Version
        } else {
            Ask::Command
        };
        let mut all = vec![name.as_str().to_owned(), command.get_name().to_owned()];
        if ask == Ask::Help && name == Invocation::Ackpost {
            // `-h` is short, `--help` complete.
            let long = words.iter().any(|word| word == "--help");
            all.push(if long { "--help" } else { "-h" }.to_owned());
            return Ok(Self {
                name,
                ask: Ask::Command,
                words: all,
                replaced: false,
            });
        }
        all.extend(read.options);
        all.push("--".to_owned());
        all.extend(read.positionals);
        Ok(Self {
            name,
            ask,
            words: all,
            replaced: false,
        })
    }
}

/// Explains that a word is neither a URL nor a command, if it could be the name of a command.
///
/// A wrong option before a word that resembles no command is the first thing to correct, and is reported instead.
fn mistyped(word: &str, tree: &Command, options_are_valid: bool) -> Option<String> {
    if !word.chars().all(|c| c.is_ascii_alphabetic() || c == '-') {
        return None;
    }
    let names = tree
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(Command::get_name);
    let meant = similar(word, names);
    let remedy = match &meant[..] {
        [] if !options_are_valid => return None,
        [] => "`ackpost --help` lists the commands".to_owned(),
        meant => format!("did you mean `{}`?", meant.join("` or `")),
    };
    Some(format!("`{word}` is neither a command nor a URL; {remedy}"))
}

/// The words of a command line in Apprise's syntax.
#[derive(Default)]
struct Read {
    /// `--long` or `--long=value`.
    options: Vec<String>,
    positionals: Vec<String>,
    /// Position of the first positional among the words.
    first_positional: Option<usize>,
    /// The first thing wrong.
    error: Option<Wrong>,
}

/// A fault of an option.
enum Wrong {
    /// The option does not exist; with the known options that resemble it.
    Unknown(String, Vec<String>),
    /// The value of the option is missing.
    NoValue(String),
    /// The option has a value and takes none.
    Value(String),
}

impl Wrong {
    /// Returns the text of the fault. Scripts written for Apprise find its own sentences.
    fn text(&self, name: Invocation) -> String {
        let own = name == Invocation::Ackpost;
        match self {
            Self::Unknown(option, close) if own => match close.as_slice() {
                [] => format!("unknown option `{option}`"),
                close => format!(
                    "unknown option `{option}`; did you mean `{}`?",
                    close.join("` or `")
                ),
            },
            Self::NoValue(option) if own => format!("option `{option}` needs a value"),
            Self::Value(option) if own => format!("option `{option}` takes no value"),
            Self::Unknown(option, close) => {
                let hint = match close.as_slice() {
                    [] => String::new(),
                    [one] => format!(" Did you mean '{one}'?"),
                    many => format!(" (Did you mean one of: '{}'?)", many.join("', '")),
                };
                format!("No such option '{option}'.{hint}")
            }
            Self::NoValue(option) => format!("Option '{option}' requires an argument."),
            Self::Value(option) => format!("Option '{option}' does not take a value."),
        }
    }

    /// True if the usage line goes with it.
    fn has_header(&self) -> bool {
        matches!(self, Self::Unknown(..))
    }
}

impl Read {
    fn asks(&self, flag: &str) -> bool {
        self.options.iter().any(|o| o.strip_prefix("--") == Some(flag))
    }

    fn fail(&mut self, wrong: Wrong) {
        self.error.get_or_insert(wrong);
    }
}

/// True for the options that Apprise has too.
pub(crate) fn is_apprise(arg: &Arg) -> bool {
    let own_heading = arg.get_help_heading() == Some(crate::cmd::outbox::HEADING);
    !own_heading
        && !arg
            .get_long()
            .is_some_and(|long| ["json", "color", "log-format", "queue"].contains(&long))
}

/// One option as it may be written.
struct Known<'a> {
    long: &'a str,
    short: Option<char>,
    takes_value: bool,
    is_apprise: bool,
}

/// The options a command knows, with the global ones.
struct Options<'a>(Vec<Known<'a>>);

impl<'a> Options<'a> {
    fn new(command: &'a Command, tree: &'a Command) -> Self {
        let flag = |long, short| Known {
            long,
            short: Some(short),
            takes_value: false,
            is_apprise: true,
        };
        let args = command.get_arguments().chain(tree.get_arguments());
        let options = args.filter_map(|arg| {
            Some(Known {
                long: arg.get_long()?,
                short: arg.get_short(),
                takes_value: matches!(arg.get_action(), ArgAction::Set | ArgAction::Append),
                is_apprise: is_apprise(arg),
            })
        });
        Self(options.chain([flag("help", 'h'), flag("version", 'V')]).collect())
    }

    fn long(&self, name: &str) -> Option<(&'a str, bool)> {
        self.0
            .iter()
            .find(|o| o.long == name)
            .map(|o| (o.long, o.takes_value))
    }

    fn short(&self, letter: char) -> Option<(&'a str, bool)> {
        self.0
            .iter()
            .find(|o| o.short == Some(letter))
            .map(|o| (o.long, o.takes_value))
    }

    /// Returns suggestions for a mistyped option.
    ///
    /// Apprise's options come first, so that its users are told what they know, unless one of ours is much closer.
    fn meant(&self, written: &str) -> Vec<String> {
        let names = |of_apprise: bool| -> Vec<String> {
            let multi = MULTI_LETTER
                .iter()
                .filter(|_| of_apprise)
                .map(|(multi, _)| (*multi).to_owned());
            let long = self
                .0
                .iter()
                .filter(|o| o.is_apprise == of_apprise)
                .map(|o| format!("--{}", o.long));
            long.chain(multi).collect()
        };
        let [apprise, own] = [true, false].map(|of_apprise| {
            let names = names(of_apprise);
            let (best, close) = ranked(written, names.iter().map(String::as_str));
            (best, close.into_iter().map(str::to_owned).collect::<Vec<_>>())
        });
        if own.0 > apprise.0 + MUCH_CLOSER {
            own.1
        } else {
            apprise.1
        }
    }
}

fn read(words: &[String], command: &Command, tree: &Command) -> Read {
    let known = Options::new(command, tree);
    let mut out = Read::default();
    let mut at = 0;
    while at < words.len() {
        let word = words[at].as_str();
        let next = words.get(at + 1);
        at += 1;
        if word == "--" {
            if at < words.len() && out.first_positional.is_none() {
                out.first_positional = Some(at);
            }
            out.positionals.extend_from_slice(&words[at..]);
            break;
        }
        if word == "-" || !word.starts_with('-') {
            out.first_positional.get_or_insert(at - 1);
            out.positionals.push(word.to_owned());
            continue;
        }
        let (name, given) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v)));
        let multi = MULTI_LETTER
            .iter()
            .find(|(multi, _)| *multi == name)
            .map(|(_, long)| *long);
        let used_next = match multi.or_else(|| name.strip_prefix("--")) {
            Some(long) => read_long(&mut out, &known, (name, long), given, next),
            None => read_short(&mut out, &known, &word[1..], next),
        };
        at += usize::from(used_next);
    }
    out
}

/// `--long`, `--long value`, `--long=value`; true when the next word was the value.
fn read_long(
    out: &mut Read,
    known: &Options<'_>,
    (written, long): (&str, &str),
    given: Option<&str>,
    next: Option<&String>,
) -> bool {
    match (known.long(long), given, next) {
        (None, ..) => {
            out.fail(Wrong::Unknown(written.to_owned(), known.meant(written)));
            false
        }
        (Some((long, true)), Some(value), _) => {
            out.options.push(format!("--{long}={value}"));
            false
        }
        (Some((long, true)), None, Some(value)) => {
            out.options.push(format!("--{long}={value}"));
            true
        }
        (Some((_, true)), None, None) => {
            out.fail(Wrong::NoValue(written.to_owned()));
            false
        }
        (Some((_, false)), Some(_), _) => {
            out.fail(Wrong::Value(written.to_owned()));
            false
        }
        (Some((long, false)), None, _) => {
            out.options.push(format!("--{long}"));
            false
        }
    }
}

/// `-v`, `-vb value`, `-bvalue`; true when the next word was the value.
fn read_short(out: &mut Read, known: &Options<'_>, letters: &str, next: Option<&String>) -> bool {
    for (i, letter) in letters.char_indices() {
        match known.short(letter) {
            None => {
                out.fail(Wrong::Unknown(format!("-{letter}"), Vec::new()));
                return false;
            }
            Some((long, false)) => out.options.push(format!("--{long}")),
            Some((long, true)) => {
                let rest = &letters[i + letter.len_utf8()..];
                if !rest.is_empty() {
                    out.options.push(format!("--{long}={rest}"));
                    return false;
                }
                let Some(value) = next else {
                    out.fail(Wrong::NoValue(format!("-{letter}")));
                    return false;
                };
                out.options.push(format!("--{long}={value}"));
                return true;
            }
        }
    }
    false
}

/// Returns true if the word at this position is the text of a message: the value of `-b` or `-t`.
fn is_text(words: &[String], at: usize) -> bool {
    let is_flag = |word: &str| match word.strip_prefix("--") {
        Some(long) => matches!(long, "body" | "title"),
        None => word.starts_with('-') && word.ends_with(['b', 't']),
    };
    let own = &words[at];
    ["--body=", "--title="].iter().any(|flag| own.starts_with(flag))
        || own.starts_with("-b")
        || own.starts_with("-t") && !own.starts_with("-tv")
        || at > 0 && is_flag(&words[at - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: Invocation, words: &[&str]) -> Result<Vec<String>, String> {
        let words: Vec<String> = words.iter().map(|&w| w.to_owned()).collect();
        Call::new(name, &words)
            .map(|c| c.words[1..].to_vec())
            .map_err(|u| u.text)
    }

    #[test]
    fn apprise_syntax_becomes_plain() {
        let good = |words: &[&str]| call(Invocation::Apprise, words).expect("a good call").join(" ");
        assert_eq!(
            good(&["-vb", "hello", "a://b"]),
            "send --verbose --body=hello -- a://b"
        );
        assert_eq!(
            good(&["-bhello", "-b=x", "a://b"]),
            "send --body=hello --body==x -- a://b"
        );
        assert_eq!(
            good(&["-b", "--x", "--title=T=1", "a://b"]),
            "send --body=--x --title=T=1 -- a://b"
        );
        assert_eq!(
            good(&["-tv", "a=b", "-tv=c=d", "-Da", "-SL", "2"]),
            "send --template-var=a=b --template-var=c=d --disable-async --service-limit=2 --"
        );
        // An option of several letters stands alone: with other letters these are options of one letter (`-D`, `-a`).
        assert_eq!(good(&["-DaD"]), "send --debug --attach=D --");
        assert_eq!(good(&["-DaDb", "x"]), "send --debug --attach=Db -- x");
        assert_eq!(good(&["-Dab", "x"]), "send --debug --attach=b -- x");
        assert_eq!(
            good(&["-vDa", "-b", "x"]),
            "send --verbose --debug --attach=-b -- x"
        );
        assert_eq!(good(&["-Da", "-D"]), "send --disable-async --debug --");
        assert_eq!(good(&["-tvx", "-L", "-1"]), "send --title=vx --limit=-1 --");
        assert_eq!(
            good(&["a://b", "-b", "x", "--", "-c"]),
            "send --body=x -- a://b -c"
        );
        assert_eq!(good(&["-v", "storage", "list"]), "storage --verbose -- list");
        assert_eq!(good(&["doctor"]), "send -- doctor");
    }

    #[test]
    fn wrong_options_have_the_sentences_of_the_program_that_is_called() {
        let own = |words: &[&str]| call(Invocation::Ackpost, words).expect_err("a bad call");
        assert_eq!(own(&["-b"]), "option `-b` needs a value");
        assert_eq!(
            own(&["--bod", "x"]),
            "unknown option `--bod`; did you mean `--body`?"
        );
        assert_eq!(own(&["-vZ"]), "unknown option `-Z`");
        assert_eq!(own(&["--dry-run=yes"]), "option `--dry-run` takes no value");
        let bad = |words: &[&str]| call(Invocation::Apprise, words).expect_err("a bad call");
        assert_eq!(bad(&["-b"]), "Option '-b' requires an argument.");
        assert_eq!(
            bad(&["--bod", "x"]),
            "No such option '--bod'. Did you mean '--body'?"
        );
        assert_eq!(bad(&["-vZ"]), "No such option '-Z'.");
        assert_eq!(
            bad(&["--dry-run=yes"]),
            "Option '--dry-run' does not take a value."
        );
        for words in [&["-b", "x", ""][..], &["s"]] {
            assert!(call(Invocation::Apprise, words).is_err() && call(Invocation::Ackpost, words).is_err());
        }
    }

    #[test]
    fn commands_are_found_behind_options() {
        let good = |words: &[&str]| call(Invocation::Ackpost, words).expect("a good call").join(" ");
        assert_eq!(good(&["-t", "T", "a://b"]), "send --title=T -- a://b");
        assert_eq!(
            good(&["-v", "send", "-b", "send", "a://b"]),
            "send --verbose --body=send -- a://b"
        );
        assert_eq!(good(&["-b", "preview", "a://b"]), "send --body=preview -- a://b");
        assert_eq!(good(&["generate", "man", "-x"]), "generate man -x");
        assert_eq!(good(&["--help"]), "--help");
        assert_eq!(good(&["send", "-h"]), "send -h");
        assert_eq!(good(&["send", "--help"]), "send --help");
    }

    #[test]
    fn a_mistyped_command_is_named_and_a_url_is_none() {
        let said = |word: &str| match call(Invocation::Ackpost, &[word, "-b", "x"]) {
            Err(text) => text,
            Ok(words) => words.join(" "),
        };
        assert_eq!(
            said("snd"),
            "`snd` is neither a command nor a URL; did you mean `send`?"
        );
        assert_eq!(
            said("install"),
            "`install` is neither a command nor a URL; `ackpost --help` lists the commands"
        );
        assert!(
            said("--qeue").contains("did you mean `--queue`?"),
            "{}",
            said("--qeue")
        );
        assert!(
            said("identty").contains("did you mean `identity`?"),
            "{}",
            said("identty")
        );
        for url in [
            "xmpps://u:p@h.org",
            "https://send.example.org/room",
            "send@example.org",
            "xmpp2",
        ] {
            assert!(said(url).ends_with(&format!("-- {url}")), "{url}: {}", said(url));
        }
        // Under Apprise's name a word is an argument, as it is there.
        assert!(call(Invocation::Apprise, &["snd"]).is_ok());
    }
}
