//! HTML as the content of an XHTML-IM body (XEP-0071): the allowed elements, well formed, nothing else (D20).

use super::html_text::is_silent;
use super::html_tokens::{Token, tokens};

/// Elements of XEP-0071's recommended profile, with the attributes that are kept.
const ALLOWED: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("blockquote", &[]),
    ("br", &[]),
    ("cite", &[]),
    ("code", &[]),
    ("em", &[]),
    ("h1", &[]),
    ("h2", &[]),
    ("h3", &[]),
    ("h4", &[]),
    ("h5", &[]),
    ("h6", &[]),
    ("li", &[]),
    ("ol", &[]),
    ("p", &[]),
    ("pre", &[]),
    ("span", &[]),
    ("strong", &[]),
    ("ul", &[]),
];
/// Deepest nesting that is kept.
const DEPTH: usize = 64;

/// Converts HTML to well-formed XHTML-IM content: unknown elements leave their text, scripts leave nothing, links keep
/// only `http`, `https`, `mailto` and `xmpp` addresses.
///
/// ```
/// assert_eq!(notify::render::xhtml("<b>a</b><br><script>x</script>"), "<strong>a</strong><br/>");
/// ```
pub fn xhtml(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut open: Vec<&'static str> = Vec::new();
    let mut stored = true;
    for token in tokens(html) {
        match token {
            Token::Start { name, attributes } => {
                stored = !is_silent(&name) || matches!(name.as_str(), "ul" | "ol" | "html");
                start(&mut out, &mut open, &name, &attributes);
            }
            Token::End { name } => {
                stored = true;
                end(&mut out, &mut open, &name);
            }
            Token::Text(text) if stored => escape(&text, &mut out),
            Token::Text(_) => {}
        }
    }
    while let Some(name) = open.pop() {
        close(&mut out, name);
    }
    out
}

fn known(name: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    let name = match name {
        "b" => "strong",
        "i" => "em",
        "div" => "p",
        "tt" | "kbd" | "samp" => "code",
        other => other,
    };
    ALLOWED.iter().find(|(one, _)| *one == name)
}

fn start(out: &mut String, open: &mut Vec<&'static str>, name: &str, attributes: &[(String, String)]) {
    if name == "hr" {
        out.push_str("<br/>---<br/>");
        return;
    }
    let Some((name, kept)) = known(name) else { return };
    if *name == "br" {
        out.push_str("<br/>");
        return;
    }
    if open.len() >= DEPTH {
        return;
    }
    // A paragraph ends the one before it, an item the item before it.
    if matches!(*name, "p" | "li") && open.last() == Some(name) {
        open.pop();
        close(out, name);
    }
    out.push('<');
    out.push_str(name);
    for (key, value) in attributes
        .iter()
        .filter(|(key, value)| kept.contains(&key.as_str()) && safe_address(value))
    {
        out.push(' ');
        out.push_str(key);
        out.push_str("='");
        escape(value, out);
        out.push('\'');
    }
    out.push('>');
    open.push(name);
}

fn end(out: &mut String, open: &mut Vec<&'static str>, name: &str) {
    let Some((name, _)) = known(name) else { return };
    if let Some(at) = open.iter().rposition(|one| one == name) {
        while open.len() > at {
            if let Some(inner) = open.pop() {
                close(out, inner);
            }
        }
    }
}

fn close(out: &mut String, name: &str) {
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

fn safe_address(address: &str) -> bool {
    let lower = address.trim().to_ascii_lowercase();
    ["http://", "https://", "mailto:", "xmpp:"]
        .iter()
        .any(|schema| lower.starts_with(schema))
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
}
