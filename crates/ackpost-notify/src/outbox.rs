//! A durable queue: what it accepted survives a kill at any instant, and arrives once.
//!
//! * **Accept is one commit.** [`Outbox::accept`] renders a message for every target, fixes what identifies it on the
//!   wire, copies its files in and stores all of it in one transaction. Only then anything is sent.
//! * **One ordered lane per target.** A worker takes a lane by a lease, sends its entries one after the other, and
//!   a dead target never holds another.
//! * **Nothing is posted twice.** Each attempt is noted durably before it is made. After a kill the next worker
//!   knows that the attempt may have arrived and looks at the other side before it repeats.
//! * **Nothing vanishes.** An entry ends as delivered, in the dead-letter box with its reason, or dropped by hand.
//!   What was folded into another message is counted in that message.
//! * **Sealed at rest.** URLs, texts and files are encrypted with a key of their own file, mode 0600.
//!
//! SQLite in a file is the default; with PostgreSQL several machines share the lanes.

mod accept;
mod alarm;
mod carrier;
mod clock;
mod config;
mod content;
mod door;
mod error;
mod files;
mod label;
mod lane;
#[expect(clippy::module_inception, reason = "it holds the type `Outbox`")]
mod outbox;
mod payload;
mod remarks;
mod seal;
mod services;
mod slots;
mod store;
mod time;
mod types;
mod worker;

pub use crate::queue_rules::{
    DEFAULT_DEDUP_WINDOW, DEFAULT_TTL, Dedup, MAX_BUDGET, MAX_SPAN, QuietHours, RateLimit, RuleError, Rules,
    parse_span,
};
pub use accept::Parcel;
pub use carrier::{Checkpoint, Destination, Job, MessageId, SecretText, Sender, StoredFile, Transport, Wire};
pub use clock::{Clock, FixedJitter, Jitter, ManualClock, RandomJitter, Steady, SystemClock};
pub use config::{Alarm, AlarmServices, FlushSettings, OutboxConfig, OutboxLimits, Summary, WorkerSettings};
pub use error::OutboxError;
pub use outbox::{Lane, Outbox};
pub use services::{ServiceTransport, target_labels};
pub use store::Location;
pub use types::{
    AcceptOptions, Accepted, BadOutboxId, Entry, Event, Filter, Hold, LATENCY_MS, OutboxId, Selection,
    ServiceStats, State, Stats, time_text,
};
