//! Check of who may answer a question (RFC 6120 section 8.1.2 and 8.2.3).

use crate::jid::Jid;
use crate::xml::Element;

/// The addressee of a question, and our account, whose server passes the answer on.
#[derive(Clone, Debug)]
pub(crate) struct Addressee {
    /// `None` for an address that cannot be parsed: then only our own server may answer.
    to: Option<Jid>,
    own: Jid,
}

impl Addressee {
    /// An empty `to` means our own account.
    pub(crate) fn new(to: &str, own: &Jid) -> Self {
        let to = if to.is_empty() {
            Some(own.to_bare())
        } else {
            to.parse().ok()
        };
        Self { to, own: own.clone() }
    }

    /// Returns true if this result or error comes from the one asked. Our own server speaks for the account, and reports
    /// itself that another address could not be asked. It leaves `from` out or writes our address or its own; it
    /// stamps `from` on what others send, so nobody else can.
    pub(crate) fn is_answered_by(&self, answer: &Element) -> bool {
        let Some(from) = answer.get("from") else {
            return true_for_own_server(self.is_own(), answer);
        };
        let Ok(from) = from.parse::<Jid>() else {
            return false;
        };
        if self.to.as_ref() == Some(&from) {
            return true;
        }
        let server =
            from.local().is_none() && from.resource().is_none() && from.domain() == self.own.domain();
        let account = from == self.own.to_bare();
        (server || account) && true_for_own_server(self.is_own(), answer)
    }

    /// Returns the address that was asked.
    pub(crate) fn to(&self) -> Option<&Jid> {
        self.to.as_ref()
    }

    /// Returns true if the one asked answered, not our server in its place.
    pub(crate) fn is_itself(&self, answer: &Element) -> bool {
        let from = answer.get("from").and_then(|from| from.parse::<Jid>().ok());
        from.is_some() && from == self.to
    }

    fn is_own(&self) -> bool {
        self.to
            .as_ref()
            .is_some_and(|to| *to == self.own.to_bare() || *to == self.own.to_domain() || *to == self.own)
    }
}

/// Our server answers for itself and our account; for others it can only say that they were not reached.
fn true_for_own_server(own: bool, answer: &Element) -> bool {
    own || answer.get("type") == Some("error")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ns;

    #[test]
    fn only_the_one_asked_may_answer() {
        let own: Jid = "alice@example.org/x".parse().unwrap();
        let ok = |to: &str, kind: &str, from: Option<&str>| {
            let answer = Element::new("iq", ns::CLIENT)
                .attr("type", kind.to_owned())
                .attr_opt("from", from);
            Addressee::new(to, &own).is_answered_by(&answer)
        };
        // Our own account and server.
        for to in ["", "alice@example.org", "example.org"] {
            for from in [None, Some("alice@example.org"), Some("example.org")] {
                assert!(ok(to, "result", from), "{to} {from:?}");
            }
            for from in [
                "bob@example.org",
                "alice@example.org/other",
                "evil.example",
                "alice@evil.example",
                "@",
            ] {
                assert!(
                    !ok(to, "result", Some(from)) && !ok(to, "error", Some(from)),
                    "{to} {from}"
                );
            }
        }
        // Rooms and other domains.
        assert!(ok("muc.example.org", "result", Some("muc.example.org")));
        assert!(ok("room@muc.example.org", "result", Some("ROOM@muc.example.org")));
        for from in [None, Some("example.org"), Some("alice@example.org")] {
            assert!(ok("far.example", "error", from), "{from:?}");
            assert!(!ok("far.example", "result", from), "{from:?}");
        }
        for kind in ["result", "error"] {
            assert!(!ok(
                "room@muc.example.org",
                kind,
                Some("room@muc.example.org/nick")
            ));
            assert!(!ok("far.example", kind, Some("bob@far.example")));
        }
    }
}
