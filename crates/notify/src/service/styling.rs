//! Markdown as message styling (XEP-0393), which is all that many XMPP programs show.

/// Turns `**strong**`, `*emphasis*`, `~~struck~~` and headings into `*strong*`, `_emphasis_`, `~struck~` and `*heading*`;
/// backslash escapes lose their backslash, code stays as it is.
pub(super) fn from_markdown(text: &str) -> String {
    let mut out = Vec::new();
    let mut fenced = false;
    for line in text.split('\n') {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            out.push(line.to_owned());
        } else if fenced {
            out.push(line.to_owned());
        } else {
            out.push(style_line(line));
        }
    }
    out.join("\n")
}

fn style_line(line: &str) -> String {
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    if (1..=6).contains(&level)
        && let Some(heading) = line[level..].strip_prefix(' ')
    {
        let heading = inline(heading.trim().trim_end_matches('#').trim_end());
        return if heading.is_empty() || heading.contains('*') {
            heading
        } else {
            format!("*{heading}*")
        };
    }
    inline(line)
}

/// Markers in the text of one line.
fn inline(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if c == '\\'
            && let Some(next) = rest[1..].chars().next().filter(char::is_ascii_punctuation)
        {
            out.push(next);
            rest = &rest[2..];
        } else if c == '`'
            && let Some(end) = rest[1..].find('`')
        {
            out.push_str(&rest[..end + 2]);
            rest = &rest[end + 2..];
        } else if let Some((marker, styled)) = marker(rest)
            && let Some(end) = closing(&rest[marker.len()..], marker)
        {
            out.push_str(styled);
            out.push_str(&inline(&rest[marker.len()..marker.len() + end]));
            out.push_str(styled);
            rest = &rest[marker.len() + end + marker.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// The marker a text begins with, and what it is in message styling.
fn marker(text: &str) -> Option<(&'static str, &'static str)> {
    [("**", "*"), ("__", "*"), ("~~", "~"), ("*", "_"), ("_", "_")]
        .into_iter()
        .find(|(marker, _)| text.starts_with(marker))
}

/// Where the marker closes: not directly behind a blank, and something stands between.
fn closing(text: &str, marker: &str) -> Option<usize> {
    if text.is_empty() || text.starts_with(char::is_whitespace) {
        return None;
    }
    let mut from = 0;
    while let Some(found) = text[from..].find(marker) {
        let at = from + found;
        let before = text[..at].chars().next_back();
        let longer = text[at + marker.len()..].starts_with(&marker[..1]);
        if before.is_some_and(|c| !c.is_whitespace() && c != '\\') && !longer {
            return Some(at);
        }
        from = at + marker.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::from_markdown;

    #[test]
    fn markdown_becomes_message_styling() {
        for (markdown, styled) in [
            ("**b** *i* _i_ ~~s~~ `c*d*`", "*b* _i_ _i_ ~s~ `c*d*`"),
            ("# Title\nx", "*Title*\nx"),
            ("a \\* b 2 * 3", "a * b 2 * 3"),
            ("```\n**x**\n```", "```\n**x**\n```"),
            ("**a *b* c**", "*a _b_ c*"),
        ] {
            assert_eq!(from_markdown(markdown), styled);
        }
    }
}
