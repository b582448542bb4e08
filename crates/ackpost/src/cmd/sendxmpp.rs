//! `ackpost sendxmpp`: the command lines and configuration files of sendxmpp and go-sendxmpp, for scripts that cannot be
//! changed.

mod account;
mod flags;

use std::io::BufRead as _;
use std::path::PathBuf;

use ackpost_apprise::{Notifier, Options, TagFilter};
use ackpost_notify::{Attachment, Message};
use clap::Args;
use secrecy::ExposeSecret as _;

use self::account::Account;
use self::flags::{Flags, Program, Task};
use crate::cmd::identity;
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::{input, output};

/// Maximum size of a message file, bytes.
const MAX_FILE: u64 = 64 << 20;
/// Longest line of the interactive mode; a longer one is sent in parts.
const MAX_LINE: u64 = 1 << 20;

/// `sendxmpp`.
#[derive(Debug, Args)]
#[command(
    after_help = "Called by the name sendxmpp or go-sendxmpp, Ackpost reads the options and the configuration file of that program.\n\n\
    Differences: The connection is always encrypted. Headline messages are sent as chat messages, because servers may silently drop a \
    headline. Raw XML, Kerberos (--sso) and OpenPGP (--ox) are refused.\n\nExit codes: 0 every recipient's server or room has \
    the message, 1 otherwise.\n\n\
    Example: echo 'disk full' | ackpost sendxmpp -s alert jane@example.org\n\
    Example: echo 'dinner' | ackpost sendxmpp --chatroom -r cook kitchen@rooms.example.org\n\
    Example: ln -s /usr/bin/ackpost /usr/local/bin/go-sendxmpp"
)]
pub(crate) struct SendxmppArgs {
    /// Read the options of go-sendxmpp instead of those of sendxmpp
    #[arg(long)]
    go: bool,
    /// Options and recipients of the program
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &SendxmppArgs, context: Context) -> Done {
    let program = if args.go { Program::Go } else { Program::Perl };
    let flags = Flags::read(program, &args.words)
        .map_err(|reason| Failure::new(reason, "see `ackpost sendxmpp --help`"))?;
    match flags.task {
        Task::Help => {
            output::line(&flags::usage(program));
            return Ok(Exit::Success);
        }
        Task::Version => {
            output::line(concat!("ackpost ", env!("CARGO_PKG_VERSION")));
            return Ok(Exit::Success);
        }
        Task::Send => {}
    }
    if flags.recipients.is_empty() {
        return Err(Failure::new("no recipient", "name one behind the options"));
    }
    let account = Account::find(program, &flags)?;
    if flags.headline {
        output::remark("headline messages are sent as chat messages");
    }
    context.runtime().block_on(send(&flags, &account, context))
}

async fn send(flags: &Flags, account: &Account, context: Context) -> Done {
    let mut options = Options::default();
    options.context.identity = identity::default_seed();
    options.context.services = context.services;
    let mut notifier = Notifier::with_options(options);
    let url = account.url(flags);
    let added = notifier.add(url.expose_secret());
    let problems = notifier.problems().to_vec();
    output::problems(&problems, context);
    if added.is_err() || problems.iter().any(ackpost_notify::Diagnostic::is_error) {
        return Err(Failure::new(
            "the account or a recipient is not valid",
            "correct what is named above",
        ));
    }
    if flags.interactive {
        return lines(flags, &notifier).await;
    }
    let (body, file) = match (&flags.upload, &flags.message) {
        (Some(path), _) => (String::new(), Some(PathBuf::from(path))),
        (None, Some(path)) => (read(path)?, None),
        (None, None) => (input::message()?, None),
    };
    if body.trim().is_empty() && file.is_none() {
        return Err(Failure::new("the message is empty", "give it on standard input"));
    }
    let mut message = Message::new(body).title(flags.subject.clone().unwrap_or_default());
    if let Some(path) = file {
        message = message.attach(Attachment::file(path));
    }
    Ok(deliver(&notifier, message).await)
}

/// Sends each line of standard input as it comes.
async fn lines(flags: &Flags, notifier: &Notifier) -> Done {
    let mut exit = Exit::Success;
    loop {
        // Nothing else runs beside the reading.
        let line = tokio::task::spawn_blocking(next_line).await;
        let line = line.map_err(|error| cannot_read(&error))?;
        let Some(line) = line.map_err(|error| cannot_read(&error))? else {
            return Ok(exit);
        };
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        if text.trim().is_empty() {
            continue;
        }
        let message = Message::new(text).title(flags.subject.clone().unwrap_or_default());
        if deliver(notifier, message).await != Exit::Success {
            exit = Exit::Failure;
        }
    }
}

fn cannot_read(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("cannot read standard input: {error}"), "try again")
}

fn next_line() -> std::io::Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let mut line = Vec::new();
    let read = std::io::stdin()
        .lock()
        .take(MAX_LINE)
        .read_until(b'\n', &mut line)?;
    Ok((read > 0).then_some(line))
}

/// Delivers a message; failures are reported on standard error.
async fn deliver(notifier: &Notifier, message: Message) -> Exit {
    let report = notifier.notify_to(message, &TagFilter::All).await;
    for target in report
        .targets
        .iter()
        .filter(|target| !target.outcome.is_delivered())
    {
        output::error(&output::target_line(target));
    }
    if report.is_success() {
        Exit::Success
    } else {
        Exit::Failure
    }
}

fn read(path: &str) -> Result<String, Failure> {
    use std::io::Read as _;
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(
            format!("cannot read the message file {path}: {error}"),
            "check its path",
        )
    };
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(failed(&"it is longer than 64 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
