//! The people in the rooms of a bot, and their roles.

use std::collections::{HashMap, HashSet};

use ackpost_bot::Role;

use crate::jid::Jid;
use crate::session::Received;

/// Maximum number of people of one room that are known; others have no role.
const PEOPLE_MAX: usize = 10_000;

/// Somebody in a room.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) jid: Option<Jid>,
    pub(super) affiliation: String,
    pub(super) role: String,
    pub(super) occupant_id: Option<String>,
}

/// The people in one room, by nick.
#[derive(Debug, Default)]
pub(super) struct Room {
    people: HashMap<String, Person>,
    /// We are in the room, and everybody who was there before us is known.
    pub(super) entered: bool,
}

impl Room {
    /// Notes that somebody is there. Returns true if they came in just now.
    pub(super) fn note(&mut self, nick: &str, person: Person) -> bool {
        let is_new = !self.people.contains_key(nick);
        if is_new && self.people.len() >= PEOPLE_MAX {
            return false;
        }
        self.people.insert(nick.to_owned(), person);
        is_new
    }

    pub(super) fn leave(&mut self, nick: &str) {
        self.people.remove(nick);
    }

    pub(super) fn clear(&mut self) {
        self.people.clear();
        self.entered = false;
    }

    /// Returns the author of a message, if proven: by the nick for a present message, by the permanent id for an
    /// earlier one.
    pub(super) fn author(&self, received: &Received) -> Option<&Person> {
        let nick = received.from.as_ref()?.resource()?;
        if received.stamp.is_none() {
            return self.by_nick(nick, received.occupant_id.as_deref());
        }
        let id = received.occupant_id.as_ref()?;
        self.people
            .values()
            .find(|person| person.occupant_id.as_ref() == Some(id))
    }

    /// Returns the owner of a nick. If the room gives permanent ids, both must be the same person's: a nick may have changed hands.
    pub(super) fn by_nick(&self, nick: &str, occupant_id: Option<&str>) -> Option<&Person> {
        self.people.get(nick).filter(|person| {
            let known = person.occupant_id.as_deref();
            known.is_none() || occupant_id.is_none() || known == occupant_id
        })
    }

    /// The highest role of an account in this room.
    pub(super) fn role_of(&self, jid: &Jid) -> Role {
        self.people
            .values()
            .filter(|person| person.jid.as_ref().is_some_and(|own| own.same_bare(jid)))
            .map(Person::rank)
            .max()
            .unwrap_or(Role::Everyone)
    }
}

impl Person {
    /// Role that follows from the person's affiliation and role in the room.
    fn rank(&self) -> Role {
        match (self.affiliation.as_str(), self.role.as_str()) {
            ("owner" | "admin", _) => Role::Admin,
            (_, "moderator") => Role::Moderator,
            _ => Role::Everyone,
        }
    }

    /// The role for commands.
    pub(super) fn role(&self, operators: &HashSet<Jid>) -> Role {
        let is_operator = self
            .jid
            .as_ref()
            .is_some_and(|jid| operators.contains(&jid.to_bare()));
        if is_operator { Role::Operator } else { self.rank() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(jid: Option<&str>, affiliation: &str, role: &str, id: &str) -> Person {
        Person {
            jid: jid.map(|jid| jid.parse().expect("an address")),
            affiliation: affiliation.to_owned(),
            role: role.to_owned(),
            occupant_id: Some(id.to_owned()),
        }
    }

    fn said(nick: &str, stamp: Option<&str>, id: Option<&str>) -> Received {
        Received {
            from: Some(format!("r@c.example/{nick}").parse().expect("an address")),
            room: true,
            stamp: stamp.map(ToOwned::to_owned),
            occupant_id: id.map(ToOwned::to_owned),
            ..Received::default()
        }
    }

    #[test]
    fn a_nick_of_before_proves_nothing() {
        let mut room = Room::default();
        assert!(room.note("ann", person(None, "owner", "moderator", "a")));
        assert!(!room.note("ann", person(None, "owner", "moderator", "a")));
        room.note("bob", person(None, "none", "participant", "b"));
        let rank = |received: Received| room.author(&received).map(Person::rank);
        let then = Some("2026-11-30T12:00:00Z");
        assert_eq!(rank(said("ann", None, None)), Some(Role::Admin));
        assert_eq!(rank(said("ann", then, None)), None);
        assert_eq!(rank(said("ann", then, Some("b"))), Some(Role::Everyone));
        assert_eq!(rank(said("gone", then, Some("a"))), Some(Role::Admin));
        assert_eq!(rank(said("gone", None, Some("a"))), None);
        // The presence of the new owner of the nick was not seen.
        assert_eq!(rank(said("ann", None, Some("a"))), Some(Role::Admin));
        assert_eq!(rank(said("ann", None, Some("b"))), None);
    }

    #[test]
    fn operators_are_known_by_their_address_alone() {
        let operators = HashSet::from(["jane@example.org".parse().expect("an address")]);
        let role = |person: Person| person.role(&operators);
        assert_eq!(
            role(person(Some("jane@example.org/phone"), "none", "participant", "a")),
            Role::Operator
        );
        assert_eq!(role(person(None, "member", "moderator", "a")), Role::Moderator);
        assert_eq!(
            role(person(Some("jane@example.net"), "none", "visitor", "a")),
            Role::Everyone
        );
        let mut room = Room::default();
        room.note("x", person(Some("jo@example.org/1"), "none", "participant", "a"));
        room.note("y", person(Some("jo@example.org/2"), "admin", "moderator", "b"));
        assert_eq!(
            room.role_of(&"jo@example.org".parse().expect("an address")),
            Role::Admin
        );
        assert_eq!(
            room.role_of(&"al@example.org".parse().expect("an address")),
            Role::Everyone
        );
    }

    #[test]
    fn a_room_that_is_flooded_does_not_fill_the_memory() {
        let mut room = Room::default();
        for number in 0..2 * PEOPLE_MAX {
            room.note(&number.to_string(), person(None, "none", "participant", ""));
        }
        assert_eq!(room.people.len(), PEOPLE_MAX);
        room.clear();
        assert!(room.people.is_empty());
    }
}
