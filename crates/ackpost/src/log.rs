//! Log lines in Apprise's format, by `-v`: to standard error, and under the name `apprise` to standard output.

use std::{fmt, io};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::context::{Context, Name};
use crate::output::masked;

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
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || -> Box<dyn io::Write> {
            match context.name {
                Name::Apprise => Box::new(io::stdout()),
                Name::Ackpost => Box::new(io::stderr()),
            }
        })
        .event_format(Line);
    // A second start (in a test) keeps the first.
    let _ = tracing_subscriber::registry()
        .with(targets)
        .with(lines)
        .try_init();
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
        // The words of servers stand in it.
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
