//! Secrets that are written in a configuration.

use ackpost_notify::url::percent;
use zeroize::Zeroizing;

use crate::entry::Entry;

impl Entry {
    /// Returns true when a secret of this service is written in `text`. A secret that the text only names
    /// (`{env:NAME}`, `{file:PATH}`, `password_file=`, `seed_file=`) does not count.
    pub fn has_secret_in(&self, text: &str) -> bool {
        holds_secret_of(self, text)
    }
}

/// Returns true when a secret of the entry is written in the text, not only named by a reference.
pub(super) fn holds_secret_of(entry: &Entry, text: &str) -> bool {
    let plain = |text: &str| Zeroizing::new(percent::decode(&percent::decode(text)).to_lowercase());
    let parts = |url: String| -> Vec<Zeroizing<String>> {
        let url = Zeroizing::new(url);
        let parts = url.split([':', '/', '?', '&', '=', '@']);
        parts.map(|part| Zeroizing::new(part.to_owned())).collect()
    };
    // The parts that the masked URL hides are secret.
    let (exposed, masked) = (parts(entry.expose_url()), parts(entry.masked_url()));
    // The name in a reference is not a secret, even if the secret is the same word: `{env:XMPP_PASSWORD}`.
    let text = without_references(text);
    let (once, text) = (Zeroizing::new(text.to_lowercase()), plain(&text));
    exposed.len() != masked.len()
        || exposed
            .iter()
            .zip(&masked)
            .filter(|(secret, shown)| secret != shown)
            .map(|(secret, shown)| {
                // Of a room and its password only the password is hidden.
                let open = shown.strip_suffix("****").unwrap_or_default();
                plain(secret.strip_prefix(open).unwrap_or(secret))
            })
            .any(|secret| text.contains(secret.as_str()) || once.contains(secret.as_str()))
}

/// A text without its `{env:…}` and `{file:…}`.
fn without_references(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let (before, reference) = rest.split_at(start);
        out.push_str(before);
        let named = reference.starts_with("{env:") || reference.starts_with("{file:");
        let end = reference
            .find(['}', '\n'])
            .filter(|end| named && reference.as_bytes()[*end] == b'}');
        rest = &reference[end.map_or(1, |end| end + 1)..];
        if end.is_none() {
            out.push('{');
        }
    }
    out.push_str(rest);
    out
}
