//! The native core of the Python package `ackpost`.
//!
//! No thread of this crate ever touches a Python object. A call gives a [`Pending`] back; the result is a string of
//! JSON that the thread of the caller fetches: by `Pending.wait`, or through a [`Queue`] that wakes the caller's event
//! loop over a socket pair. Records of logging wait in their own queue until the caller fetches them. So nothing
//! can crash while the interpreter is being taken down, and a forked child starts its own threads.

mod answer;
mod community;
mod direct;
mod event;
mod fake;
mod identity;
mod log;
mod message;
mod notifier;
mod outbox;
mod pending;
mod place;
mod process;
mod queue;
mod stanza;
mod xmpp;

use pyo3::prelude::*;

pub use community::{Community, Events};
pub use direct::Direct;
pub use fake::{FakeKey, Seal};
pub use notifier::Notifier;
pub use outbox::Outbox;
pub use pending::Pending;
pub use queue::Queue;
pub use xmpp::Xmpp;

/// Takes the waiting log records: level as in Python's `logging`, name of the module, text.
#[pyfunction]
fn take_logs() -> Vec<(u8, String, String)> {
    process::current()
        .map(process::Process::take_logs)
        .unwrap_or_default()
}

/// Sets the lowest level that is recorded, as in Python's `logging`.
#[pyfunction]
fn set_log_level(level: u8) {
    log::set_level(level);
}

/// The native core of the package `ackpost`. Use the package, not this module: it changes without notice.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::direct::network_folder;
    #[pymodule_export]
    use super::identity::{blinded_id, identity, is_same_account};
    #[pymodule_export]
    use super::{
        Community, Direct, Events, FakeKey, Notifier, Outbox, Pending, Queue, Seal, Xmpp, set_log_level,
        take_logs,
    };

    /// The version of Ackpost.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
