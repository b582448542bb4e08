//! `ackpost sendmail`: mail of cron and other programs that call `sendmail`, by way of the outbox.

mod flags;

use std::io::Read as _;

use ackpost_apprise::{Options, TagFilter};
use ackpost_gateway::Mail;
use ackpost_notify::{Attachment, Message};
use ackpost_platform::text::safe_file_name;
use clap::Args;

use self::flags::{Flags, Task};
use crate::cmd::outbox::place::PlaceArgs;
use crate::cmd::outbox::{QueueArgs, print_waiting};
use crate::cmd::send::signs;
use crate::context::Context;
use crate::exit::{Done, Exit};
use crate::output;
use crate::sources::{self, Loaded, Wanted};

/// Maximum size of a mail, bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Exit codes of `sysexits.h`.
mod code {
    pub(super) const USAGE: u8 = 64;
    pub(super) const DATA: u8 = 65;
    pub(super) const NO_USER: u8 = 67;
    pub(super) const UNAVAILABLE: u8 = 69;
    pub(super) const IO: u8 = 74;
    pub(super) const TRY_AGAIN: u8 = 75;
    pub(super) const CONFIG: u8 = 78;
}

/// `sendmail`.
#[derive(Debug, Args)]
#[command(
    after_help = "Options of sendmail:\n  -t              Also send to the recipients in To, Cc and Bcc\n  -i, -oi         Do not end the mail \
    at a line with one dot\n  -C FILE         Use this configuration file instead of the default ones\n  -odq            Only store the \
    mail\n  -O outbox=FILE|URL, -O outbox_key=FILE\n                  Use another outbox, such as that of a gateway\n  -bp             List \
    the waiting messages; also by the name mailq\n  -v              Print more\n-f ADDRESS, -r ADDRESS, -F NAME and options for mail \
    servers have no effect.\n\nA recipient TAG@anything or TAG+x@anything means every service with this tag. Any other recipient means \
    every service of the configuration.\n\nExit codes: 0 stored, 64 wrong option, 65 unreadable mail, 67 no recipient, 69 not stored \
    completely, 74 standard input, 75 try again, 78 no valid service.\n\n\
    Example: printf 'Subject: disk full\\n\\non db1\\n' | ackpost sendmail root\n\
    Example: ln -s /usr/bin/ackpost /usr/sbin/sendmail"
)]
pub(crate) struct SendmailArgs {
    /// Options and recipients of sendmail
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &SendmailArgs, context: Context) -> Done {
    let flags = match Flags::read(&args.words) {
        Ok(flags) => flags,
        Err(reason) => return Ok(refuse(code::USAGE, &reason, "see `ackpost sendmail --help`")),
    };
    match flags.task {
        Task::ListQueue => {
            let listed = context.runtime().block_on(print_waiting(&place(&flags), context));
            return listed
                .or_else(|failure| Ok(refuse(code::UNAVAILABLE, failure.cause(), failure.remedy())));
        }
        Task::Nothing => return Ok(Exit::Success),
        Task::Send => {}
    }
    let mut raw = Vec::new();
    if let Err(error) = std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut raw) {
        return Ok(refuse(
            code::IO,
            &format!("cannot read the mail: {error}"),
            "try again",
        ));
    }
    if raw.len() as u64 > MAX_BYTES {
        return Ok(refuse(
            code::DATA,
            &format!("the mail is larger than {MAX_BYTES} bytes"),
            "send less",
        ));
    }
    if !flags.dots {
        cut_at_dot(&mut raw);
    }
    let mail = match Mail::read(&with_headers(raw)) {
        Ok(mail) => mail,
        Err(error) => return Ok(refuse(code::DATA, &error.to_string(), error.remedy())),
    };
    let mut recipients = flags.recipients.clone();
    if flags.from_headers {
        recipients.extend(mail.recipients.iter().cloned());
    }
    if recipients.is_empty() {
        return Ok(refuse(
            code::NO_USER,
            "the mail has no recipient",
            "name one, or use -t and a To header",
        ));
    }
    context
        .runtime()
        .block_on(store(&flags, &recipients, mail, context))
}

async fn store(flags: &Flags, recipients: &[String], mail: Mail, context: Context) -> Done {
    let wanted = Wanted {
        urls: &[],
        configs: &flags.configs,
        tags: &[],
        foreign: None,
    };
    let mut loaded = sources::load(Options::default(), &wanted, context).await;
    let problems = loaded.problems();
    output::problems(&problems, context);
    if loaded.notifier.is_empty() {
        return Ok(refuse(
            code::CONFIG,
            "no service is valid",
            "write a configuration file, such as /etc/apprise.conf, or name one with -C",
        ));
    }
    loaded.filter = filter(&loaded, recipients);
    let signs = match signs(None) {
        Ok(signs) => signs.unwrap_or_default(),
        Err(reason) => return Ok(refuse(code::CONFIG, &reason, "correct the variable")),
    };
    let mut message = message(mail);
    signs.add(&mut message);
    let queue = QueueArgs::always(place(flags), flags.later);
    let (services, mut unusable) = queue.take_from(&mut loaded, &message);
    output::problems(&unusable, context);
    unusable.extend(problems.into_iter().filter(ackpost_notify::Diagnostic::is_error));
    if services.is_empty() {
        return Ok(refuse(
            code::CONFIG,
            "no service is valid",
            "correct what is named above",
        ));
    }
    let asset = loaded.notifier.asset().clone();
    match queue.store(&message, &services, &asset, context).await {
        Ok((exit, ids)) => {
            queue.drain(&ids, context).await;
            let whole = exit == Exit::Success && unusable.iter().all(|one| !one.is_error());
            Ok(if whole {
                Exit::Success
            } else {
                Exit::Mail(code::UNAVAILABLE)
            })
        }
        Err(failure) => Ok(refuse(code::TRY_AGAIN, failure.cause(), failure.remedy())),
    }
}

/// The outbox that the words name, else the default one.
fn place(flags: &Flags) -> PlaceArgs {
    PlaceArgs::named_by(flags.outbox.clone(), flags.outbox_key.clone())
}

/// The services of all recipients: those with a tag that a recipient names, or all of them.
fn filter(loaded: &Loaded, recipients: &[String]) -> TagFilter {
    let mut tags = Vec::new();
    for address in recipients {
        let local = address
            .rsplit_once('@')
            .map_or(address.as_str(), |(local, _)| local);
        let tag = local.split('+').next().unwrap_or_default().to_lowercase();
        let known = loaded
            .notifier
            .iter()
            .any(|entry| entry.tags.iter().any(|one| one.name.eq_ignore_ascii_case(&tag)));
        if !known {
            return TagFilter::All;
        }
        tags.push(tag);
    }
    TagFilter::from_values(&tags)
}

fn message(mail: Mail) -> Message {
    let mut message = Message::new(mail.body)
        .title(mail.title)
        .kind(mail.kind)
        .input_format(mail.format);
    for file in mail.files {
        let name = file
            .name
            .as_deref()
            .and_then(safe_file_name)
            .unwrap_or_else(|| "attachment".to_owned());
        let mut attachment = Attachment::bytes(name, file.bytes);
        attachment.media_type = file.media_type;
        message = message.attach(attachment);
    }
    message
}

/// Cuts a mail before the line that holds one dot.
fn cut_at_dot(raw: &mut Vec<u8>) {
    let mut start = 0;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        if matches!(line, b".\n" | b".\r\n" | b".") {
            raw.truncate(start);
            return;
        }
        start += line.len();
    }
}

/// A text without headers gets an empty line before it, as mail servers do.
fn with_headers(raw: Vec<u8>) -> Vec<u8> {
    let first = raw.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let name = first.split(|byte| *byte == b':').next().unwrap_or_default();
    let is_header = name.len() < first.len() && !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    if is_header || first.starts_with(b"From ") || first.iter().all(|byte| *byte == b'\r') {
        return raw;
    }
    [b"\n".as_slice(), &raw].concat()
}

fn refuse(code: u8, cause: &str, remedy: &str) -> Exit {
    output::error(&format!("{cause}; {remedy}"));
    Exit::Mail(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_ends_a_mail_and_a_text_without_headers_is_a_body() {
        let mut raw = b"Subject: x\n\na\n..b\n.\nnot this\n".to_vec();
        cut_at_dot(&mut raw);
        assert_eq!(raw, b"Subject: x\n\na\n..b\n");
        for (text, body) in [
            ("just text\nmore\n", "just text\nmore"),
            ("Subject: s\n\nbody\n", "body"),
            ("\nbody\n", "body"),
        ] {
            let mail = Mail::read(&with_headers(text.into())).expect("a mail");
            assert_eq!(mail.body, body, "{text:?}");
        }
        assert_eq!(safe_file_name("../../.x\ny").as_deref(), Some("xy"));
    }
}
