//! Choice of the SASL mechanism. All rules are in this module: SCRAM before PLAIN, bound before unbound, strongest hash
//! first, never a binding the server did not list (XEP-0440), the GS2 flag that tells the truth (RFC 5802 section 6).

use super::Hash;
use crate::account::{ChannelBinding, Plain};
use crate::error::XmppError;
use crate::tls::Bindings;

/// The mechanisms that a server offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) mechanisms: Vec<String>,
    /// The kinds of channel binding, when the server lists them.
    pub(crate) bindings: Option<Vec<String>>,
}

/// Facts that decide besides the offer.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is its own fact about the connection"
)]
pub(crate) struct Rules<'a> {
    pub(crate) policy: ChannelBinding,
    /// The server rejected a binding before.
    pub(crate) binding_rejected: bool,
    pub(crate) bindings: &'a Bindings,
    pub(crate) plain: Plain,
    pub(crate) encrypted: bool,
    pub(crate) verified: bool,
    pub(crate) loopback: bool,
    pub(crate) domain: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MechanismKind {
    Scram(Hash),
    Plain,
}

/// The mechanism to use and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) mechanism: String,
    pub(crate) kind: MechanismKind,
    pub(crate) gs2: String,
    pub(crate) binding: Vec<u8>,
    pub(crate) binding_kind: Option<&'static str>,
}

/// The kinds of binding we can do, the stronger first.
const BINDINGS: [&str; 2] = ["tls-exporter", "tls-server-end-point"];

pub(crate) fn choose(offer: &Offer, rules: &Rules<'_>) -> Result<Choice, XmppError> {
    let offers = |name: &str| offer.mechanisms.iter().any(|offered| offered == name);
    let strongest = |plus: bool| Hash::ALL.into_iter().find(|hash| offers(hash.mechanism(plus)));
    let scram_offered = offer.mechanisms.iter().any(|name| name.starts_with("SCRAM-"));
    let plus_offered = offer
        .mechanisms
        .iter()
        .any(|name| name.starts_with("SCRAM-") && name.ends_with("-PLUS"));

    let may_bind = rules.policy != ChannelBinding::Never && !rules.binding_rejected;
    // Without a list the server knows tls-unique only, which TLS 1.3 does not have.
    let binding = BINDINGS.into_iter().filter(|_| may_bind).find_map(|kind| {
        let listed = offer.bindings.as_ref()?.iter().any(|listed| listed == kind);
        Some((kind, rules.bindings.get(kind).filter(|_| listed)?))
    });
    if let (Some((kind, data)), Some(hash)) = (binding, strongest(true)) {
        return Ok(Choice {
            mechanism: hash.mechanism(true).to_owned(),
            kind: MechanismKind::Scram(hash),
            gs2: format!("p={kind},,"),
            binding: data.to_vec(),
            binding_kind: Some(kind),
        });
    }
    if rules.policy == ChannelBinding::Require {
        return Err(XmppError::ChannelBindingUnavailable {
            domain: rules.domain.to_owned(),
        });
    }
    if let Some(hash) = strongest(false) {
        // `y` says "I could have bound, but you did not offer it". If the server did offer it but we
        // chose not to bind, or could not, `y` would be false, and servers refuse such a login.
        let could = may_bind && rules.bindings.any();
        let gs2 = if could && !plus_offered { "y,," } else { "n,," };
        return Ok(Choice {
            mechanism: hash.mechanism(false).to_owned(),
            kind: MechanismKind::Scram(hash),
            gs2: gs2.to_owned(),
            binding: Vec::new(),
            binding_kind: None,
        });
    }
    if offers("PLAIN") && !scram_offered {
        let allowed = match rules.plain {
            Plain::Anywhere => true,
            Plain::Protected => rules.verified || rules.loopback,
            Plain::Verified => rules.verified,
        };
        if !allowed {
            let link = if rules.encrypted {
                "a connection whose certificate is not verified"
            } else {
                "an unencrypted connection"
            };
            return Err(XmppError::OnlyPlain { link });
        }
        return Ok(Choice {
            mechanism: "PLAIN".to_owned(),
            kind: MechanismKind::Plain,
            gs2: String::new(),
            binding: Vec::new(),
            binding_kind: None,
        });
    }
    let offered = if offer.mechanisms.is_empty() {
        "none".to_owned()
    } else {
        offer.mechanisms.join(", ")
    };
    Err(XmppError::NoMechanism {
        offered: crate::stream::shorten(offered),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(mechanisms: &[&str], bindings: Option<&[&str]>) -> Offer {
        Offer {
            mechanisms: mechanisms.iter().map(ToString::to_string).collect(),
            bindings: bindings.map(|list| list.iter().map(ToString::to_string).collect()),
        }
    }

    fn both() -> Bindings {
        Bindings {
            exporter: Some(vec![1; 32]),
            end_point: Some(vec![2; 32]),
        }
    }

    fn rules(bindings: &Bindings) -> Rules<'_> {
        Rules {
            policy: ChannelBinding::Auto,
            binding_rejected: false,
            bindings,
            plain: Plain::Protected,
            encrypted: true,
            verified: true,
            loopback: false,
            domain: "example.org",
        }
    }

    fn chosen(offer: &Offer, rules: &Rules<'_>) -> (String, String) {
        let choice = choose(offer, rules).unwrap();
        (choice.mechanism, choice.gs2)
    }

    const ALL: &[&str] = &[
        "PLAIN",
        "SCRAM-SHA-1",
        "SCRAM-SHA-1-PLUS",
        "SCRAM-SHA-256",
        "SCRAM-SHA-256-PLUS",
        "SCRAM-SHA-512",
        "SCRAM-SHA-512-PLUS",
        "X-OAUTH2",
    ];

    #[test]
    fn the_strongest_bound_mechanism_wins() {
        let bindings = both();
        let listed = offer(ALL, Some(&["tls-server-end-point", "tls-exporter"]));
        assert_eq!(
            chosen(&listed, &rules(&bindings)),
            ("SCRAM-SHA-512-PLUS".into(), "p=tls-exporter,,".into())
        );
        let tls12 = Bindings {
            exporter: None,
            ..both()
        };
        assert_eq!(chosen(&listed, &rules(&tls12)).1, "p=tls-server-end-point,,");
    }

    #[test]
    fn a_server_that_lists_no_binding_is_not_bound_to_and_not_lied_to() {
        // ejabberd 23.01 on TLS 1.3: -PLUS without a list, and every exporter login refused.
        let bindings = both();
        assert_eq!(
            chosen(&offer(ALL, None), &rules(&bindings)),
            ("SCRAM-SHA-512".into(), "n,,".into())
        );
        assert_eq!(
            chosen(&offer(ALL, Some(&["tls-unique"])), &rules(&bindings)),
            ("SCRAM-SHA-512".into(), "n,,".into())
        );
    }

    #[test]
    fn the_flag_y_only_where_no_plus_is_offered() {
        let bindings = both();
        let without = offer(&["SCRAM-SHA-1", "PLAIN"], None);
        assert_eq!(
            chosen(&without, &rules(&bindings)),
            ("SCRAM-SHA-1".into(), "y,,".into())
        );
        let never = Rules {
            policy: ChannelBinding::Never,
            ..rules(&bindings)
        };
        assert_eq!(chosen(&without, &never).1, "n,,");
        assert_eq!(chosen(&offer(ALL, Some(&["tls-exporter"])), &never).1, "n,,");
        let rejected = Rules {
            binding_rejected: true,
            ..rules(&bindings)
        };
        assert_eq!(
            chosen(&offer(ALL, Some(&["tls-exporter"])), &rejected),
            ("SCRAM-SHA-512".into(), "n,,".into())
        );
        let clear = Bindings::default();
        let unencrypted = Rules {
            encrypted: false,
            verified: false,
            ..rules(&clear)
        };
        assert_eq!(chosen(&without, &unencrypted).1, "n,,");
    }

    #[test]
    fn required_means_required() {
        let bindings = both();
        let require = Rules {
            policy: ChannelBinding::Require,
            ..rules(&bindings)
        };
        assert!(matches!(
            choose(&offer(ALL, None), &require),
            Err(XmppError::ChannelBindingUnavailable { .. })
        ));
        assert!(choose(&offer(ALL, Some(&["tls-exporter"])), &require).is_ok());
    }

    #[test]
    fn plain_only_where_nobody_listens_and_never_beside_scram() {
        let bindings = both();
        let only = offer(&["PLAIN"], None);
        assert_eq!(chosen(&only, &rules(&bindings)).0, "PLAIN");
        let unverified = Rules {
            verified: false,
            ..rules(&bindings)
        };
        assert!(matches!(
            choose(&only, &unverified),
            Err(XmppError::OnlyPlain { .. })
        ));
        let clear = Rules {
            encrypted: false,
            verified: false,
            ..rules(&bindings)
        };
        assert!(matches!(choose(&only, &clear), Err(XmppError::OnlyPlain { .. })));
        assert_eq!(
            chosen(
                &only,
                &Rules {
                    plain: Plain::Anywhere,
                    ..clear
                }
            )
            .0,
            "PLAIN"
        );
        let near = Rules {
            encrypted: false,
            verified: false,
            loopback: true,
            ..rules(&bindings)
        };
        assert_eq!(chosen(&only, &near).0, "PLAIN");
        let unknown_scram = offer(&["PLAIN", "SCRAM-SHA3-512"], None);
        assert!(matches!(
            choose(&unknown_scram, &rules(&bindings)),
            Err(XmppError::NoMechanism { .. })
        ));
        assert!(matches!(
            choose(&offer(&[], None), &rules(&bindings)),
            Err(XmppError::NoMechanism { .. })
        ));
    }
}
