//! Several URLs in one string.

use ackpost_notify::grammar::is_space;

/// Cuts a string into URLs: wherever blanks, commas or semicolons are followed by `letters://`.
///
/// Text before the first URL is dropped, text between URLs without `://` stays with the URL before it, so a comma
/// inside a list of targets is safe. Without any `://` every word comes back on its own (none of them will load).
///
/// ```
/// let urls = ackpost_apprise::split_urls("xmpps://u:p@a.org/x, y; sogs://k:s@b.org/r");
/// assert_eq!(urls, ["xmpps://u:p@a.org/x, y", "sogs://k:s@b.org/r"]);
/// ```
pub fn split_urls(text: &str) -> Vec<&str> {
    let text = text.trim_end_matches(is_space);
    let urls = urls(text);
    if urls.is_empty() {
        return text
            .split(|c: char| is_space(c) || matches!(c, '[' | ']' | ';' | ','))
            .filter(|word| !word.is_empty())
            .collect();
    }
    urls
}

/// Longest run of separators, and longest schema, at which a text is cut.
const RUN: usize = 32;

/// The URLs of a text. A line end inside a URL is none of its characters: what holds one is not a URL here.
fn urls(text: &str) -> Vec<&str> {
    let marks: Vec<usize> = text.match_indices("://").map(|(at, _)| at).collect();
    let cuts: Vec<Cut> = marks.iter().filter_map(|mark| cut(text, *mark)).collect();
    let mut cuts = cuts.as_slice();
    let mut urls = Vec::new();
    let mut from = 0;
    for colon in marks {
        let start = schema_start(text, from, colon);
        if colon < from || start == colon {
            continue;
        }
        let body = colon + 3;
        while cuts.first().is_some_and(|cut| cut.schema <= body) {
            cuts = &cuts[1..];
        }
        let end = cuts.first().map_or(text.len(), |cut| cut.separator.max(body));
        if let Some(line_end) = text[body..end].find('\n') {
            from = body + line_end;
        } else {
            urls.push(&text[start..end]);
            from = end;
        }
    }
    urls
}

/// A place where one URL ends and the next begins.
struct Cut {
    separator: usize,
    schema: usize,
}

/// The cut in front of the schema that ends at `colon`: one to 32 separators, one to 32 letters and digits.
fn cut(text: &str, colon: usize) -> Option<Cut> {
    let schema = schema_start(text, 0, colon);
    if !(1..=RUN).contains(&(colon - schema)) {
        return None;
    }
    let mut separator = schema;
    for c in text[..schema].chars().rev().take(RUN) {
        if !(is_space(c) || c == ',' || c == ';') {
            break;
        }
        separator -= c.len_utf8();
    }
    (separator < schema).then_some(Cut { separator, schema })
}

/// Returns the start of the letters and digits before `colon`, at `from` at the earliest.
fn schema_start(text: &str, from: usize, colon: usize) -> usize {
    let bytes = text.as_bytes();
    let mut start = colon;
    while start > from && bytes[start - 1].is_ascii_alphanumeric() {
        start -= 1;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::split_urls;

    #[test]
    fn a_list_of_targets_is_not_cut() {
        assert_eq!(
            split_urls("xmpps://a?to=a,b,xmpps://b?to=c,d"),
            ["xmpps://a?to=a,b", "xmpps://b?to=c,d"]
        );
        assert_eq!(split_urls("junk xmpps://u:p@x.org"), ["xmpps://u:p@x.org"]);
        assert_eq!(split_urls("a b,c"), ["a", "b", "c"]);
        assert!(split_urls(" \t ").is_empty());
        assert_eq!(split_urls("xmpps://a/b[xmpps://c/d"), ["xmpps://a/b[xmpps://c/d"]);
    }

    #[test]
    fn the_last_url_keeps_the_rest_and_a_line_end_is_not_part_of_a_url() {
        assert_eq!(split_urls("a://x?to=b,;, "), ["a://x?to=b,;,"]);
        assert_eq!(split_urls("a://x\njunk\nb://y"), ["b://y"]);
        assert_eq!(split_urls("a://x\njunk"), ["a://x", "junk"]);
        let many = format!("a://x{}b://y", ",".repeat(34));
        assert_eq!(split_urls(&many), ["a://x,,", "b://y"]);
    }
}
