//! Everything that is printed, apart from log lines.
//!
//! Results go to standard output, everything else to standard error. A reader that has gone away
//! (a closed pipe) is no failure: the work is done, nobody wants to hear of it. A full disk is one.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use notify::{Confirmation, Outcome, Problem, Report, TargetReport};

use crate::context::{Context, Name};

const GOOD: Style = AnsiColor::Green.on_default();
const LATER: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// Whether a part of the results could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// Whether a part of the results could not be written to standard output, although somebody wanted it.
pub(crate) fn is_incomplete() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Takes note of results that did not get out, and says so once.
fn written(result: io::Result<()>) {
    if let Err(cause) = result
        && cause.kind() != io::ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        error(&format!(
            "standard output cannot be written: {cause}; what was asked for is done, but not all of it was printed"
        ));
    }
}

/// One line of a result, to standard output.
pub(crate) fn line(text: &str) {
    written(writeln!(anstream::stdout(), "{text}"));
}

/// Raw text of a result, to standard output (completions, man pages).
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()));
}

/// One JSON value of a result on a line of its own, to standard output.
pub(crate) fn json(value: &impl serde::Serialize) {
    line(&serde_json::to_string(value).expect("plain values have a JSON form"));
}

/// A JSON document for people and programs, to standard output.
pub(crate) fn json_document(value: &impl serde::Serialize) {
    line(&serde_json::to_string_pretty(value).expect("plain values have a JSON form"));
}

/// A remark, to standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// A remark that scripts written for Apprise do not expect, to standard error.
pub(crate) fn note_own(context: Context, text: &str) {
    if context.name == Name::Ackpost {
        note(text);
    }
}

/// `error: …`, to standard error.
pub(crate) fn error(text: &str) {
    note(&format!("{BAD}error:{BAD:#} {text}"));
}

/// `warning: …`, to standard error.
pub(crate) fn warning(text: &str) {
    note(&format!("{LATER}warning:{LATER:#} {text}"));
}

/// What did not load. Warnings are shown by default to everyone but scripts written for Apprise,
/// which ask for them with `-v`.
pub(crate) fn problems(problems: &[Problem], context: Context) {
    for problem in problems {
        if problem.is_error() {
            error(&problem.to_string());
        } else if context.name == Name::Ackpost || context.verbosity > 0 {
            warning(&problem.to_string());
        }
    }
}

/// With `--json`, one object for each URL or target that cannot be used, as for a target that was refused.
pub(crate) fn refused(problems: &[Problem], context: Context) {
    if !context.json {
        return;
    }
    for problem in problems.iter().filter(|problem| problem.is_error()) {
        json(&serde_json::json!({
            "target": null,
            "service": null,
            "outcome": "refused",
            "confirmed_by": null,
            "id": null,
            "reason": problem.cause,
            "remedy": problem.remedy,
            "notes": [],
            "attempts": 0,
            "elapsed_ms": 0,
            "file": problem.file,
            "line": problem.line,
            "key": problem.key,
        }));
    }
}

/// One line for each target on standard error and, with `--json`, one object for each on standard output.
///
/// Under Apprise's name a delivery is silent unless `-vv` asks for it.
pub(crate) fn report(report: &Report, context: Context) {
    for target in &report.targets {
        if context.json {
            json(&target_json(target));
        }
        if context.name == Name::Ackpost || context.verbosity >= 2 || !target.outcome.is_delivered() {
            note(&target_line(target));
        }
    }
}

fn target_json(target: &TargetReport) -> serde_json::Value {
    let (confirmed_by, id) = match &target.outcome {
        Outcome::Delivered { confirmed_by, id } => (Some(confirmed_by.as_str()), id.as_deref()),
        Outcome::Partial { id, .. } => (None, id.as_deref()),
        _ => (None, None),
    };
    serde_json::json!({
        "target": target.target,
        "service": target.service,
        "outcome": target.outcome.word(),
        "confirmed_by": confirmed_by,
        "id": id,
        "reason": target.outcome.reason(),
        "remedy": target.outcome.remedy(),
        "notes": target.notes,
        "attempts": target.attempts,
        "elapsed_ms": u64::try_from(target.elapsed.as_millis()).unwrap_or(u64::MAX),
    })
}

fn target_line(target: &TargetReport) -> String {
    let style = match target.outcome {
        Outcome::Delivered {
            confirmed_by: Confirmation::HandedOver,
            ..
        }
        | Outcome::Partial { .. }
        | Outcome::Deferred { .. } => LATER,
        Outcome::Delivered { .. } => GOOD,
        Outcome::Refused { .. } => BAD,
    };
    let mut text = format!(
        "{style}{:<9}{style:#} {} ({}",
        target.outcome.word(),
        one_line(&target.target),
        elapsed(target.elapsed)
    );
    if target.attempts > 1 {
        let _ = write!(text, ", {} attempts", target.attempts);
    }
    if target.pieces.total > 1 {
        let _ = write!(
            text,
            ", {} of {} parts",
            target.pieces.accepted, target.pieces.total
        );
    }
    if target.optional {
        text.push_str(", optional");
    }
    text.push(')');
    match &target.outcome {
        Outcome::Delivered { confirmed_by, id } => {
            match confirmed_by {
                Confirmation::HandedOver => text.push_str(" accepted without proof"),
                _ => _ = write!(text, " confirmed by {confirmed_by}"),
            }
            if let Some(id) = id {
                let _ = write!(text, ", id {}", one_line(id));
            }
        }
        Outcome::Partial { reason, remedy, .. }
        | Outcome::Deferred { reason, remedy, .. }
        | Outcome::Refused { reason, remedy } => {
            let _ = write!(text, ": {}", one_line(reason));
            if !remedy.is_empty() {
                let _ = write!(text, "; {}", one_line(remedy));
            }
        }
    }
    for remark in &target.notes {
        let _ = write!(text, " [{}]", one_line(remark));
    }
    text
}

/// True for characters that make a terminal show something else than what is there: control characters, and those
/// that turn the direction of what follows (Unicode's explicit embeddings, overrides and isolates).
pub(crate) fn misleads(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text from another machine may not break the line, move the cursor or turn the direction.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if misleads(c) { ' ' } else { c }).collect()
}

/// `1 attempt`, `2 attempts`.
pub(crate) fn count(number: u64, one: &str) -> String {
    let ending = match one {
        _ if number == 1 => "",
        _ if one.ends_with('s') => "es",
        _ => "s",
    };
    format!("{number} {one}{ending}")
}

/// `31 ms`, `2.4 s`.
pub(crate) fn elapsed(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_is_not_shown() {
        assert_eq!(one_line("a\n\u{1b}[31mb"), "a  [31mb");
        for turn in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert_eq!(one_line(&format!("txt.{turn}exe")), "txt. exe", "{turn:?}");
        }
        // Scripts that run from right to left, and the marks they are written with, stay.
        let text = "\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200f} \u{200e}\u{1f468}\u{200d}\u{1f469}";
        assert_eq!(one_line(text), text);
    }

    #[test]
    fn counts_in_words() {
        assert_eq!(count(1, "address"), "1 address");
        assert_eq!(count(2, "address"), "2 addresses");
        assert_eq!(count(0, "attempt"), "0 attempts");
        assert_eq!(count(1, "attempt"), "1 attempt");
    }
}
