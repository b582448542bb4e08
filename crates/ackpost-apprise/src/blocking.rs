//! The notifier without `async`, for programs that have no runtime.

use ackpost_notify::{Message, Report};

use crate::config::ConfigReport;
use crate::tag::TagFilter;

/// A [`crate::Notifier`] whose calls wait for their end.
///
/// ```
/// let mut notifier = ackpost_apprise::blocking::Notifier::new()?;
/// notifier.list_mut().add("xmpps://bot:secret@example.org/jane").unwrap();
/// assert_eq!(notifier.list().len(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Notifier {
    runtime: tokio::runtime::Runtime,
    list: crate::Notifier,
}

impl Notifier {
    /// An empty list with default options, and its own small runtime.
    ///
    /// # Errors
    /// When the system provides no runtime (no file descriptors left).
    pub fn new() -> std::io::Result<Self> {
        Self::with(crate::Notifier::new())
    }

    /// A list that already exists, and its own small runtime.
    ///
    /// # Errors
    /// When the system provides no runtime (no file descriptors left).
    pub fn with(list: crate::Notifier) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self { runtime, list })
    }

    /// The list of services.
    pub fn list(&self) -> &crate::Notifier {
        &self.list
    }

    /// The list of services, to change.
    pub fn list_mut(&mut self) -> &mut crate::Notifier {
        &mut self.list
    }

    /// See [`crate::Notifier::add_config`].
    pub fn add_config(&mut self, location: &str) -> ConfigReport {
        self.runtime.block_on(self.list.add_config(location))
    }

    /// See [`crate::Notifier::notify`]. Must not be called from inside an async runtime.
    pub fn notify(&self, message: Message) -> Report {
        self.runtime.block_on(self.list.notify(message))
    }

    /// See [`crate::Notifier::notify_to`].
    pub fn notify_to(&self, message: Message, filter: &TagFilter) -> Report {
        self.runtime.block_on(self.list.notify_to(message, filter))
    }
}
