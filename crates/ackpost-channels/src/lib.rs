//! Ackpost's services for mail, ntfy, Gotify and webhooks. They are the last steps of an escalation: they need no Python, and
//! the other side proves that it took the message.
//!
//! ```
//! use ackpost_channels::{GOTIFY, MAIL, NTFY};
//! use ackpost_notify::{Context, ServiceUrl, Services};
//!
//! static SERVICES: Services = Services::new(&[&MAIL, &NTFY, &GOTIFY]);
//! let context = Context::default().with_services(SERVICES);
//! let service = ServiceUrl::parse("ntfys://tk_secret@ntfy.example.org/alerts", &context)?;
//! assert_eq!(service.targets()[0].address, "alerts");
//! assert!(!service.masked_url().contains("tk_secret"));
//! # Ok::<(), ackpost_notify::Diagnostic>(())
//! ```
//!
//! URLs are those of Apprise 2.3.0. A parameter that Apprise has and that is missing here is a problem of its own kind
//! ([`Diagnostic::is_unsupported_parameter`](ackpost_notify::Diagnostic::is_unsupported_parameter)), so that the program can
//! hand such a URL to Apprise.

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(
    not(any(feature = "mail", feature = "ntfy", feature = "gotify", feature = "webhook")),
    allow(dead_code, reason = "no service uses what they share")
)]

#[cfg(feature = "gotify")]
mod gotify;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "mail")]
mod mail;
mod net;
#[cfg(feature = "ntfy")]
mod ntfy;
mod piece;
#[cfg(feature = "webhook")]
mod webhook;

#[cfg(feature = "gotify")]
pub use gotify::GOTIFY;
#[cfg(feature = "mail")]
pub use mail::MAIL;
#[cfg(feature = "ntfy")]
pub use ntfy::NTFY;
#[cfg(feature = "webhook")]
pub use webhook::{FORM, JSON};

/// Runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
