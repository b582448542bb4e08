//! Messages for services such as XMPP and Session communities: rendering, delivery, and its confirmation.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use ackpost_notify::{Context, ServiceUrl};
//!
//! let jane = ServiceUrl::parse("xmpps://bot:secret@example.org/jane", &Context::default())?;
//! jane.send("backup done").await.into_result()?;
//! # Ok(()) }
//! ```
//!
//! "Delivered" means that the other side said so; [`Confirmation`] names what said it. [`prepare`] shows what would be
//! sent where, without any network:
//!
//! ```
//! use ackpost_notify::{Context, Message, ServiceUrl, prepare};
//!
//! let service = ServiceUrl::parse("xmpps://bot:secret@example.org/jane", &Context::default())?;
//! let prepared = prepare(&service, &Message::new("disk full").title("db1"))?;
//! assert_eq!(prepared.targets[0].address, "jane@example.org");
//! assert_eq!(prepared.chunks[0].body, "db1\r\ndisk full");
//! # Ok::<(), ackpost_notify::Diagnostic>(())
//! ```
//!
//! A service is a type that implements [`Service`]; it declares its parameters and reads its own address. Lists of URLs,
//! configuration files, tags and templates are in the crate `ackpost-apprise`.

#![warn(clippy::missing_errors_doc)]

mod address;
mod asset;
pub mod dispatch;
mod env;
pub mod grammar;
mod message;
mod outcome;
mod problem;
pub mod queue_rules;
pub mod render;
mod report;
mod result;
pub mod service;
mod setters;
mod signs;
mod text;
pub mod url;
mod words;

pub use address::is_public;
pub use asset::{Asset, Foreign};
pub use dispatch::{
    Attempt, BoxFuture, ConnectionOptions, ConnectionPool, Delivery, File, MessageId, OnEncoded, Prepared,
    Progress, RunOptions, ServicePool, prepare, prepare_shared,
};
pub use env::{Environment, Guest};
pub use message::{Attachment, AttachmentSource, Format, HOPS_HEADER, Kind, Message, Overflow, UnknownWord};
pub use outcome::{Confirmation, Lack, Outcome};
pub use problem::{Diagnostic, ProblemKind, Severity};
pub use report::{Pieces, Report, Status, TargetReport};
pub use result::{AllDelivered, NotDelivered};
pub use service::{
    ADDRESS_PARAMETERS, COMMON_PARAMETERS, Chunk, CommonParams, Context, Encoded, Finding, ForeignKind,
    ForeignUrl, Limits, Origin, Param, ParamReader, ParamValue, Parameter, QUEUE_PARAMETERS,
    SavedCommunities, Service, ServiceKind, ServiceUrl, Services, Shown, SogsAccess, SogsParts, Target,
    Values as ParamValues, XmppParts,
};
pub use signs::Signs;
pub use text::Text;

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
