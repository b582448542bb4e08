//! Addresses in `MAIL FROM` and `RCPT TO`.

/// Longest address that is read.
const MAX_BYTES: usize = 1_024;

/// Splits `<ADDRESS> PARAM=VALUE …` behind `FROM:` or `TO:`. The brackets may be missing, as some devices have it.
pub(super) fn path(text: &str) -> Option<(String, Vec<(String, String)>)> {
    let text = text.trim();
    let (address, rest) = if text.starts_with('<') {
        let mut quoted = false;
        let mut escaped = false;
        let end = text.char_indices().find_map(|(at, letter)| {
            match letter {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                '>' if !quoted => return Some(at),
                _ => {}
            }
            None
        })?;
        (&text[1..end], &text[end + 1..])
    } else {
        text.split_once(' ').unwrap_or((text, ""))
    };
    if address.len() > MAX_BYTES || address.chars().any(char::is_control) {
        return None;
    }
    // A route of earlier times: `@a,@b:jane@c`.
    let address = match address.strip_prefix('@') {
        Some(route) => route.split_once(':')?.1,
        None => address,
    };
    let parameters = rest.split_ascii_whitespace().map(|word| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        (name.to_ascii_uppercase(), value.to_owned())
    });
    Some((address.to_owned(), parameters.collect()))
}

/// The part before the `@`, without quotes.
pub(super) fn local_part(address: &str) -> String {
    let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
    match local.strip_prefix('"').and_then(|local| local.strip_suffix('"')) {
        Some(quoted) => {
            let mut out = String::with_capacity(quoted.len());
            let mut letters = quoted.chars();
            while let Some(letter) = letters.next() {
                out.extend(if letter == '\\' {
                    letters.next()
                } else {
                    Some(letter)
                });
            }
            out
        }
        None => local.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        for (text, address, local) in [
            ("<ops@example.org>", "ops@example.org", "ops"),
            (" <tag+ops@example.org> SIZE=10", "tag+ops@example.org", "tag+ops"),
            ("ops@example.org", "ops@example.org", "ops"),
            ("<ops>", "ops", "ops"),
            ("<>", "", ""),
            ("<@a.example,@b.example:ops@c.example>", "ops@c.example", "ops"),
            ("<\"a b>@\\\"\"@x.example>", "\"a b>@\\\"\"@x.example", "a b>@\""),
        ] {
            let (found, _) = path(text).expect(text);
            assert_eq!(found, address, "{text}");
            assert_eq!(local_part(&found), local, "{text}");
        }
        let (_, parameters) = path("<a@b> size=10 BODY=8BITMIME SMTPUTF8").expect("a path");
        let expected = [("SIZE", "10"), ("BODY", "8BITMIME"), ("SMTPUTF8", "")];
        assert_eq!(
            parameters,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        for bad in ["<ops", "<@a>", &format!("<{}>", "x".repeat(2_000))] {
            assert!(path(bad).is_none(), "{bad}");
        }
    }
}
