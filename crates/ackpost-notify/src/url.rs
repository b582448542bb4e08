//! The URL grammar: the parts of a URL, secrets by reference.

mod host;
pub(crate) mod jid;
pub(crate) mod number;
pub(crate) mod pairs;
pub mod percent;
pub(crate) mod query;
pub(crate) mod raw;
pub(crate) mod secret_ref;
pub(crate) mod time_zone;

pub use pairs::Mark;
pub use raw::RawUrl;

pub(crate) use host::is_session_id;

/// True for what may stand where a host is expected.
pub fn is_host(text: &str) -> bool {
    host::check(text).is_ok()
}
