//! All output of the program except log lines.
//!
//! Results go to standard output, everything else to standard error. A reader that has gone away
//! (a closed pipe) is not a failure: the work is done, nobody wants to hear of it. A full disk is one.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackpost_notify::{Confirmation, Diagnostic, Outcome, Report, TargetReport};
pub(crate) use ackpost_platform::text::{count, harmless, masked, misleads, one_line};
use anstyle::{AnsiColor, Style};

use crate::context::{Context, Invocation};
use crate::exit::{Exit, Failure};
use crate::log;

const GOOD: Style = AnsiColor::Green.on_default();
const LATER: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const HEADING: Style = Style::new().bold();

/// True if a part of the results could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// Returns true if a part of the results could not be written to standard output, although somebody wanted it.
pub(crate) fn is_incomplete() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Form of remarks, warnings and errors.
static VOICE: OnceLock<(Context, bool)> = OnceLock::new();

/// Decides once how remarks, warnings and errors are said. Under the name `apprise` they are log lines on standard
/// output, as Apprise writes them: programs that call it read any standard error as a failure. `quiet` leaves out
/// everything but errors.
pub(crate) fn speak_as(context: Context, quiet: bool) {
    let _ = VOICE.set((context, quiet));
}

/// True when only errors are said.
pub(crate) fn is_quiet() -> bool {
    VOICE.get().is_some_and(|(_, quiet)| *quiet)
}

impl Failure {
    /// Prints it to standard error and gives the exit code.
    pub(crate) fn print(&self) -> Exit {
        // Some of it may be the words of a server.
        let text: String = format!("{}; {}", self.cause(), self.remedy())
            .chars()
            .map(|c| if misleads(c) && c != '\n' { ' ' } else { c })
            .collect();
        error(&text);
        self.exit()
    }
}

/// The verbosity, under the name `apprise`.
fn as_apprise() -> Option<u8> {
    VOICE
        .get()
        .filter(|(context, _)| context.name == Invocation::Apprise)
        .map(|(context, _)| context.verbosity)
}

/// A log line as Apprise writes it, if the verbosity asks for it.
fn log_line(verbosity: u8, least: u8, level: &str, text: &str) {
    if verbosity >= least {
        line(&log::line(level, text));
    }
}

/// Takes note of results that did not get out, and says so once.
fn written(result: io::Result<()>) {
    if let Err(cause) = result
        && cause.kind() != io::ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        error(&format!(
            "cannot write to standard output: {cause}; the command is done, but its output is incomplete"
        ));
    }
}

/// One line of a result, to standard output.
pub(crate) fn line(text: &str) {
    written(writeln!(anstream::stdout(), "{text}"));
}

/// Lines of a result that have words of others in them, to standard output.
pub(crate) fn words(text: &str) {
    let shown: String = text
        .chars()
        .map(|c| if misleads(c) && c != '\n' { '\u{fffd}' } else { c })
        .collect();
    line(&shown);
}

/// Raw text of a result, to standard output (completions, man pages).
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()));
}

/// One JSON value of a result on its own line, to standard output.
pub(crate) fn json(value: &impl serde::Serialize) {
    line(&harmless(
        &serde_json::to_string(value).expect("plain values have a JSON form"),
    ));
}

/// A JSON document for people and programs, to standard output.
pub(crate) fn json_document(value: &impl serde::Serialize) {
    line(&harmless(
        &serde_json::to_string_pretty(value).expect("plain values have a JSON form"),
    ));
}

/// `no messages`: the phrase for every empty list, to standard error. With `--json` an empty list prints nothing.
pub(crate) fn none(things: &str, context: Context) {
    if !context.json {
        note(&format!("no {things}"));
    }
}

/// Headings of a list, only for a person: standard output is a terminal and no JSON is asked for.
pub(crate) fn heading(text: &str, context: Context) {
    if !context.json && io::IsTerminal::is_terminal(&io::stdout()) {
        line(&format!("{HEADING}{text}{HEADING:#}"));
    }
}

/// Rows below headings, in aligned columns; numbers are aligned to the right. The headings are only for a terminal.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>], context: Context) {
    for (index, row) in aligned(headings, rows).iter().enumerate() {
        if index == 0 {
            heading(row, context);
        } else {
            line(row);
        }
    }
}

/// A list for people: its rows below headings, or the phrase for an empty list.
pub(crate) fn list(things: &str, headings: &[&str], rows: &[Vec<String>], context: Context) {
    if rows.is_empty() {
        none(things, context);
    } else {
        table(headings, rows, context);
    }
}

/// The lines of a table, headings first. No line ends with spaces.
fn aligned(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |text: &str| text.chars().count();
    let columns: Vec<(usize, bool)> = headings
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let cells = || rows.iter().filter_map(|row| row.get(column));
            let widest = cells().map(|cell| width(cell)).max().unwrap_or_default();
            let number =
                cells().all(|cell| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit()));
            (widest.max(width(name)), number)
        })
        .collect();
    let layout = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&columns)
            .map(|(cell, (widest, number))| {
                let space = " ".repeat(widest.saturating_sub(width(cell)));
                if *number {
                    space + cell
                } else {
                    cell.to_owned() + &space
                }
            })
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    std::iter::once(layout(&mut headings.iter().copied()))
        .chain(rows.iter().map(|row| layout(&mut row.iter().map(String::as_str))))
        .collect()
}

/// A time in the zone of this machine, to the second, with the name of the zone.
pub(crate) fn local(time: jiff::Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string()
}

/// A remark, to standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// A remark that scripts written for Apprise do not expect, to standard error.
pub(crate) fn note_own(context: Context, text: &str) {
    if context.name == Invocation::Ackpost && !is_quiet() {
        note(text);
    }
}

/// `note: …`, to standard error: something was changed on the way, and the message goes out all the same.
pub(crate) fn remark(text: &str) {
    match as_apprise() {
        Some(verbosity) => log_line(verbosity, 1, "WARNING", text),
        None if is_quiet() => {}
        None => note(&format!("{LATER}note:{LATER:#} {text}")),
    }
}

/// `error: …`, to standard error.
pub(crate) fn error(text: &str) {
    match as_apprise() {
        Some(verbosity) => log_line(verbosity, 0, "ERROR", text),
        None => note(&format!("{BAD}error:{BAD:#} {text}")),
    }
}

/// `warning: …`, to standard error.
pub(crate) fn warning(text: &str) {
    match as_apprise() {
        Some(verbosity) => log_line(verbosity, 1, "WARNING", text),
        None if is_quiet() => {}
        None => note(&format!("{LATER}warning:{LATER:#} {text}")),
    }
}

/// Prints the problems of loading.
///
/// Warnings are shown by default, except under Apprise's name: scripts written for Apprise ask for them with `-v`.
pub(crate) fn problems(problems: &[Diagnostic], context: Context) {
    for problem in problems {
        if problem.is_error() {
            error(&problem.to_string());
        } else if context.name == Invocation::Ackpost || context.verbosity > 0 {
            warning(&problem.to_string());
        }
    }
}

/// With `--json`, one object for each URL or target that cannot be used, as for a target that was refused.
pub(crate) fn refused(problems: &[Diagnostic], context: Context) {
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
/// Under Apprise's name the lines are log lines on standard output, and a delivery is silent unless `-vv` asks for it.
pub(crate) fn report(report: &Report, context: Context) {
    for target in &report.targets {
        if context.json {
            json(target);
        }
        if context.name == Invocation::Apprise {
            apprise_line(target, context.verbosity);
        } else if !is_quiet() || !target.outcome.is_delivered() {
            note(&target_line(target));
        }
    }
}

/// Prints the numbers of messages delivered and handed to Apprise, if any were handed over.
pub(crate) fn handed_over(report: &Report, context: Context) {
    let by_apprise = |target: &&TargetReport| {
        let by = Confirmation::Apprise;
        matches!(target.outcome, Outcome::Delivered { confirmed_by, .. } if confirmed_by == by)
    };
    let handed = report.targets.iter().filter(by_apprise).count();
    if handed > 0 {
        let delivered = report.delivered() - handed;
        note_own(
            context,
            &format!("{delivered} delivered, {handed} handed to Apprise"),
        );
    }
}

/// The line of a target as a log line of Apprise. A failure is an error, where Apprise has a warning or nothing: programs
/// look for `ERROR`.
fn apprise_line(target: &TargetReport, verbosity: u8) {
    let (least, level) = if target.outcome.is_delivered() {
        (2, "INFO")
    } else if target.optional {
        (1, "WARNING")
    } else {
        (0, "ERROR")
    };
    // The words of the reference, which programs may look for.
    let text = match (level, target.service) {
        ("INFO", "sogs") => format!("Sent SOGS notification to room '{}'.", target.address),
        _ => plain_target_line(target),
    };
    log_line(verbosity, least, level, &text);
}

/// The line of a target without colours.
fn plain_target_line(target: &TargetReport) -> String {
    anstream::adapter::strip_str(&target_line(target)).to_string()
}

pub(crate) fn target_line(target: &TargetReport) -> String {
    let style = match target.outcome {
        Outcome::Delivered {
            confirmed_by: Confirmation::HandedOver | Confirmation::Apprise,
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
                Confirmation::Apprise => {
                    text.push_str(" Apprise reported success; Ackpost cannot see further");
                }
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
    use super::aligned;

    #[test]
    fn columns_are_aligned() {
        let rows = ["9|lobby|x", "17|ä|"].map(|row| row.split('|').map(str::to_owned).collect());
        assert_eq!(
            aligned(&["ID", "ROOM", "NAME"], &rows),
            ["ID  ROOM   NAME", " 9  lobby  x", "17  ä"]
        );
    }
}
