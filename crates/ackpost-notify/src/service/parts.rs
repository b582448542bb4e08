//! The settings behind a URL, for commands that do more than send.

use crate::dispatch::pool::ConnectionOptions;
use crate::problem::Diagnostic;

use super::access::{SogsAccess, SogsParts, XmppParts};
use super::loaded::ServiceUrl;
use super::sogs::Sogs;
use super::xmpp::Xmpp;

impl ServiceUrl {
    /// A SOGS service's server and rooms, built as a delivery builds them.
    pub fn sogs(&self) -> Option<Result<SogsAccess, Diagnostic>> {
        Some(
            self.sogs_parts(&ConnectionOptions::default())?
                .and_then(SogsParts::connect),
        )
    }

    /// A SOGS service's settings as the client takes them.
    pub fn sogs_parts(&self, options: &ConnectionOptions) -> Option<Result<SogsParts, Diagnostic>> {
        let sogs = self.downcast::<Sogs>()?;
        Some(sogs.parts(self.common(), options, "Ackpost"))
    }

    /// An XMPP service's settings as the client takes them.
    pub fn xmpp_parts(&self, options: &ConnectionOptions) -> Option<Result<XmppParts, Diagnostic>> {
        let xmpp = self.downcast::<Xmpp>()?;
        Some(xmpp.parts(self.common(), options, "Ackpost"))
    }

    /// An XMPP service's settings as [`xmpp_parts`](Self::xmpp_parts) returns them, and always with an OMEMO device, whatever
    /// the URL says: for commands about its keys.
    pub fn omemo_parts(&self, options: &ConnectionOptions) -> Option<Result<XmppParts, Diagnostic>> {
        let xmpp = self.downcast::<Xmpp>()?;
        Some(xmpp.omemo_parts(self.common(), options, "Ackpost"))
    }
}
