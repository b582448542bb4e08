//! Messages, Apprise URLs and configuration, rendering, dispatch and outbox.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! ackpost_notify::send("xmpps://bot:secret@example.org/jane", "backup done").await.into_result()?;
//! # Ok(()) }
//! ```
//!
//! "Delivered" means that the other side said so; [`Confirmation`] names what said it. A [`Notifier`] holds URLs with tags
//! and configuration files:
//!
//! ```
//! use ackpost_notify::{Message, Notifier, TagFilter};
//!
//! let mut notifier = Notifier::new();
//! notifier.add_tagged("xmpps://bot:secret@example.org/jane", "ops")?;
//! // What would be sent where, without any network:
//! let filter = TagFilter::from_values(["ops"]);
//! let plan = notifier.plan(&Message::new("disk full").title("db1"), &filter);
//! let prepared = plan.services[0].prepared.as_ref().unwrap();
//! assert_eq!(prepared.targets[0].address, "jane@example.org");
//! assert_eq!(prepared.chunks[0].body, "db1\r\ndisk full");
//! # Ok::<(), ackpost_notify::AddError>(())
//! ```

mod address;
mod asset;
pub mod blocking;
pub mod config;
pub mod dispatch;
mod entry;
mod env;
mod message;
mod notifier;
pub mod outbox;
mod outcome;
mod problem;
mod queue_rules;
pub mod render;
mod report;
mod result;
pub mod service;
mod tag;
mod template;
mod template_url;
mod text;
pub mod url;

pub use address::is_public;
pub use asset::Asset;
pub use config::{ConfigReport, Source, Syntax};
pub use dispatch::{
    AttemptResult, ConnectionOptions, ConnectionPool, File, MessageId, OnEncoded, Parcel, Plan, Planned,
    Prepared, Progress, prepare, prepare_shared,
};
pub use entry::{Entry, EntryBody};
pub use env::{Environment, Guest};
pub use message::{Attachment, AttachmentSource, Format, Kind, Message, Overflow, UnknownWord};
pub use notifier::{Details, Notifier, Options};
pub use outcome::{Confirmation, Lack, Outcome};
pub use problem::{AddError, Diagnostic, Severity};
pub use report::{Pieces, Report, Status, TargetReport};
pub use result::{NotDelivered, send};
pub use service::{
    ADDRESS_PARAMETERS, COMMON_PARAMETERS, Chunk, Context, LoadedUrls, Origin, Param, ParamValue, Parameter,
    QUEUE_PARAMETERS, SavedCommunities, Service, Shown, SogsAccess, SogsParts, Target, Values as ParamValues,
    Wire, XmppAccess, XmppParts,
};
pub use tag::{Chain, Tag, TagFilter, Wanted, parse_tags};
pub use template::{Template, Values};
pub use text::Text;
pub use url::split_urls;

/// The version of Apprise whose language this crate follows.
pub const APPRISE_VERSION: &str = "2.3.0";

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
