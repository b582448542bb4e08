//! Our presence and our answers to questions about us.

use super::Actor;
use crate::ns;
#[cfg(feature = "omemo")]
use crate::session::capabilities;
use crate::xml::Element;

impl Actor {
    /// The presence that makes us appear online. With an OMEMO device it says what we can do, because the server sends
    /// changes of device lists only then.
    #[cfg_attr(
        not(feature = "omemo"),
        expect(clippy::unused_self, reason = "an account without OMEMO has nothing to say")
    )]
    pub(super) fn presence(&self) -> String {
        let presence = Element::new("presence", ns::CLIENT);
        #[cfg(feature = "omemo")]
        let presence = presence.child_opt(
            self.connector
                .account
                .omemo
                .as_ref()
                .map(|_| capabilities::capabilities(&self.identity())),
        );
        presence.to_xml()
    }

    /// Our identity and features (XEP-0030).
    pub(super) fn identity(&self) -> Element {
        let identity = Element::new("identity", ns::DISCO_INFO)
            .attr("category", "client")
            .attr("type", "bot")
            .attr("name", self.connector.account.software.clone());
        let mut query = Element::new("query", ns::DISCO_INFO).child(identity);
        for feature in [ns::DISCO_INFO, ns::PING, ns::RECEIPTS, ns::CORRECT] {
            query.push(Element::new("feature", ns::DISCO_INFO).attr("var", feature));
        }
        #[cfg(feature = "omemo")]
        if self.connector.account.omemo.is_some() {
            for feature in capabilities::features() {
                query.push(Element::new("feature", ns::DISCO_INFO).attr("var", feature));
            }
        }
        query
    }
}
