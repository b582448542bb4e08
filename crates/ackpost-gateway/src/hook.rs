//! Webhooks: what other programs post becomes title, body and kind.

mod alerts;
mod generic;
mod template;

pub(crate) use alerts::{alertmanager, grafana};
pub(crate) use generic::{from_hook, generic};
pub(crate) use template::Template;

use ackpost_notify::Kind;

/// What a webhook says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) kind: Kind,
}
