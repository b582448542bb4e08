//! Markdown that is cut: links stay whole, open emphasis is closed and reopened.

/// Moves a cut in front of a link (`[text](address)`, `![text](address)`, `<address|label>`) that it would cut
/// through, when the link's end is in sight within one more window.
pub(super) fn outside_links(rest: &str, window: &str, cut: usize, limit: usize) -> usize {
    let sight = rest[window.len()..]
        .char_indices()
        .nth(limit)
        .map_or(rest.len(), |(at, _)| window.len() + at);
    let seen = &rest[..sight];
    let mut at = 0;
    while at < cut {
        let tail = &seen[at..];
        let length = if tail.starts_with('\\') {
            1 + tail[1..].chars().next().map_or(0, char::len_utf8)
        } else if let Some(length) = link_length(tail) {
            if at + length > cut {
                return if at > 0 { at } else { cut };
            }
            length
        } else {
            tail.chars().next().map_or(1, char::len_utf8)
        };
        at += length;
    }
    cut
}

/// Length of the link at the beginning of a text.
fn link_length(text: &str) -> Option<usize> {
    if let Some(inner) = text.strip_prefix('<') {
        let end = inner.find('>')?;
        let body = &inner[..end];
        return (body.contains('|') && !body.contains(['<', '\n'])).then_some(end + 2);
    }
    let bang = usize::from(text.starts_with('!'));
    let label = text[bang..].strip_prefix('[')?;
    let label_end = label.find(']')?;
    if label[..label_end].contains(['[', '\n']) {
        return None;
    }
    let address = label[label_end + 1..].strip_prefix('(')?;
    let address_end = address.find(')')?;
    if address[..address_end].contains('\n') {
        return None;
    }
    Some(bang + 1 + label_end + 2 + address_end + 1)
}

/// Markers that are open at the end of a text, outermost first.
fn open_markers(text: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let code = open.last().filter(|marker| marker.starts_with('`')).cloned();
        if c == '\\' && code.is_none() {
            rest = &rest[1..];
            rest = &rest[rest.chars().next().map_or(0, char::len_utf8)..];
        } else if c == '`' {
            let run = rest.bytes().take_while(|byte| *byte == b'`').count();
            match code {
                Some(marker) if marker.len() == run => {
                    open.pop();
                }
                Some(_) => {}
                None => open.push("`".repeat(run)),
            }
            rest = &rest[run..];
        } else if code.is_none() && rest.starts_with("**") {
            toggle(&mut open, "**");
            rest = &rest[2..];
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    open
}

fn toggle(open: &mut Vec<String>, marker: &str) {
    match open.iter().rposition(|one| one == marker) {
        Some(at) => {
            open.remove(at);
        }
        None => open.push(marker.to_owned()),
    }
}

/// Closes what is open at the end.
pub(super) fn close(text: &str) -> String {
    let mut out = text.to_owned();
    for marker in open_markers(text).iter().rev() {
        out.push_str(marker);
    }
    out
}

/// Closes what is open at the end of each piece and opens it again in the next.
pub(super) fn carry(pieces: Vec<String>) -> Vec<String> {
    let mut carried: Vec<String> = Vec::new();
    let count = pieces.len();
    pieces
        .into_iter()
        .enumerate()
        .map(|(n, piece)| {
            let piece = carried.concat() + &piece;
            carried = open_markers(&piece);
            if n + 1 == count { piece } else { close(&piece) }
        })
        .collect()
}
