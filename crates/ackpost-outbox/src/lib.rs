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
//! * **Sealed at rest.** URLs, texts and files are encrypted with their own key file, mode 0600.
//!
//! SQLite in a file is the default; with PostgreSQL several machines share the lanes.
//!
//! The queue reads no encoded message: [`Transport`] encodes a message, and gets the bytes back for each attempt.
//! [`ServiceTransport`] does so with the services of `ackpost_notify`.
//!
//! ```
//! use ackpost_notify::{Context, Message, ServiceUrl, Services};
//! use ackpost_outbox::{AcceptOptions, Filter, Outbox, OutboxConfig, State};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let outbox = Outbox::for_services(OutboxConfig::in_folder(folder.path()), Services::default()).await?;
//! let service = ServiceUrl::parse("xmpps://bot:secret@example.org/jane", &Context::default())?;
//! let accepted = outbox.accept(&Message::new("backup done"), &[&service], &AcceptOptions::default()).await?;
//! let entry = outbox.get(&accepted[0].id).await?.expect("it was just stored");
//! assert_eq!(entry.state, State::Waiting);
//! # assert_eq!(outbox.list(&Filter::default()).await?.len(), 1);
//! # Ok(())
//! # }
//! ```

#![warn(clippy::missing_errors_doc)]

mod accept;
mod accept_queue;
mod acts;
mod alarm;
mod clock;
mod config;
mod content;
mod context;
mod counts;
mod encode;
mod error;
mod files;
mod label;
mod lane;
mod outbox;
mod payload;
mod remarks;
mod seal;
mod services;
mod setters;
mod slots;
mod store;
mod texts;
mod time;
mod transport;
mod types;
mod worker;

pub use accept::Submission;
pub use ackpost_notify::queue_rules::{
    DEFAULT_DEDUP_WINDOW, DEFAULT_TTL, Dedup, MAX_BUDGET, MAX_SPAN, QuietHours, RateLimit, RuleError, Rules,
    parse_span,
};
pub use acts::{Act, ActResult, NewAct};
pub use clock::{Clock, FixedJitter, Jitter, ManualClock, RandomJitter, Steady, SystemClock};
pub use config::{Alarm, AlarmServices, FlushSettings, OutboxConfig, OutboxLimits, Summary, WorkerSettings};
pub use context::{Linked, TargetKey};
pub use error::OutboxError;
pub use outbox::{Lane, Outbox};
pub use services::{MessageCopy, ServiceTransport, target_labels};
pub use store::Location;
pub use transport::{Checkpoint, DeliveryRequest, Destination, MessageText, SecretText, Sender, Transport};
pub use types::{
    AcceptOptions, Accepted, BadOutboxId, Entry, Event, Filter, Hold, LATENCY_MS, MAX_CONTEXT_BYTES,
    OutboxId, Selection, ServiceStats, State, Stats, time_text,
};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
