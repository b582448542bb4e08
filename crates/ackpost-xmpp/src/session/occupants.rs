//! Occupants of rooms.

use std::collections::HashMap;

use crate::jid::Jid;
use crate::ns;
use crate::xml::Element;

/// Maximum number of occupants of rooms that are remembered.
const OCCUPANTS_MAX: usize = 20_000;

/// The real addresses of the people in our rooms.
#[derive(Default)]
pub(super) struct Occupants(HashMap<Jid, Jid>);

impl Occupants {
    /// Notes a presence from a room.
    pub(super) fn note(&mut self, presence: &Element, from: &Jid) {
        if from.resource().is_none() {
            return;
        }
        if presence.get("type") == Some("unavailable") {
            self.0.remove(from);
            return;
        }
        let jid = presence
            .find("x", ns::MUC_USER)
            .and_then(|about| about.find("item", ns::MUC_USER))
            .and_then(|item| item.get("jid"))
            .and_then(|jid| jid.parse::<Jid>().ok());
        if let Some(jid) = jid
            && (self.0.len() < OCCUPANTS_MAX || self.0.contains_key(from))
        {
            self.0.insert(from.clone(), jid.to_bare());
        }
    }

    pub(super) fn real(&self, occupant: &Jid) -> Option<Jid> {
        self.0.get(occupant).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occupants_are_known_by_their_presence_until_they_leave() {
        let mut occupants = Occupants::default();
        let nick: Jid = "r@muc.example/bob".parse().unwrap();
        let item = Element::new("item", ns::MUC_USER).attr("jid", "bob@x.example/phone");
        let presence =
            Element::new("presence", ns::CLIENT).child(Element::new("x", ns::MUC_USER).child(item));
        occupants.note(&presence, &nick);
        assert_eq!(occupants.real(&nick), Some("bob@x.example".parse().unwrap()));
        occupants.note(
            &Element::new("presence", ns::CLIENT).attr("type", "unavailable"),
            &nick,
        );
        assert_eq!(occupants.real(&nick), None);
    }
}
