//! Apprise's language: URLs, configuration files, tags and templates, which become services of `ackpost-notify`.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! ackpost_apprise::send("xmpps://bot:secret@example.org/jane", "backup done").await.into_result()?;
//! # Ok(()) }
//! ```
//!
//! "Delivered" means that the other side said so; [`Confirmation`] names what said it. A [`Notifier`] holds URLs with tags
//! and configuration files:
//!
//! ```
//! use ackpost_apprise::{Message, Notifier, TagFilter};
//!
//! let mut notifier = Notifier::new();
//! notifier.add_tagged("xmpps://bot:secret@example.org/jane", "ops")?;
//! // What would be sent where, without any network:
//! let filter = TagFilter::from_values(["ops"]);
//! let plan = notifier.plan(&Message::new("disk full").title("db1"), &filter);
//! let prepared = plan.services[0].prepared.as_ref().unwrap();
//! assert_eq!(prepared.targets[0].address, "jane@example.org");
//! assert_eq!(prepared.chunks[0].body, "db1\r\ndisk full");
//! # Ok::<(), ackpost_apprise::AddError>(())
//! ```
//!
//! This crate reads texts and knows nothing of sending. The crate `ackpost-notify` reads one URL, renders and delivers.

#![warn(clippy::missing_errors_doc)]

mod add_error;
pub mod blocking;
pub mod config;
mod entry;
mod loaded_urls;
mod notifier;
mod options;
mod plan;
mod send;
mod setters;
mod split;
mod tag;
mod template;
mod template_url;

pub use ackpost_notify::dispatch::Chain;
pub use ackpost_notify::{
    Attachment, Confirmation, Context, Diagnostic, Format, Kind, Message, Outcome, Report, ServiceUrl,
    Status, TargetReport,
};
pub use add_error::AddError;
pub use config::{ConfigReport, Source, Syntax};
pub use entry::{Entry, EntryBody};
pub use loaded_urls::LoadedUrls;
pub use notifier::{Notifier, foreign_words};
pub use options::Options;
pub use plan::{Plan, Planned};
pub use send::send;
pub use split::split_urls;
pub use tag::{Tag, TagFilter, Wanted, parse_tags};
pub use template::{Template, Values};

/// The version of Apprise whose language this crate follows.
pub const APPRISE_VERSION: &str = "2.3.0";

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
