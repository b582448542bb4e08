//! Conversion of an answer of Apprise to an attempt.

use ackpost_notify::{Attempt, Confirmation, Diagnostic, ForeignUrl, Outcome};

use crate::worker::{Installed, WorkerError, WorkerResponse};

/// HTTP codes that the same attempt would bring again. A gateway answers 406 to a message that goes in a circle.
const PERMANENT: [u16; 6] = [400, 401, 403, 404, 406, 410];
/// Longest reason, in characters.
const REASON_CHARS: usize = 300;
/// Shorter parts of a URL are not secrets worth hiding, and would hide words of the reason.
const SECRET_CHARS: usize = 4;

/// Returns the attempt for an answer, or for none.
pub(crate) fn attempt(
    url: &ForeignUrl,
    answered: Result<(WorkerResponse, Installed), WorkerError>,
) -> Attempt {
    let schema = url.schema();
    let (answer, installed) = match answered {
        Ok(answered) => answered,
        Err(broken) => return without_answer(url, broken),
    };
    let name = format!("Apprise {}", installed.version);
    if answer.ok {
        let mut attempt = Attempt::new(Outcome::Delivered {
            confirmed_by: Confirmation::Apprise,
            id: None,
        });
        attempt.notes.push(format!("through {name}"));
        return attempt;
    }
    let reason = reason(url, &answer.lines);
    if !answer.loaded {
        return Attempt::new(Outcome::refused(
            format!("{name} cannot use this {schema}:// URL{reason}"),
            "correct the URL; Apprise describes the service at https://appriseit.com/services/",
        ));
    }
    let failed = format!("{name} reported a failure{reason}");
    // With several recipients, one that may accept it later is tried again.
    let all_permanent = answer.codes.iter().all(|code| PERMANENT.contains(code));
    if let Some(code) = answer.codes.first().filter(|_| all_permanent) {
        return Attempt::new(Outcome::refused(
            failed,
            match code {
                401 | 403 => "check the token or the password in the URL",
                404 | 410 => "check the recipient in the URL",
                406 => "check whether the URL leads back to the sender",
                _ => "check the URL and the message",
            },
        ));
    }
    let mut attempt = Attempt::new(Outcome::deferred(
        failed,
        "try again later, and check the URL if it fails again",
    ));
    attempt.may_have_arrived = answer.open;
    attempt
}

fn without_answer(url: &ForeignUrl, broken: WorkerError) -> Attempt {
    match broken {
        WorkerError::Missing(Diagnostic { cause, remedy, .. }) => Attempt::new(Outcome::refused(
            format!("{}, and {cause}", url.cause()),
            match url.lacking() {
                Some(name) => format!("remove `{name}`, or {remedy}"),
                None => remedy,
            },
        )),
        WorkerError::TooLarge => Attempt::new(Outcome::refused(
            "the message is larger than 64 MiB",
            "send a shorter text",
        )),
        WorkerError::Unsent(cause) => Attempt::new(Outcome::deferred(
            cause,
            "try again; look into the log of the system if it fails again",
        )),
        WorkerError::Open(cause) => {
            let mut attempt = Attempt::new(Outcome::deferred(
                cause,
                "the message may have arrived; look for it before you send it again",
            ));
            attempt.may_have_arrived = true;
            attempt
        }
    }
}

/// `: ` and the last warning without parts of the URL; nothing if there is none.
fn reason(url: &ForeignUrl, lines: &[String]) -> String {
    let Some(line) = lines.iter().rev().find(|line| !line.trim().is_empty()) else {
        return String::new();
    };
    let masked = without_secrets(url, line);
    let short: String = masked.chars().take(REASON_CHARS).collect();
    format!(": {}", short.trim().trim_end_matches('.'))
}

/// Returns a log line of Apprise without any part of the URL or its keys.
fn without_secrets(url: &ForeignUrl, line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let shown = url.masked();
    let keys = url.expose_keys().map(|(_, value)| value);
    for text in std::iter::once(url.expose_url()).chain(keys) {
        for part in text.split(|c: char| !c.is_alphanumeric() && !"%._~+-".contains(c)) {
            let decoded = ackpost_notify::url::percent::decode(part);
            for word in [part, decoded.as_str()] {
                let known = word == url.schema() || shown.split(['/', ':', '@']).any(|one| one == word);
                if word.chars().count() >= SECRET_CHARS && !known {
                    words.push(word.to_owned());
                }
            }
        }
    }
    // A long secret goes before a part of it.
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let mut line = line.to_owned();
    for word in words {
        line = line.replace(&word, "****");
    }
    // Everything that still looks like a URL with something in it.
    let mut out = String::with_capacity(line.len());
    for (n, word) in line.split(' ').enumerate() {
        if n > 0 {
            out.push(' ');
        }
        match word.split_once("://") {
            Some((schema, _)) => {
                out.push_str(schema);
                out.push_str("://****");
            }
            None => out.push_str(word),
        }
    }
    out
}
