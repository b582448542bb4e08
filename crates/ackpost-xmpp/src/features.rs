//! Features that a server announces before and after the login.

use crate::ns;
use crate::sasl::Offer;
use crate::xml::Element;

/// The features of a stream (RFC 6120 section 4.3.2).
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a feature that the server lists"
)]
pub(crate) struct Features {
    pub(crate) starttls: bool,
    pub(crate) starttls_required: bool,
    /// RFC 6120 SASL.
    pub(crate) sasl: Offer,
    /// XEP-0388, when it comes with Bind 2: without that it saves nothing.
    pub(crate) sasl2: Option<Sasl2>,
    /// The login from before SASL (XEP-0078).
    pub(crate) iq_auth: bool,
    /// Stream management is offered (XEP-0198).
    pub(crate) resumable: bool,
    /// The largest stanza in bytes that the server takes now (XEP-0478).
    pub(crate) max_bytes: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Sasl2 {
    pub(crate) offer: Offer,
    /// The token mechanisms of XEP-0484.
    pub(crate) fast: Vec<String>,
}

impl Features {
    pub(crate) fn read(element: &Element) -> Self {
        let starttls = element.find("starttls", ns::TLS);
        let bindings = element
            .find("sasl-channel-binding", ns::SASL_CB)
            .map(binding_types);
        let sasl = element
            .find("mechanisms", ns::SASL)
            .map(|list| names(list, ns::SASL))
            .unwrap_or_default();
        Self {
            starttls: starttls.is_some(),
            starttls_required: starttls.is_some_and(|offer| offer.find("required", ns::TLS).is_some()),
            sasl: Offer {
                mechanisms: sasl,
                bindings: bindings.clone(),
            },
            sasl2: element
                .find("authentication", ns::SASL2)
                .and_then(|offer| Sasl2::read(offer, bindings)),
            iq_auth: element.find("auth", ns::IQ_AUTH).is_some(),
            resumable: element.find("sm", ns::SM).is_some(),
            max_bytes: element
                .find("limits", ns::LIMITS)
                .and_then(|limits| limits.content_of("max-bytes", ns::LIMITS))
                .and_then(|bytes| bytes.trim().parse().ok()),
        }
    }
}

impl Sasl2 {
    fn read(element: &Element, outer_bindings: Option<Vec<String>>) -> Option<Self> {
        let inline = element.find("inline", ns::SASL2)?;
        inline.find("bind", ns::BIND2)?;
        let bindings = element
            .find("sasl-channel-binding", ns::SASL_CB)
            .map(binding_types)
            .or(outer_bindings);
        Some(Self {
            offer: Offer {
                mechanisms: names(element, ns::SASL2),
                bindings,
            },
            fast: inline
                .find("fast", ns::FAST)
                .map(|fast| names(fast, ns::FAST))
                .unwrap_or_default(),
        })
    }
}

fn names(element: &Element, ns: &str) -> Vec<String> {
    element
        .find_all("mechanism", ns)
        .map(|name| name.content().trim().to_owned())
        .collect()
}

fn binding_types(element: &Element) -> Vec<String> {
    element
        .find_all("channel-binding", ns::SASL_CB)
        .filter_map(|binding| binding.get("type"))
        .map(ToOwned::to_owned)
        .collect()
}
