//! Log records of the libraries, kept until Python fetches them.

use std::fmt::{self, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Lowest level that is recorded, as in Python's `logging`.
static LEVEL: AtomicU8 = AtomicU8::new(30);
/// Crates whose records are of use; those of HTTP and TLS libraries are not.
const OURS: [&str; 5] = ["ackpost", "sogs_client", "session_", "omemo", "_core"];

pub(crate) fn set_level(level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
}

/// Installs the collector of this library. A second call changes nothing.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = tracing::subscriber::set_global_default(Collector);
    });
}

struct Collector;

fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(*metadata.level()) >= LEVEL.load(Ordering::Relaxed)
            && OURS
                .iter()
                .any(|crate_name| metadata.target().starts_with(crate_name))
    }

    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        // The level may change at any time.
        tracing::subscriber::Interest::sometimes()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(process) = crate::process::latest() else {
            return;
        };
        let mut line = Line::default();
        event.record(&mut line);
        let target = event.metadata().target().to_owned();
        process.log((
            number(*event.metadata().level()),
            target,
            line.text + &line.fields,
        ));
    }
}

#[derive(Default)]
struct Line {
    text: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = if field.name() == "message" {
            write!(self.text, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
