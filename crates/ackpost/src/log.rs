//! Log lines, by `-v`: one format for every command, to standard error. Under the name `apprise` they have Apprise's format
//! and go to standard output.

use std::io::Write;
use std::{fmt, io};

use ackpost_platform::text::{harmless, masked};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::context::{Context, Invocation, LogFormat};

/// Our own crates. Nobody else's lines are shown below a warning: they might repeat what was sent.
const OURS: [&str; 6] = [
    "ackpost",
    "ackpost_notify",
    "sogs_client",
    "sogs_server",
    "ackpost_xmpp",
    "session_protocol",
];

/// Turns logging on: 0 errors, 1 warnings, 2 information, 3 debugging, 4 tracing.
pub(crate) fn start(context: Context) {
    let level = match context.verbosity {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::WARN,
        2 => LevelFilter::INFO,
        3 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OURS.iter().map(|&name| (name, level)));
    let lines = match context.name {
        Invocation::Apprise => tracing_subscriber::fmt::layer()
            .with_writer(io::stdout)
            .event_format(Line)
            .boxed(),
        Invocation::Ackpost => lines(context.log_format == LogFormat::Json),
    };
    // A second start (in a test) keeps the first.
    let _ = tracing_subscriber::registry()
        .with(targets)
        .with(lines)
        .try_init();
}

/// Lines on standard error: time, level, text and fields, or one JSON object for each.
pub(crate) fn lines<S>(json: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || Legible {
            json,
            out: io::stderr(),
        })
        .with_ansi(false)
        .with_target(false);
    if json { lines.json().boxed() } else { lines.boxed() }
}

/// Writes log lines in which no words of others mislead: each write is one line.
struct Legible<W> {
    json: bool,
    out: W,
}

impl<W: Write> Write for Legible<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let shown = if self.json { harmless(text) } else { masked(text) };
        self.out.write_all(format!("{shown}\n").as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// `YYYY-MM-DD HH:MM:SS,mmm - LEVEL - text key=value`
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            Level::DEBUG => "DEBUG",
            Level::TRACE => "TRACE",
        };
        let mut text = Text::default();
        event.record(&mut text);
        // It holds words of servers.
        writeln!(
            writer,
            "{}",
            line(level, &format!("{}{}", text.message, text.fields))
        )
    }
}

/// One log line as Apprise writes it, without the end of the line.
pub(crate) fn line(level: &str, text: &str) -> String {
    let now = jiff::Zoned::now();
    format!(
        "{},{:03} - {level} - {}",
        now.strftime("%Y-%m-%d %H:%M:%S"),
        now.millisecond(),
        masked(text)
    )
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        // Writing to a String cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output;

    #[test]
    fn words_of_others_are_masked_in_the_log() {
        let written = |json: bool, line: &str| {
            let mut to = Legible {
                json,
                out: Vec::new(),
            };
            to.write_all(line.as_bytes()).expect("memory");
            String::from_utf8(to.out).expect("UTF-8")
        };
        let text = "name=a\u{1b}[2J\u{9b}\u{202e}txt\nINFO faked\u{2028}\n";
        assert_eq!(
            written(false, text),
            "name=a\\u{1b}[2J\\u{9b}\\u{202e}txt\\u{a}INFO faked\\u{2028}\n"
        );
        let value = serde_json::json!({ "name": text });
        let line = written(true, &format!("{value}\n"));
        assert!(!line.trim_end().chars().any(output::misleads), "{line}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&line).expect("JSON"),
            value
        );
    }
}
