//! What counts as a link.

/// Endings by which a bare `name.ending` is taken as a link; with a scheme or `www.` every ending counts.
const BARE_ENDINGS: &[&str] = &[
    "app", "biz", "cc", "click", "club", "cn", "co", "com", "dev", "fun", "gg", "i2p", "info", "io", "link",
    "live", "loki", "ly", "me", "net", "onion", "online", "org", "ru", "shop", "site", "space", "store",
    "to", "top", "tv", "vip", "website", "xyz",
];

pub(super) fn has_link(text: &str, allowed: &[String]) -> bool {
    text.split(|ch: char| ch.is_whitespace() || "<>()[]{}\"'`|,;".contains(ch))
        .filter_map(link_host)
        .any(|host| {
            !allowed
                .iter()
                .any(|ok| host == *ok || host.ends_with(&format!(".{ok}")))
        })
}

/// The host of a word that is a link.
pub(super) fn link_host(word: &str) -> Option<String> {
    let lower = word.trim_end_matches(['.', '!', '?', ':']).to_lowercase();
    let (explicit, rest) = match lower.split_once("://") {
        Some((scheme, rest))
            if !scheme.is_empty()
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c)) =>
        {
            (true, rest)
        }
        Some(_) => return None,
        None => (lower.starts_with("www."), lower.as_str()),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, port)| {
        if port.chars().all(|c| c.is_ascii_digit()) {
            host
        } else {
            ""
        }
    });
    if host.is_empty() {
        return None;
    }
    if explicit {
        return Some(host.to_owned());
    }
    // An address of mail is not a link to follow.
    if authority.contains('@') {
        return None;
    }
    let (name, ending) = host.rsplit_once('.')?;
    let named = !name.is_empty() && host.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '-');
    (named && BARE_ENDINGS.contains(&ending)).then(|| host.to_owned())
}
