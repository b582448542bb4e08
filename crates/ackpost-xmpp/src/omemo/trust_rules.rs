//! Rules for the identity keys that messages are encrypted for.

use ::omemo::IdentityKey;

use super::left_out::LeftOutReason;
use super::store::{Known, State, UNTOLD};
use super::trust::{Trust, TrustPolicy};
use crate::jid::Jid;

/// Decides about the keys of one account.
#[derive(Clone, Copy)]
pub(super) struct TrustRules<'a> {
    pub(super) policy: TrustPolicy,
    pub(super) pins: &'a [(Jid, String)],
}

impl TrustRules<'_> {
    /// Notes a key that was seen. Returns true if it is new; a person has to be told of it then.
    pub(super) fn note(self, state: &mut State, jid: &str, key: &IdentityKey) -> bool {
        let entry = (jid.to_owned(), *key.x25519());
        if state.keys.contains_key(&entry) {
            return false;
        }
        let blind = match self.policy {
            TrustPolicy::Any => true,
            TrustPolicy::Pinned => false,
            TrustPolicy::Tofu => !has_verified(state, jid),
        };
        let trust = if blind { Trust::Blind } else { Trust::Undecided };
        let since = UNTOLD;
        state.keys.insert(entry, Known { trust, since });
        true
    }

    /// Returns why a key may not be used, or `None` if it may.
    pub(super) fn objection(self, state: &State, jid: &str, key: &IdentityKey) -> Option<LeftOutReason> {
        let trust = state.trust_of(jid, key).unwrap_or(Trust::Undecided);
        if trust == Trust::Distrusted {
            return Some(LeftOutReason::Distrusted);
        }
        if trust == Trust::Verified || self.is_pinned(jid, key) {
            return None;
        }
        match self.policy {
            TrustPolicy::Any => None,
            TrustPolicy::Pinned => Some(LeftOutReason::NotPinned),
            TrustPolicy::Tofu if trust == Trust::Blind || !has_verified(state, jid) => None,
            TrustPolicy::Tofu => Some(LeftOutReason::NotVerified),
        }
    }

    fn is_pinned(self, jid: &str, key: &IdentityKey) -> bool {
        self.pins
            .iter()
            .any(|(owner, fingerprint)| owner.to_string() == jid && key.has_fingerprint(fingerprint))
    }
}

pub(super) fn has_verified(state: &State, jid: &str) -> bool {
    state
        .keys_of(jid)
        .any(|(_, known)| known.trust == Trust::Verified)
}

/// Returns true if a person verified this key as that of another account, and decided nothing about it for this one. The
/// message is then one of that account, sent on by somebody.
pub(super) fn is_of_another(state: &State, jid: &str, key: &IdentityKey) -> bool {
    let decided = state.trust_of(jid, key).is_some_and(Trust::is_decided);
    !decided
        && state.keys.iter().any(|((owner, other), known)| {
            known.trust == Trust::Verified && other == key.x25519() && owner != jid
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> IdentityKey {
        *::omemo::Identity::from_seed(&[seed; 32]).public()
    }

    #[test]
    fn keys_are_trusted_at_first_sight_until_one_is_verified() {
        let mut state = State::new("me@x.example");
        let rules = TrustRules {
            policy: TrustPolicy::Tofu,
            pins: &[],
        };
        let jid = "bob@x.example";
        assert!(rules.note(&mut state, jid, &key(1)));
        assert!(!rules.note(&mut state, jid, &key(1)));
        assert_eq!(rules.objection(&state, jid, &key(1)), None);
        state
            .keys
            .get_mut(&(jid.to_owned(), *key(1).x25519()))
            .unwrap()
            .trust = Trust::Verified;
        assert!(rules.note(&mut state, jid, &key(2)));
        assert_eq!(
            rules.objection(&state, jid, &key(2)),
            Some(LeftOutReason::NotVerified)
        );
        // Another account is not affected.
        rules.note(&mut state, "carol@x.example", &key(2));
        assert_eq!(rules.objection(&state, "carol@x.example", &key(2)), None);
    }

    #[test]
    fn pinned_takes_pins_and_verified_keys_only_and_any_takes_all_but_distrusted_ones() {
        let mut state = State::new("me@x.example");
        let jid = "bob@x.example";
        let pins = [(jid.parse().unwrap(), key(1).fingerprint())];
        let pinned = TrustRules {
            policy: TrustPolicy::Pinned,
            pins: &pins,
        };
        let any = TrustRules {
            policy: TrustPolicy::Any,
            pins: &[],
        };
        for seed in 1..=3 {
            pinned.note(&mut state, jid, &key(seed));
        }
        let mut set = |seed: u8, trust| {
            let entry = (jid.to_owned(), *key(seed).x25519());
            state.keys.get_mut(&entry).unwrap().trust = trust;
        };
        set(2, Trust::Verified);
        assert_eq!(pinned.objection(&state, jid, &key(1)), None);
        assert_eq!(pinned.objection(&state, jid, &key(2)), None);
        assert_eq!(
            pinned.objection(&state, jid, &key(3)),
            Some(LeftOutReason::NotPinned)
        );
        assert_eq!(any.objection(&state, jid, &key(3)), None);
        let entry = (jid.to_owned(), *key(3).x25519());
        state.keys.get_mut(&entry).unwrap().trust = Trust::Distrusted;
        assert_eq!(
            any.objection(&state, jid, &key(3)),
            Some(LeftOutReason::Distrusted)
        );
        // A pin counts for its account alone.
        assert_eq!(
            pinned.objection(&state, "eve@x.example", &key(1)),
            Some(LeftOutReason::NotPinned)
        );
    }
}
