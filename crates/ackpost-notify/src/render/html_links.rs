//! Addresses of links in HTML.

use ackpost_platform::text::plain_name;

use crate::url::number::trim;

/// Addresses that run something, or that only the reader's own machine knows.
const UNSAFE_SCHEMES: [&str; 5] = ["javascript", "vbscript", "data", "file", "blob"];

/// Returns an address without invisible characters; nothing for one that would run something.
pub(super) fn safe(written: &str) -> Option<String> {
    let visible = plain_name(written);
    let visible = trim(&visible);
    let unsafe_one =
        scheme(visible).is_some_and(|scheme| UNSAFE_SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()));
    (!unsafe_one).then(|| visible.to_owned())
}

/// Returns what a plain text shows behind the text of a link: its address, unless the text shows it already. An address
/// within the page itself leads nowhere outside of it.
pub(super) fn shown(written: &str, text: &str) -> Option<String> {
    let address = safe(written)?;
    let scheme = scheme(&address).filter(|scheme| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
    })?;
    let bare = |text: &str| trim(text).trim_end_matches('/').to_owned();
    let rest = address[scheme.len() + 1..].trim_start_matches('/');
    let text = bare(text);
    if text == bare(&address) || text == bare(rest) {
        return None;
    }
    Some(
        address
            .replace('<', "%3C")
            .replace('>', "%3E")
            .replace(' ', "%20"),
    )
}

fn scheme(address: &str) -> Option<&str> {
    address.split_once(':').map(|(scheme, _)| scheme)
}
