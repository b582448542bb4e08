//! Elements of this crate to and from those of the crate `omemo`.

use ::omemo::xml;

use crate::xml::{Element, Node};

/// Returns the element in the form that the crate `omemo` reads.
pub(super) fn to_omemo(element: &Element) -> xml::Element {
    let mut out = xml::Element::new(element.name.to_string(), element.ns.to_string());
    for (name, value) in element.attributes() {
        out = out.with_attribute(name, value);
    }
    for node in element.nodes() {
        out = match node {
            Node::Element(child) => out.with_child(to_omemo(child)),
            Node::Text(text) => out.with_text(text),
        };
    }
    out
}

/// Returns the element in the form that this crate writes.
pub(super) fn from_omemo(element: &xml::Element) -> Element {
    let mut out = Element::new(element.name().to_owned(), element.namespace().to_owned());
    for (name, value) in element.attributes() {
        out = out.attr_named(name.to_owned(), value);
    }
    for node in element.nodes() {
        match node {
            xml::Node::Element(child) => out.push(from_omemo(child)),
            xml::Node::Text(text) => out.push_text(text),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_survive_the_way_there_and_back() {
        let element = Element::new("a", "urn:a")
            .attr("b", "1 < 2")
            .attr("xml:lang", "en")
            .text("before")
            .child(Element::new("c", "urn:c").text("in & out"))
            .child(Element::new("d", "urn:a"))
            .text("after");
        assert_eq!(from_omemo(&to_omemo(&element)), element);
        assert_eq!(to_omemo(&element).children().count(), 2);
    }
}
