//! Several URLs in one string.

use super::number::is_space;

/// Cuts a string into URLs: wherever blanks, commas or semicolons are followed by `letters://`.
///
/// Text before the first URL is dropped, text between URLs without `://` stays with the URL before it, so a comma
/// inside a list of targets is safe. Without any `://` every word comes back on its own (none of them will load).
///
/// ```
/// let urls = notify::split_urls("xmpps://u:p@a.org/x, y; sogs://k:s@b.org/r");
/// assert_eq!(urls, ["xmpps://u:p@a.org/x, y", "sogs://k:s@b.org/r"]);
/// ```
pub fn split_urls(text: &str) -> Vec<&str> {
    let text = text.trim_end_matches(is_space);
    let starts = url_starts(text);
    if starts.is_empty() {
        return text
            .split(|c: char| is_space(c) || matches!(c, '[' | ']' | ';' | ','))
            .filter(|word| !word.is_empty())
            .collect();
    }
    let mut urls = Vec::with_capacity(starts.len());
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(text.len());
        let url = text[*start..end].trim_end_matches(|c| is_space(c) || c == ',' || c == ';');
        urls.push(url);
    }
    urls
}

/// Byte offsets where a URL begins.
fn url_starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let mut starts = Vec::new();
    let mut from = 0;
    while let Some(found) = text[from..].find("://") {
        let colon = from + found;
        from = colon + 3;
        let mut start = colon;
        while start > 0 && bytes[start - 1].is_ascii_alphanumeric() {
            start -= 1;
        }
        if start == colon {
            continue;
        }
        if starts.is_empty() {
            // The first URL of a string may follow any junk; its schema is at most 32 characters.
            starts.push(start.max(colon.saturating_sub(32)));
            continue;
        }
        let before = text[..start].chars().next_back();
        if colon - start <= 32 && before.is_some_and(|c| is_space(c) || c == ',' || c == ';') {
            starts.push(start);
        }
    }
    starts
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
}
