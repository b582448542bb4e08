//! All URLs of one string.

use ackpost_notify::{Context, Diagnostic, ServiceUrl};

use crate::split::split_urls;

/// Result of loading the pieces of one string.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LoadedUrls {
    /// The services that loaded, in order.
    pub services: Vec<ServiceUrl>,
    /// Problems of the other pieces.
    pub problems: Vec<Diagnostic>,
}

impl LoadedUrls {
    /// Loads every URL of a string ([`split_urls`]); an empty string loads nothing and says so.
    pub fn from_text(text: &str, context: &Context) -> Self {
        let mut loaded = Self::default();
        let pieces = split_urls(text);
        if pieces.is_empty() {
            loaded.problems.push(Diagnostic::error(
                "the URL is empty",
                "write a URL such as xmpps://user:password@host",
            ));
        }
        for piece in pieces {
            match ServiceUrl::parse(piece, context) {
                Ok(service) => loaded.services.push(service),
                Err(problem) => loaded.problems.push(problem),
            }
        }
        loaded
    }
}
