//! Plain text as HTML and as Markdown.

/// Escapes a plain text so that HTML shows it as typed: blanks, tabs and line ends too.
pub fn text_to_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&emsp;"),
            ' ' => out.push_str("&nbsp;"),
            '\n' => out.push_str("<br/>"),
            other => out.push(other),
        }
    }
    out
}

/// Escapes a plain text so that Markdown shows it as typed.
pub fn text_to_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for (at, c) in text.char_indices() {
        let escape = "\\_*[]()~`>#+=|{}.!-".contains(c) || c == '&' && entity_like(&text[at + 1..]);
        if escape {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// True when what follows a `&` could be read as a character reference.
fn entity_like(rest: &str) -> bool {
    let name = rest.strip_prefix('#').unwrap_or(rest).as_bytes();
    let length = name
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .take(33)
        .count();
    (1..=32).contains(&length) && name.get(length) == Some(&b';')
}
