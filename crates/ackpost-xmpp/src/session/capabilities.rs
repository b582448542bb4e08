//! Capabilities that a session announces (XEP-0115).

use sha1::{Digest as _, Sha1};

use crate::ns;
use crate::omemo::VERSIONS;
use crate::xml::Element;

/// The node of our capabilities (XEP-0115).
const CAPS_NODE: &str = "https://ackpost.org/xmpp";

/// Features that ask the server for changes of device lists (XEP-0163).
pub(super) fn features() -> Vec<String> {
    VERSIONS
        .iter()
        .map(|version| format!("{}+notify", version.device_list_node()))
        .collect()
}

/// Returns the hash of our identity and features, for a presence (XEP-0115).
pub(super) fn capabilities(info: &Element) -> Element {
    use base64::Engine as _;
    let attr = |element: &Element, name: &str| element.get(name).unwrap_or_default().to_owned();
    let mut identities: Vec<String> = info
        .find_all("identity", ns::DISCO_INFO)
        .map(|identity| {
            format!(
                "{}/{}/{}/{}<",
                attr(identity, "category"),
                attr(identity, "type"),
                attr(identity, "xml:lang"),
                attr(identity, "name")
            )
        })
        .collect();
    identities.sort();
    let mut features: Vec<String> = info
        .find_all("feature", ns::DISCO_INFO)
        .map(|feature| format!("{}<", attr(feature, "var")))
        .collect();
    features.sort();
    let text = identities.concat() + &features.concat();
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha1::digest(text));
    Element::new("c", ns::CAPS)
        .attr("hash", "sha-1")
        .attr("node", CAPS_NODE)
        .attr("ver", hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of XEP-0115 section 5.2.
    #[test]
    fn the_hash_of_capabilities_is_that_of_the_specification() {
        let identity = Element::new("identity", ns::DISCO_INFO)
            .attr("category", "client")
            .attr("type", "pc")
            .attr("name", "Exodus 0.9.1");
        let mut info = Element::new("query", ns::DISCO_INFO).child(identity);
        for feature in [
            "http://jabber.org/protocol/muc",
            "http://jabber.org/protocol/disco#info",
            "http://jabber.org/protocol/caps",
            "http://jabber.org/protocol/disco#items",
        ] {
            info.push(Element::new("feature", ns::DISCO_INFO).attr("var", feature));
        }
        assert_eq!(
            capabilities(&info).get("ver"),
            Some("QgayPKawpkPSDYmwT/WM94uAlu0=")
        );
    }
}
