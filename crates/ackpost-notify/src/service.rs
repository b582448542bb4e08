//! The trait that a service implements, its parameters, and loaded URLs.
//!
//! A service is a [`ServiceKind`] and a type that implements [`Service`]. The program hands the list of those that it
//! knows, [`Services`], to whatever loads URLs, in [`Context::services`].

mod access;
mod built_in;
pub(crate) mod common;
pub(crate) mod context;
pub(crate) mod encoded;
pub(crate) mod foreign;
pub(crate) mod kind;
pub(crate) mod loaded;
pub(crate) mod near;
pub(crate) mod param;
pub(crate) mod parse;
mod parts;
pub(crate) mod reader;
pub(crate) mod services;
mod sogs;
pub(crate) mod target;
mod xmpp;

pub use crate::render::{Chunk, Limits, Measure};
pub use crate::url::query::Origin;
pub use access::{SogsAccess, SogsParts, XmppParts, authorities};
pub use common::{CommonParams, ParamValue, Parameter};
pub use context::{Context, SavedCommunities};
pub use encoded::{Encoded, Shown};
pub use foreign::ForeignUrl;
pub use kind::{Finding, ForeignKind, LoadForeign, ParseService, Service, ServiceKind};
pub use loaded::ServiceUrl;
pub use param::{ADDRESS_PARAMETERS, COMMON_PARAMETERS, Param, QUEUE_PARAMETERS, Values, Written};
pub use reader::ParamReader;
pub use services::Services;
pub use sogs::KIND as SOGS;
pub use target::Target;
pub use xmpp::KIND as XMPP;
