//! The URL grammar: several URLs in one string, the parts of one, secrets by reference.

mod host;
pub(crate) mod jid;
pub(crate) mod number;
pub mod percent;
mod raw;
mod secret_ref;
mod split;
pub(crate) mod time_zone;

pub use raw::RawUrl;
pub(crate) use raw::{bounded, jid_targets, targets};
pub(crate) use secret_ref::{References, read_secret_file};
pub use split::split_urls;

/// True for what may stand where a host is expected.
pub(crate) fn is_host(text: &str) -> bool {
    host::check(text).is_ok()
}
