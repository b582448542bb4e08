//! The list of all services that come with Ackpost: the program and the Python package know the same URLs.

use ackpost_channels::{FORM, GOTIFY, JSON, MAIL, NTFY};
use ackpost_delegate::APPRISE;
use ackpost_notify::Services;
use ackpost_notify::service::{SOGS, XMPP};
use ackpost_sessiondm::SESSIONDM;

/// Everything that URLs may name.
pub static SERVICES: Services =
    Services::new(&[&SOGS, &XMPP, &SESSIONDM, &MAIL, &NTFY, &GOTIFY, &JSON, &FORM]).with_foreign(&APPRISE);

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
