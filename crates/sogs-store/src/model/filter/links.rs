//! Detection of links in texts.

/// Endings by which a bare `name.ending` is taken as a link; with a scheme or `www.` every ending counts.
const BARE_ENDINGS: &[&str] = &[
    "app", "biz", "cc", "click", "club", "cn", "co", "com", "dev", "fun", "gg", "i2p", "info", "io", "link",
    "live", "loki", "ly", "me", "net", "onion", "online", "org", "ru", "shop", "site", "space", "store",
    "to", "top", "tv", "vip", "website", "xyz",
];

pub(super) fn has_link(text: &str, allowed: &[String]) -> bool {
    text.split(|ch: char| ch.is_whitespace() || "<>()[]{}\"'`|,;".contains(ch))
        .flat_map(link_hosts)
        .any(|host| {
            !allowed
                .iter()
                .any(|ok| host == *ok || host.ends_with(&format!(".{ok}")))
        })
}

/// The hosts of the links in a word, which may have other characters around them.
fn link_hosts(word: &str) -> Vec<String> {
    let lower = word.to_lowercase();
    let mut hosts = Vec::new();
    let mut rest = lower.as_str();
    let mut is_within = false;
    while let Some((before, after)) = rest.split_once("://") {
        // A scheme within the address of another link belongs to that address, unless something stands between that no
        // address has.
        is_within &= before.chars().all(is_of_address);
        if !is_within {
            hosts.extend(bare_hosts(before));
            if has_scheme(before)
                && let Some(host) = host(authority(after))
            {
                hosts.push(host);
                is_within = true;
            }
        }
        rest = after;
    }
    if !is_within {
        hosts.extend(bare_hosts(rest));
    }
    hosts
}

/// Returns true if a text ends with a scheme: letters, digits and a few signs, with a letter among them.
fn has_scheme(before: &str) -> bool {
    before
        .chars()
        .rev()
        .take_while(|c| c.is_ascii_alphanumeric() || "+.-".contains(*c))
        .any(|c| c.is_ascii_alphabetic())
}

/// Returns true for characters that an address has without being escaped.
fn is_of_address(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?#@!$&*+=%".contains(c)
}

/// The part of an address before its path.
fn authority(address: &str) -> &str {
    address.split(['/', '?', '#']).next().unwrap_or_default()
}

fn host(authority: &str) -> Option<String> {
    let authority = authority.trim_end_matches(|c: char| !c.is_alphanumeric());
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, port)| {
        if port.chars().all(|c| c.is_ascii_digit()) {
            host
        } else {
            ""
        }
    });
    (!host.is_empty()).then(|| host.to_owned())
}

/// The hosts of links without a scheme: `www.name.ending`, and `name.ending` with a known ending.
fn bare_hosts(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !(c.is_alphanumeric() || ".-/?#@_%&".contains(c)))
        .filter_map(bare_host)
}

fn bare_host(part: &str) -> Option<String> {
    let authority = authority(part).trim_matches(['.', '-', '_', '%', '&']);
    // An address of mail is not a link to follow.
    if authority.contains('@') {
        return None;
    }
    if authority.len() > 4 && authority.starts_with("www.") {
        return Some(authority.to_owned());
    }
    let (name, ending) = authority.rsplit_once('.')?;
    let named = !name.is_empty()
        && authority
            .chars()
            .all(|c| c.is_alphanumeric() || c == '.' || c == '-');
    (named && BARE_ENDINGS.contains(&ending)).then(|| authority.to_owned())
}
