//! A tree of elements, its text form, and a bounded parser.

use rxml::{Event, Parse as _, Parser, WithOptions as _};

use crate::error::Error;

/// Longest text that is parsed, in bytes.
const MAX_TEXT_BYTES: usize = crate::payload::MAX_PAYLOAD_BYTES;
/// Deepest nesting that is parsed.
const MAX_DEPTH: usize = 64;
/// Most elements that are parsed.
const MAX_ELEMENTS: usize = 20_000;
/// Most attributes of all elements together that are parsed.
const MAX_ATTRIBUTES: usize = 60_000;

const MALFORMED: Error = Error::Malformed("XML");

/// An XML element: name, namespace, attributes and content.
///
/// The order of the attributes does not count when elements are compared.
#[derive(Clone, Debug, Eq)]
pub struct Element {
    name: String,
    namespace: String,
    attributes: Vec<(String, String)>,
    nodes: Vec<Node>,
}

/// A part of the content of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// An element inside the element.
    Element(Element),
    /// Text, not escaped.
    Text(String),
}

impl Element {
    /// Creates an element without attributes and content.
    pub fn new(name: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            namespace: namespace.into(),
            attributes: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Adds an attribute without namespace.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Adds an element to the content.
    #[must_use]
    pub fn with_child(mut self, child: Self) -> Self {
        self.nodes.push(Node::Element(child));
        self
    }

    /// Adds text to the content.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.nodes.push(Node::Text(text.into()));
        self
    }

    /// Returns the local name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns whether the element has this name and namespace.
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name == name && self.namespace == namespace
    }

    /// Returns the value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(attribute, _)| attribute == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the attributes, name and value.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the content in its order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the elements of the content.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// Returns the first element of the content with this name and namespace.
    pub fn child(&self, name: &str, namespace: &str) -> Option<&Self> {
        self.children().find(|child| child.is(name, namespace))
    }

    /// Returns the text directly inside the element.
    pub fn text(&self) -> String {
        self.nodes
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// Writes the element as text. Characters that XML 1.0 forbids become U+FFFD.
    pub fn to_xml(&self) -> String {
        let mut out = String::with_capacity(256);
        self.write(&mut out, "");
        out
    }

    /// Writes the element where `default` is the default namespace.
    fn write(&self, out: &mut String, default: &str) {
        // This namespace has a fixed prefix and cannot be the default (Namespaces in XML 1.0, section 3).
        let (prefix, inside) = if self.namespace == rxml::XMLNS_XML {
            ("xml:", default)
        } else {
            ("", self.namespace.as_str())
        };
        out.push('<');
        out.push_str(prefix);
        out.push_str(&self.name);
        if inside != default {
            write_attribute(out, "xmlns", inside);
        }
        for (name, value) in &self.attributes {
            write_attribute(out, name, value);
        }
        if self.nodes.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for node in &self.nodes {
            match node {
                Node::Element(element) => element.write(out, inside),
                Node::Text(text) => escape(out, text),
            }
        }
        out.push_str("</");
        out.push_str(prefix);
        out.push_str(&self.name);
        out.push('>');
    }

    /// Parses one element from its text.
    ///
    /// Prefixes of elements are resolved. Attributes with a prefix are left out, except `xml:lang`.
    ///
    /// # Errors
    /// [`Error::Malformed`] for text that is not one well-formed element without document type, [`Error::TooLarge`]
    /// beyond 1 MiB, 20,000 elements or 64 levels.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::TooLarge {
                what: "XML",
                limit: MAX_TEXT_BYTES,
            });
        }
        let mut parser = Parser::with_options(rxml::Options {
            max_token_length: MAX_TEXT_BYTES,
            ..rxml::Options::default()
        });
        let mut input = text.as_bytes();
        let mut tree = Tree::default();
        loop {
            let event = parser.parse(&mut input, true).map_err(|_| MALFORMED)?;
            if let Some(root) = tree.take(event.ok_or(MALFORMED)?)? {
                return if input.trim_ascii().is_empty() {
                    Ok(root)
                } else {
                    Err(MALFORMED)
                };
            }
        }
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        let sorted = |element: &Self| {
            let mut attributes = element.attributes.clone();
            attributes.sort();
            attributes
        };
        self.name == other.name
            && self.namespace == other.namespace
            && sorted(self) == sorted(other)
            && self.nodes == other.nodes
    }
}

/// The elements that are open, and what was read so far.
#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    elements: usize,
    attributes: usize,
}

impl Tree {
    /// Takes an event. Returns the outermost element when it is complete.
    fn take(&mut self, event: Event) -> Result<Option<Element>, Error> {
        match event {
            Event::XmlDeclaration(..) => {}
            Event::StartElement(_, (namespace, name), attributes) => {
                let mut element = Element::new(name.to_string(), namespace.as_str());
                for ((namespace, name), value) in attributes {
                    self.attributes += 1;
                    if namespace.as_str() == rxml::XMLNS_XML {
                        element.attributes.push((format!("xml:{name}"), value));
                    } else if namespace.is_none() {
                        element.attributes.push((name.to_string(), value));
                    }
                }
                self.elements += 1;
                check(self.open.len(), MAX_DEPTH - 1)?;
                check(self.elements, MAX_ELEMENTS)?;
                check(self.attributes, MAX_ATTRIBUTES)?;
                self.open.push(element);
            }
            Event::Text(_, text) => {
                let parent = self.open.last_mut().ok_or(MALFORMED)?;
                if let Some(Node::Text(last)) = parent.nodes.last_mut() {
                    last.push_str(&text);
                } else {
                    parent.nodes.push(Node::Text(text));
                }
            }
            Event::EndElement(_) => {
                let done = self.open.pop().ok_or(MALFORMED)?;
                match self.open.last_mut() {
                    Some(parent) => parent.nodes.push(Node::Element(done)),
                    None => return Ok(Some(done)),
                }
            }
        }
        Ok(None)
    }
}

const fn check(count: usize, limit: usize) -> Result<(), Error> {
    if count > limit {
        return Err(Error::TooLarge { what: "XML", limit });
    }
    Ok(())
}

fn write_attribute(out: &mut String, name: &str, value: &str) {
    out.push(' ');
    out.push_str(name);
    out.push_str("='");
    escape(out, value);
    out.push('\'');
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            // A parser would turn a bare carriage return into a line feed.
            '\r' => out.push_str("&#13;"),
            // In an attribute a parser would turn these into spaces.
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}' => out.push(c),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_are_resolved_and_text_is_joined() {
        let element = Element::parse(
            "<?xml version='1.0'?>\n<a:x xmlns:a='urn:a' b='1' a:c='2' xml:lang='en'>p&amp;<y/>q</a:x>\n",
        );
        let element = element.unwrap();
        assert!(element.is("x", "urn:a"));
        assert_eq!(element.attributes().collect::<Vec<_>>().len(), 2);
        assert_eq!(
            (element.attribute("b"), element.attribute("xml:lang")),
            (Some("1"), Some("en"))
        );
        assert_eq!(element.text(), "p&q");
        assert!(element.child("y", "").is_some());
    }

    #[test]
    fn the_namespace_of_xml_keeps_its_prefix() {
        let text = "<a xmlns='urn:a'><xml:b c='1'><d/></xml:b><xml:e/></a>";
        let element = Element::parse(text).unwrap();
        let inner = element.children().next().unwrap();
        assert!(inner.is("b", rxml::XMLNS_XML) && inner.child("d", "urn:a").is_some());
        assert_eq!(element.to_xml(), text);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            " ",
            "x",
            "<a>",
            "</a>",
            "<a/><b/>",
            "<a/>x",
            "<!DOCTYPE a><a/>",
            "<a>&b;</a>",
            "<a b='1' b='2'/>",
            "<a:b/>",
        ] {
            assert_eq!(Element::parse(text), Err(MALFORMED), "{text}");
        }
        let deep = format!("{}{}", "<a>".repeat(MAX_DEPTH), "</a>".repeat(MAX_DEPTH));
        assert!(Element::parse(&deep).is_ok());
        assert!(Element::parse(&format!("<b>{deep}</b>")).is_err());
        assert!(Element::parse(&format!("<b>{}</b>", "<a/>".repeat(MAX_ELEMENTS - 1))).is_ok());
        assert!(Element::parse(&format!("<b>{}</b>", "<a/>".repeat(MAX_ELEMENTS))).is_err());
        assert!(Element::parse(&format!("<b>{}</b>", "x".repeat(MAX_TEXT_BYTES))).is_err());
    }

    proptest! {
        #[test]
        fn written_elements_are_read_back(name in "[a-z]{1,8}", value in "[^\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{fffe}\u{ffff}]*", text: String) {
            let clean: String = text.chars().filter(|&c| c >= ' ' && c != '\u{fffe}' && c != '\u{ffff}').collect();
            let mut element = Element::new(name, "urn:x").with_attribute("a", value);
            if !clean.is_empty() {
                element = element.with_text(clean);
            }
            let element = element.with_child(Element::new("c", "urn:y"));
            prop_assert_eq!(Element::parse(&element.to_xml()).unwrap(), element);
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = Element::parse(&text);
        }
    }
}
