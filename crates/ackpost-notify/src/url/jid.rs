//! JIDs as they are written in URLs.

use super::number::{is_space, trim};

/// A JID as written: `[#]local[@domain][/resource]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenJid {
    /// It began with `#`.
    pub(crate) room: bool,
    /// `local@domain` or `local@domain/resource`, the domain filled in.
    pub(crate) jid: String,
    /// The part before `@`.
    pub(crate) local: String,
}

/// Reads a login JID or a target, decoded. A `%23` left over from the URL is understood as the `#` of a room.
pub(crate) fn parse(text: &str, host: &str) -> Option<WrittenJid> {
    let text = trim(text);
    if let Some(rest) = text.strip_prefix('#').or_else(|| text.strip_prefix("%23"))
        && let Some(mut jid) = address(rest, host)
    {
        jid.room = true;
        return Some(jid);
    }
    address(text, host)
}

fn address(text: &str, host: &str) -> Option<WrittenJid> {
    let (bare, resource) = match text.split_once('/') {
        Some((bare, rest)) => (
            bare,
            rest.split('/').next().and_then(|part| part.split("%2F").next()),
        ),
        None => (text, None),
    };
    if resource
        .is_some_and(|resource| resource.is_empty() || resource.chars().any(|c| c == '%' || is_space(c)))
    {
        return None;
    }
    let (local, domain) = match bare.split_once('@') {
        Some((local, domain)) => (local, domain),
        None => (bare, host),
    };
    let plain = |part: &str| !part.is_empty() && !part.chars().any(|c| c == '@' || is_space(c));
    if !plain(local) || !plain(domain) {
        return None;
    }
    let jid = match resource {
        Some(resource) => [local, "@", domain, "/", resource].concat(),
        None => [local, "@", domain].concat(),
    };
    Some(WrittenJid {
        room: false,
        jid,
        local: local.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_take_the_forms_of_the_reference() {
        let text = |written: &str| parse(written, "h.org").map(|jid| (jid.room, jid.jid));
        for (written, room, jid) in [
            ("jane", false, "jane@h.org"),
            ("#room", true, "room@h.org"),
            ("#", false, "#@h.org"),
            ("##a@b", true, "#a@b"),
            ("a/b/c", false, "a@h.org/b"),
            ("a/b%2Fc", false, "a@h.org/b"),
            ("%23a@b.c", true, "a@b.c"),
        ] {
            assert_eq!(text(written), Some((room, jid.to_owned())), "{written}");
        }
        for written in ["@jane", "jane@", "a@b@c", "jane/", "/a", "a//b", "a/b%c", ""] {
            assert_eq!(text(written), None, "{written}");
        }
    }
}
