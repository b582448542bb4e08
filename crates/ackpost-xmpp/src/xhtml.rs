//! HTML reduced to what XHTML-IM allows (XEP-0071 section 6.2), well-formed by construction.

use std::borrow::Cow;

use crate::ns;
use crate::xml::{Element, is_xml_char};

/// Maximum nesting depth of elements; no readable document has more.
const DEPTH_MAX: usize = 40;
/// Maximum size of the markup that is sent beside the plain text; servers would refuse a larger stanza.
const HTML_MAX_BYTES: usize = 64 * 1024;

/// The `<html/>` of XEP-0071 for a piece of HTML; `None` when it is too long or says nothing.
pub(crate) fn from_html(html: &str) -> Option<Element> {
    if html.len() > HTML_MAX_BYTES || html.trim().is_empty() {
        return None;
    }
    let mut builder = Builder {
        stack: vec![("", Element::new("body", ns::XHTML))],
    };
    let mut rest = html;
    while !rest.is_empty() {
        let Some(at) = rest.find('<') else {
            builder.text(rest);
            break;
        };
        builder.text(&rest[..at]);
        rest = &rest[at..];
        rest = match tag(rest) {
            Some((Tag::Open { name, attrs, closed }, after)) => {
                if let Some(end) = hidden_until(&name) {
                    skip_to(after, end)
                } else {
                    builder.open(&name, &attrs, closed);
                    after
                }
            }
            Some((Tag::Close { name }, after)) => {
                builder.close(&name);
                after
            }
            Some((Tag::Other, after)) => after,
            None => {
                builder.text("<");
                &rest[1..]
            }
        };
    }
    Some(Element::new("html", ns::XHTML_IM).child(builder.finish()))
}

struct Builder {
    /// The HTML name that opened each element, and the element.
    stack: Vec<(&'static str, Element)>,
}

impl Builder {
    fn text(&mut self, text: &str) {
        let text = decode(text);
        if let Some((_, top)) = self.stack.last_mut()
            && !text.is_empty()
        {
            top.push_text(&text);
        }
    }

    fn open(&mut self, name: &str, attrs: &[(String, String)], closed: bool) {
        let attr = |wanted: &str| {
            attrs
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        let style = |css: &str| Element::new("span", ns::XHTML).attr("style", css);
        let (html, element): (&'static str, Element) = match name {
            "br" | "hr" => return self.add(Element::new("br", ns::XHTML)),
            "tr" => {
                self.add(Element::new("br", ns::XHTML));
                return;
            }
            "td" | "th" => return self.text(" "),
            "img" => {
                let Some(src) = attr("src").filter(|src| safe(src)) else {
                    return self.text(attr("alt").unwrap_or_default());
                };
                let image = Element::new("img", ns::XHTML)
                    .attr("src", src)
                    .attr("alt", attr("alt").unwrap_or_default());
                return self.add(image);
            }
            "a" => {
                let link =
                    Element::new("a", ns::XHTML).attr_opt("href", attr("href").filter(|href| safe(href)));
                ("a", link)
            }
            "b" => ("b", Element::new("strong", ns::XHTML)),
            "strong" => ("strong", Element::new("strong", ns::XHTML)),
            "i" => ("i", Element::new("em", ns::XHTML)),
            "em" => ("em", Element::new("em", ns::XHTML)),
            "u" | "ins" => (
                if name == "u" { "u" } else { "ins" },
                style("text-decoration: underline"),
            ),
            "s" => ("s", style("text-decoration: line-through")),
            "del" => ("del", style("text-decoration: line-through")),
            "strike" => ("strike", style("text-decoration: line-through")),
            "div" => ("div", Element::new("p", ns::XHTML)),
            "kbd" => ("kbd", Element::new("code", ns::XHTML)),
            "tt" => ("tt", Element::new("code", ns::XHTML)),
            _ => {
                let Some(&same) = SAME.iter().find(|&&known| known == name) else {
                    return;
                };
                (same, Element::new(same, ns::XHTML))
            }
        };
        if closed {
            self.add(element);
        } else if self.stack.len() < DEPTH_MAX {
            // These end where the next of their kind begins.
            if matches!(html, "li" | "p") && self.stack.last().is_some_and(|(top, _)| *top == html) {
                self.close(html);
            }
            self.stack.push((html, element));
        }
    }

    fn close(&mut self, name: &str) {
        let Some(at) = self.stack.iter().rposition(|(open, _)| *open == name) else {
            return;
        };
        if at == 0 {
            return;
        }
        while self.stack.len() > at {
            if let Some((_, done)) = self.stack.pop() {
                self.add(done);
            }
        }
    }

    fn add(&mut self, element: Element) {
        if let Some((_, top)) = self.stack.last_mut() {
            top.push(element);
        }
    }

    fn finish(mut self) -> Element {
        while self.stack.len() > 1 {
            if let Some((_, done)) = self.stack.pop() {
                self.add(done);
            }
        }
        self.stack
            .pop()
            .map_or_else(|| Element::new("body", ns::XHTML), |(_, body)| body)
    }
}

/// Elements that are the same in XHTML-IM.
const SAME: &[&str] = &[
    "blockquote",
    "cite",
    "code",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "li",
    "ol",
    "p",
    "pre",
    "q",
    "span",
    "ul",
];

/// Elements whose content is not text, and how they end.
fn hidden_until(name: &str) -> Option<&'static str> {
    match name {
        "script" => Some("</script"),
        "style" => Some("</style"),
        "head" => Some("</head"),
        "title" => Some("</title"),
        "template" => Some("</template"),
        _ => None,
    }
}

fn skip_to<'a>(text: &'a str, end: &str) -> &'a str {
    let lower = text.to_ascii_lowercase();
    match lower.find(end) {
        Some(at) => text[at..].find('>').map_or("", |close| &text[at + close + 1..]),
        None => "",
    }
}

enum Tag {
    Open {
        name: String,
        attrs: Vec<(String, String)>,
        closed: bool,
    },
    Close {
        name: String,
    },
    /// Comments, declarations.
    Other,
}

/// Returns the tag at the beginning of the text, and the rest.
fn tag(text: &str) -> Option<(Tag, &str)> {
    let inner = text.strip_prefix('<')?;
    if let Some(comment) = inner.strip_prefix("!--") {
        return Some((
            Tag::Other,
            comment.find("-->").map_or("", |end| &comment[end + 3..]),
        ));
    }
    if inner.starts_with(['!', '?']) {
        return Some((Tag::Other, inner.find('>').map_or("", |end| &inner[end + 1..])));
    }
    let (close, inner) = match inner.strip_prefix('/') {
        Some(inner) => (true, inner),
        None => (false, inner),
    };
    if !inner.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let end = inner
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .unwrap_or(inner.len());
    let name = inner[..end].to_ascii_lowercase();
    let mut rest = &inner[end..];
    let mut attrs = Vec::new();
    let mut closed = false;
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('>') {
            rest = after;
            break;
        }
        if rest.is_empty() {
            return None;
        }
        if let Some(after) = rest.strip_prefix('/') {
            closed = true;
            rest = after;
            continue;
        }
        closed = false;
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/'))
            .unwrap_or(rest.len());
        if end == 0 {
            // A stray `=`.
            rest = &rest[1..];
            continue;
        }
        let attr = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            let after = after.trim_start();
            if let Some(quote @ ('"' | '\'')) = after.chars().next() {
                let inside = &after[1..];
                let end = inside.find(quote)?;
                value = &inside[..end];
                rest = &inside[end + 1..];
            } else {
                let end = after
                    .find(|c: char| c.is_whitespace() || c == '>')
                    .unwrap_or(after.len());
                value = &after[..end];
                rest = &after[end..];
            }
        }
        attrs.push((attr, decode(value).into_owned()));
    }
    let tag = if close {
        Tag::Close { name }
    } else {
        Tag::Open { name, attrs, closed }
    };
    Some((tag, rest))
}

/// Addresses that do nothing when they are looked at.
fn safe(address: &str) -> bool {
    let address = address.trim().to_ascii_lowercase();
    ["http://", "https://", "xmpp:", "mailto:", "tel:", "cid:"]
        .iter()
        .any(|scheme| address.starts_with(scheme))
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let named = rest[1..].find(';').filter(|&end| end <= 10).and_then(|end| {
            let value = entity(&rest[1..=end])?;
            Some((value, end + 2))
        });
        if let Some((value, len)) = named {
            out.push(value);
            rest = &rest[len..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|&c| is_xml_char(c));
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        "copy" => '©',
        "reg" => '®',
        "trade" => '™',
        "euro" => '€',
        "bull" => '•',
        "middot" => '·',
        "laquo" => '«',
        "raquo" => '»',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "times" => '×',
        "deg" => '°',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inner(html: &str) -> String {
        let xml = from_html(html).unwrap().to_xml();
        let begin =
            "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>";
        xml.strip_prefix(begin)
            .unwrap()
            .strip_suffix("</body></html>")
            .unwrap()
            .to_owned()
    }

    #[test]
    fn elements_of_xhtml_im_are_kept() {
        assert_eq!(
            inner("<p>Hi <b>you</b><br>next &amp; <a href=\"https://x.y/?a=1&amp;b\" onclick=x>l</a></p>"),
            "<p>Hi <strong>you</strong><br/>next &amp; <a href='https://x.y/?a=1&amp;b'>l</a></p>"
        );
        assert_eq!(inner("<ul><li>a<li>b</ul>"), "<ul><li>a</li><li>b</li></ul>");
        assert_eq!(
            inner("<img src='https://x/y.png'>"),
            "<img src='https://x/y.png' alt=''/>"
        );
    }

    #[test]
    fn other_elements_are_reduced_to_their_text() {
        assert_eq!(inner("<script>alert(1)</script><font color=red>x</font>"), "x");
        assert_eq!(inner("<a href='javascript:alert(1)'>x</a>"), "<a>x</a>");
        assert_eq!(
            inner("1 < 2 & 3 &nope; &#0; <i>open"),
            "1 &lt; 2 &amp; 3 &amp;nope; &amp;#0; <em>open</em>"
        );
        assert_eq!(inner("<!-- c --><b>x</i></b>"), "<strong>x</strong>");
        assert!(from_html(" ").is_none());
    }

    proptest! {
        #[test]
        fn any_text_becomes_well_formed(html in "(<[a-z/]{1,4}( [a-z]+=['\"]?[^>]{0,5}['\"]?)?>|[^<]{0,6}|<|&[a-z#0-9]{0,4};){0,20}") {
            if let Some(element) = from_html(&html) {
                let text = format!(
                    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>{}",
                    element.to_xml()
                );
                let mut reader = crate::xml::Reader::new();
                let mut bytes = text.as_bytes();
                prop_assert!(reader.feed(&mut bytes).unwrap().is_some());
                prop_assert!(reader.feed(&mut bytes).unwrap().is_some());
            }
        }
    }
}
