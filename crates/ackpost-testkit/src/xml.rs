//! A small XML stream reader for the fakes: enough for XMPP, written apart from the client's.

use std::io::{self, Read};

/// One element with its attributes, children and text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// The name as written, with any prefix.
    pub name: String,
    /// Attributes in written order, unescaped.
    pub attrs: Vec<(String, String)>,
    /// Child elements.
    pub children: Vec<Element>,
    /// All text directly inside, unescaped.
    pub text: String,
    /// The element as it was written.
    pub raw: String,
}

impl Element {
    /// The value of an attribute, or the empty string.
    pub fn attr(&self, name: &str) -> &str {
        self.attrs.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// The first child of that name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|c| c.name == name)
    }

    /// The text of the first child of that name, if there is one.
    pub fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|c| c.text.as_str())
    }
}

/// Event of an XML stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// `<stream:stream …>`: the attributes.
    Open(Element),
    /// A whole top-level element.
    Stanza(Element),
    /// `</stream:stream>` or the end of the connection.
    Closed,
}

/// Cuts an XMPP stream into top-level elements.
#[derive(Debug)]
pub struct StreamReader<R> {
    input: R,
    buffer: Vec<u8>,
}

impl<R: Read> StreamReader<R> {
    /// Reads from `input`; call it anew (with [`into_parts`](Self::into_parts)) after STARTTLS.
    pub fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
        }
    }

    /// The input, and the bytes that were read but not yet used.
    pub fn into_parts(self) -> (R, Vec<u8>) {
        (self.input, self.buffer)
    }

    /// The input, for writing answers.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// The next event; blocks until it is complete.
    ///
    /// # Errors
    /// Any error of reading (also a timeout, if the socket has one), and text that is not XML.
    pub fn next_event(&mut self) -> io::Result<StreamEvent> {
        loop {
            if let Some(event) = self.take()? {
                return Ok(event);
            }
            let mut chunk = [0; 8192];
            let n = self.input.read(&mut chunk)?;
            if n == 0 {
                return Ok(StreamEvent::Closed);
            }
            self.buffer.extend_from_slice(&chunk[..n]);
        }
    }

    fn take(&mut self) -> io::Result<Option<StreamEvent>> {
        let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let blank = self.buffer.iter().take_while(|b| b.is_ascii_whitespace()).count();
        self.buffer.drain(..blank);
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let text = match std::str::from_utf8(&self.buffer) {
            Ok(text) => text,
            Err(e) => std::str::from_utf8(&self.buffer[..e.valid_up_to()]).map_err(|_| bad("not UTF-8"))?,
        };
        if !text.is_empty() && !text.starts_with('<') {
            return Err(bad("text between stanzas"));
        }
        let Some(tag_end) = end_of_tag(text) else {
            return Ok(None);
        };
        if text.starts_with("<?") {
            self.buffer.drain(..tag_end);
            return self.take();
        }
        if text.starts_with("</") {
            self.buffer.clear();
            return Ok(Some(StreamEvent::Closed));
        }
        if text.starts_with("<stream:stream") || text.starts_with("<stream ") {
            let (element, _) = parse_tag(&text[..tag_end]).ok_or_else(|| bad("stream header"))?;
            self.buffer.drain(..tag_end);
            return Ok(Some(StreamEvent::Open(element)));
        }
        let Some(end) = end_of_element(text) else {
            return Ok(None);
        };
        let mut rest = &text[..end];
        let element = parse_element(&mut rest).ok_or_else(|| bad("malformed stanza"))?;
        self.buffer.drain(..end);
        Ok(Some(StreamEvent::Stanza(element)))
    }
}

/// The position behind the `>` that ends the tag `text` starts with.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (i, b) in text.bytes().enumerate() {
        match (quote, b) {
            (Some(q), b) if q == b => quote = None,
            (None, b'"' | b'\'') => quote = Some(b),
            (None, b'>') => return Some(i + 1),
            _ => {}
        }
    }
    None
}

/// The position behind the element `text` starts with, if it is complete.
fn end_of_element(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        let open = at + text[at..].find('<')?;
        let end = open + end_of_tag(&text[open..])?;
        let tag = &text[open..end];
        if tag.starts_with("</") {
            depth = depth.checked_sub(1)?;
        } else if !tag.ends_with("/>") {
            depth += 1;
        }
        if depth == 0 {
            return Some(end);
        }
        at = end;
    }
}

/// `<name a='b'>` or `<name/>`: the element without content, and whether it is closed already.
fn parse_tag(tag: &str) -> Option<(Element, bool)> {
    let inner = tag.strip_prefix('<')?.strip_suffix('>')?;
    let (inner, closed) = inner.strip_suffix('/').map_or((inner, false), |i| (i, true));
    let name_end = inner.find(|c: char| c.is_whitespace()).unwrap_or(inner.len());
    let mut element = Element {
        name: inner[..name_end].to_owned(),
        ..Element::default()
    };
    let mut rest = inner[name_end..].trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, after) = after[1..].split_once(quote)?;
        element.attrs.push((key.trim().to_owned(), unescape(value)));
        rest = after.trim_start();
    }
    Some((element, closed))
}

fn parse_element(rest: &mut &str) -> Option<Element> {
    let start = *rest;
    let end = end_of_tag(rest)?;
    let (mut element, closed) = parse_tag(&rest[..end])?;
    *rest = &rest[end..];
    if closed {
        start[..start.len() - rest.len()].clone_into(&mut element.raw);
        return Some(element);
    }
    loop {
        let lt = rest.find('<')?;
        element.text.push_str(&unescape(&rest[..lt]));
        *rest = &rest[lt..];
        if rest.starts_with("</") {
            let end = end_of_tag(rest)?;
            if rest[2..end - 1].trim() != element.name {
                return None;
            }
            *rest = &rest[end..];
            break;
        }
        element.children.push(parse_element(rest)?);
    }
    start[..start.len() - rest.len()].clone_into(&mut element.raw);
    Some(element)
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(end) = rest.find(';') else { break };
        let entity = &rest[1..end];
        let number = entity
            .strip_prefix("#x")
            .map(|h| u32::from_str_radix(h, 16))
            .or_else(|| entity.strip_prefix('#').map(str::parse))
            .and_then(Result::ok)
            .and_then(char::from_u32);
        match (entity, number) {
            (_, Some(c)) => out.push(c),
            ("lt", _) => out.push('<'),
            ("gt", _) => out.push('>'),
            ("amp", _) => out.push('&'),
            ("quot", _) => out.push('"'),
            ("apos", _) => out.push('\''),
            _ => out.push_str(&rest[..=end]),
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
}

/// Text as it may be between tags and in attributes.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&apos;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_a_pipelined_stream() {
        let text = "<?xml version='1.0'?><stream:stream to='a>b' xmlns='x'>  <iq id='1'><ping/>a&amp;b&#10;</iq><message><body>\
                    x</body></message></stream:stream>";
        let mut reader = StreamReader::new(text.as_bytes());
        let Ok(StreamEvent::Open(open)) = reader.next_event() else {
            panic!("open")
        };
        assert_eq!(open.attr("to"), "a>b");
        let Ok(StreamEvent::Stanza(iq)) = reader.next_event() else {
            panic!("iq")
        };
        assert_eq!(
            (iq.text.as_str(), iq.attr("id"), iq.children.len()),
            ("a&b\n", "1", 1)
        );
        let Ok(StreamEvent::Stanza(message)) = reader.next_event() else {
            panic!("message")
        };
        assert_eq!(message.child_text("body"), Some("x"));
        assert_eq!(reader.next_event().expect("end"), StreamEvent::Closed);
    }
}
