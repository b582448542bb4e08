//! XML elements: built and escaped on the way out, parsed and bounded on the way in.

use std::borrow::Cow;
use std::fmt::Write as _;

use rxml::{Event, Parse, Parser, WithOptions};

use crate::ns;

/// The largest element read, in bytes. Servers allow 256 KiB for a stanza; archives wrap one more around it.
const ELEMENT_MAX_BYTES: usize = 1024 * 1024;
/// The deepest nesting read.
const DEPTH_MAX: usize = 100;
/// The longest single attribute read, in bytes: pictures inside XHTML-IM are written there.
const TOKEN_MAX_BYTES: usize = 512 * 1024;

/// An element with namespace, attributes and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: Cow<'static, str>,
    pub(crate) ns: Cow<'static, str>,
    attrs: Vec<(Cow<'static, str>, String)>,
    children: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, ns: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            ns: ns.into(),
            attrs: Vec::new(),
            children: Vec::new(),
        }
    }

    // --- building ---

    pub(crate) fn attr(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attrs.push((Cow::Borrowed(name), value.into()));
        self
    }

    pub(crate) fn attr_opt(self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        self.children.push(Node::Text(text.into()));
        self
    }

    pub(crate) fn child(mut self, child: Self) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    pub(crate) fn child_opt(self, child: Option<Self>) -> Self {
        match child {
            Some(child) => self.child(child),
            None => self,
        }
    }

    pub(crate) fn push(&mut self, child: Self) {
        self.children.push(Node::Element(child));
    }

    pub(crate) fn push_text(&mut self, text: &str) {
        if let Some(Node::Text(last)) = self.children.last_mut() {
            last.push_str(text);
        } else {
            self.children.push(Node::Text(text.to_owned()));
        }
    }

    /// The text of a stanza, that is, inside a stream whose default namespace is `jabber:client`.
    pub(crate) fn to_xml(&self) -> String {
        let mut out = String::with_capacity(256);
        self.write(&mut out, ns::CLIENT);
        out
    }

    fn write(&self, out: &mut String, parent_ns: &str) {
        out.push('<');
        out.push_str(&self.name);
        if self.ns != parent_ns {
            out.push_str(" xmlns='");
            escape_into(out, &self.ns);
            out.push('\'');
        }
        for (name, value) in &self.attrs {
            let _ = write!(out, " {name}='");
            escape_into(out, value);
            out.push('\'');
        }
        if self.children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for child in &self.children {
            match child {
                Node::Element(element) => element.write(out, &self.ns),
                Node::Text(text) => escape_into(out, text),
            }
        }
        let _ = write!(out, "</{}>", self.name);
    }

    // --- reading ---

    pub(crate) fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns == ns
    }

    pub(crate) fn get(&self, attr: &str) -> Option<&str> {
        self.attrs
            .iter()
            .find(|(name, _)| name == attr)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the attributes, name and value.
    #[cfg(feature = "omemo")]
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attrs.iter().map(|(name, value)| (&**name, value.as_str()))
    }

    /// Returns the content in its order.
    #[cfg(feature = "omemo")]
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.children
    }

    /// Adds an attribute whose name came from outside.
    #[cfg(feature = "omemo")]
    pub(crate) fn attr_named(mut self, name: String, value: impl Into<String>) -> Self {
        self.attrs.push((Cow::Owned(name), value.into()));
        self
    }

    /// Removes the elements of the content that do not fit.
    #[cfg(feature = "omemo")]
    pub(crate) fn keep(&mut self, fits: impl Fn(&Self) -> bool) {
        self.children.retain(|node| match node {
            Node::Element(element) => fits(element),
            Node::Text(_) => true,
        });
    }

    pub(crate) fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    pub(crate) fn find(&self, name: &str, ns: &str) -> Option<&Self> {
        self.elements().find(|child| child.is(name, ns))
    }

    pub(crate) fn find_all<'a>(&'a self, name: &'a str, ns: &'a str) -> impl Iterator<Item = &'a Self> {
        self.elements().filter(move |child| child.is(name, ns))
    }

    /// The text directly inside.
    pub(crate) fn content(&self) -> String {
        self.children
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// The text directly inside the child of that name, when there is one.
    pub(crate) fn content_of(&self, name: &str, ns: &str) -> Option<String> {
        self.find(name, ns).map(Self::content)
    }
}

/// Returns true if XML 1.0 allows the character (production `Char`).
pub(crate) fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}

/// The text with every character XML forbids replaced by U+FFFD, and how many there were.
pub(crate) fn replace_forbidden(text: &str) -> (Cow<'_, str>, usize) {
    let count = text.chars().filter(|&c| !is_xml_char(c)).count();
    if count == 0 {
        return (Cow::Borrowed(text), 0);
    }
    (
        text.chars()
            .map(|c| {
                if is_xml_char(c) {
                    c
                } else {
                    char::REPLACEMENT_CHARACTER
                }
            })
            .collect(),
        count,
    )
}

/// Returns the bytes that the text takes on the wire, escaped.
///
/// Limits of servers count these bytes, not characters.
///
/// ```
/// assert_eq!(ackpost_xmpp::wire_len("a<ü"), 1 + 4 + 2);
/// ```
pub fn wire_len(text: &str) -> usize {
    text.chars().map(char_wire_len).sum()
}

/// Returns the bytes of one character on the wire, that is, escaped.
pub fn char_wire_len(c: char) -> usize {
    match c {
        '&' | '\r' => 5,
        '<' | '>' => 4,
        '\'' | '"' => 6,
        c if is_xml_char(c) => c.len_utf8(),
        _ => char::REPLACEMENT_CHARACTER.len_utf8(),
    }
}

pub(crate) fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            // A parser would turn a bare carriage return into a line feed.
            '\r' => out.push_str("&#13;"),
            c if is_xml_char(c) => out.push(c),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

/// An item of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// The opening tag of the stream; its attributes are in the element.
    Open(Element),
    /// A complete child of the stream.
    Element(Element),
    /// The closing tag of the stream.
    Close,
}

/// Turns the bytes of a stream into its elements.
pub(crate) struct Reader {
    parser: Parser,
    open: bool,
    stack: Vec<Element>,
    /// Bytes since the last complete element.
    pending: usize,
}

impl Reader {
    pub(crate) fn new() -> Self {
        let options = rxml::Options {
            max_token_length: TOKEN_MAX_BYTES,
            ..rxml::Options::default()
        };
        Self {
            parser: Parser::with_options(options),
            open: false,
            stack: Vec::new(),
            pending: 0,
        }
    }

    /// Consumes bytes until something is complete. `Ok(None)` asks for more.
    pub(crate) fn feed(&mut self, bytes: &mut &[u8]) -> Result<Option<Incoming>, String> {
        if self.pending == 0 && !self.open {
            // The parser would wait for a `<` for ever.
            *bytes = bytes.trim_ascii_start();
            if bytes.first().is_some_and(|&first| first != b'<') {
                return Err("it does not begin with <".to_owned());
            }
        }
        loop {
            let before = bytes.len();
            let event = self.parser.parse(bytes, false);
            self.pending += before - bytes.len();
            if self.pending > ELEMENT_MAX_BYTES {
                return Err(format!("an element larger than {ELEMENT_MAX_BYTES} bytes"));
            }
            let event = match event {
                Ok(Some(event)) => event,
                Ok(None) | Err(rxml::error::EndOrError::NeedMoreData) => return Ok(None),
                Err(rxml::error::EndOrError::Error(error)) => return Err(error.to_string()),
            };
            if let Some(done) = self.take(event)? {
                self.pending = 0;
                return Ok(Some(done));
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<Option<Incoming>, String> {
        match event {
            Event::XmlDeclaration(..) => Ok(None),
            Event::StartElement(_, (ns, name), attrs) => {
                let mut element = Element::new(name.to_string(), ns.as_str().to_owned());
                for ((attr_ns, attr_name), value) in attrs {
                    let name = if attr_ns.as_str() == rxml::XMLNS_XML {
                        Cow::Borrowed("xml:lang")
                    } else if attr_ns.is_none() {
                        Cow::Owned(attr_name.to_string())
                    } else {
                        // Nothing we read has other qualified attributes.
                        continue;
                    };
                    element.attrs.push((name, value));
                }
                if !self.open {
                    if !element.is("stream", ns::STREAM) {
                        return Err(format!("it begins with <{}>", element.name));
                    }
                    self.open = true;
                    return Ok(Some(Incoming::Open(element)));
                }
                if self.stack.len() >= DEPTH_MAX {
                    return Err("elements nested too deep".to_owned());
                }
                self.stack.push(element);
                Ok(None)
            }
            Event::Text(_, text) => {
                if let Some(parent) = self.stack.last_mut() {
                    parent.push_text(&text);
                } else {
                    // White space between stanzas keeps connections alive.
                    self.pending = 0;
                }
                Ok(None)
            }
            Event::EndElement(_) => match self.stack.pop() {
                None => Ok(Some(Incoming::Close)),
                Some(done) => match self.stack.last_mut() {
                    Some(parent) => {
                        parent.push(done);
                        Ok(None)
                    }
                    None => Ok(Some(Incoming::Element(done))),
                },
            },
        }
    }
}

/// Reads one element, as it would come inside a stream.
#[cfg(test)]
pub(crate) fn parse(text: &str) -> Option<Element> {
    let stream = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    let text = format!("{stream}{text}");
    let mut rest = text.as_bytes();
    let mut reader = Reader::new();
    loop {
        match reader.feed(&mut rest) {
            Ok(Some(Incoming::Element(element))) => return Some(element),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPEN: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                        xmlns:stream='http://etherx.jabber.org/streams' id='x' version='1.0'>";

    fn read_all(text: &str, step: usize) -> Result<Vec<Incoming>, String> {
        let mut reader = Reader::new();
        let mut all = Vec::new();
        for chunk in text.as_bytes().chunks(step) {
            let mut rest = chunk;
            while let Some(done) = reader.feed(&mut rest)? {
                all.push(done);
            }
        }
        Ok(all)
    }

    #[test]
    fn a_stream_is_read_the_same_in_any_pieces() {
        let text = format!(
            "{OPEN} <message id='1' xml:lang='en'><body>a &amp; b</body><x xmlns='jabber:x:oob'><url>u</url></x>\
             </message>\n<iq type='result' id='2'/></stream:stream>"
        );
        let whole = read_all(&text, text.len()).unwrap();
        assert_eq!(whole.len(), 4);
        let Incoming::Element(message) = &whole[1] else {
            panic!("{:?}", whole[1])
        };
        assert_eq!(message.get("xml:lang"), Some("en"));
        assert_eq!(message.content_of("body", ns::CLIENT).as_deref(), Some("a & b"));
        assert_eq!(whole[3], Incoming::Close);
        for step in [1, 2, 7, 100] {
            assert_eq!(read_all(&text, step).unwrap(), whole);
        }
    }

    #[test]
    fn bytes_that_are_not_xmpp_are_an_error() {
        assert!(read_all("HTTP/1.1 400 Bad Request\r\n\r\n", 64).is_err());
        assert!(read_all("<html><body>", 64).is_err());
        assert!(read_all(&format!("{OPEN}<!DOCTYPE a>"), 64).is_err());
        assert!(read_all(&format!("{OPEN}<a>&boom;</a>"), 64).is_err());
        assert!(read_all(&format!("{OPEN}{}", "<a>".repeat(200)), 64).is_err());
        let huge = format!("{OPEN}<a>{}", "x".repeat(2 * ELEMENT_MAX_BYTES));
        assert!(read_all(&huge, 4096).is_err());
    }

    #[test]
    fn written_text_cannot_break_out() {
        let element = Element::new("message", ns::CLIENT)
            .attr("to", "a'b<c>\"&")
            .child(Element::new("body", ns::CLIENT).text("</body>\u{0}\u{b}\u{fffe}]]>\r\n"));
        let xml = element.to_xml();
        assert_eq!(
            xml,
            "<message to='a&apos;b&lt;c&gt;&quot;&amp;'><body>&lt;/body&gt;\u{fffd}\u{fffd}\u{fffd}]]&gt;&#13;\n</body></message>"
        );
    }

    proptest! {
        #[test]
        fn text_survives_the_wire(text in any::<String>()) {
            let (clean, _) = replace_forbidden(&text);
            let element = Element::new("message", ns::CLIENT).attr("id", clean.replace(['\r', '\n', '\t'], " "))
                .child(Element::new("body", ns::CLIENT).text(text.clone()));
            let read = read_all(&format!("{OPEN}{}", element.to_xml()), 13).unwrap();
            let Incoming::Element(back) = &read[1] else { panic!() };
            prop_assert_eq!(back.content_of("body", ns::CLIENT).unwrap(), clean.clone().into_owned());
            let mut escaped = String::new();
            escape_into(&mut escaped, &text);
            prop_assert_eq!(wire_len(&text), escaped.len());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = Reader::new();
            let mut open = OPEN.as_bytes();
            let _ = reader.feed(&mut open);
            let mut rest = &bytes[..];
            while let Ok(Some(_)) = reader.feed(&mut rest) {}
        }
    }
}
