//! The devices that a message is encrypted for, and those that are left out.

use super::device::Device;
use super::error::OmemoError;
use super::left_out::{LeftOut, LeftOutReason};
use super::options::EncryptionMode;
use super::prepare::{Prepared, Readers};
use super::report::NewKey;
use super::store::{Address, SessionEntry, State};
use crate::jid::Jid;
use crate::message::Target;

/// The devices of a message's readers.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) usable: Vec<Address>,
    pub(super) left_out: Vec<LeftOut>,
    /// Keys that nobody was told of yet.
    pub(super) new_keys: Vec<NewKey>,
}

impl Survey {
    fn extend(&mut self, other: Self) {
        self.usable.extend(other.usable);
        self.left_out.extend(other.left_out);
        self.new_keys.extend(other.new_keys);
    }
}

impl Device {
    /// Finds the devices that a message to this target is encrypted for.
    pub(super) fn survey(
        &self,
        state: &State,
        prepared: &Prepared,
        target: &Target,
    ) -> Result<Survey, OmemoError> {
        let address = target.address().to_bare();
        let readers = match prepared.readers.get(&address.to_string()) {
            Some(Ok(readers)) => readers.clone(),
            Some(Err(error)) => return Err(error.clone()),
            None => Readers::default(),
        };
        let mut survey = Survey::default();
        let mut without: Vec<LeftOut> = Vec::new();
        for jid in &readers.people {
            let of_person = self.survey_person(state, prepared, jid)?;
            if of_person.usable.is_empty() {
                if readers.room.is_none() {
                    return Err(nobody(state, prepared, jid, of_person.left_out));
                }
                without.push(LeftOut {
                    jid: jid.clone(),
                    device: None,
                    reason: why_nobody(state, prepared, jid, &of_person.left_out),
                });
            } else {
                survey.extend(of_person);
            }
        }
        if let Some(room) = readers.room {
            if survey.usable.is_empty() {
                if without
                    .iter()
                    .any(|left| left.reason == LeftOutReason::Unavailable)
                {
                    return Err(OmemoError::Unavailable {
                        of: room,
                        reason: "those of its members did not arrive in time".to_owned(),
                    });
                }
                return Err(OmemoError::RoomWithoutKeys {
                    room,
                    people: without,
                });
            }
            if !without.is_empty() && self.omemo.mode == EncryptionMode::RequireAll {
                return Err(OmemoError::MembersLeftOut {
                    room,
                    people: without,
                });
            }
        }
        survey.left_out.extend(without);
        // Own devices show the message as sent. That none of them can read it is no reason against it.
        let mut own = self.survey_person(state, prepared, &self.own)?;
        own.left_out.clear();
        survey.extend(own);
        Ok(survey)
    }

    pub(super) fn survey_person(
        &self,
        state: &State,
        prepared: &Prepared,
        jid: &Jid,
    ) -> Result<Survey, OmemoError> {
        let name = jid.to_string();
        let own = state.device()?;
        let mut survey = Survey::default();
        let Some(lists) = state.lists.get(&name) else {
            return Ok(survey);
        };
        for (version, device) in lists.devices() {
            if device == own && *jid == self.own {
                continue;
            }
            let address = Address {
                jid: name.clone(),
                version,
                device,
            };
            let session = state.sessions.get(&address).map(SessionEntry::session);
            let reason = match session.transpose()? {
                Some(session) => {
                    let key = session.identity_key();
                    survey.new_keys.extend(state.untold(&address, key));
                    self.trust_rules().objection(state, &name, key)
                }
                None => Some(match state.missing.get(&address) {
                    _ if prepared.bundles_later.contains(&address) => LeftOutReason::Unavailable,
                    Some(missing) if missing.broken => LeftOutReason::BadBundle,
                    Some(_) => LeftOutReason::NoBundle,
                    None => LeftOutReason::TooMany,
                }),
            };
            match reason {
                None => survey.usable.push(address),
                Some(reason) => survey.left_out.push(LeftOut {
                    jid: jid.clone(),
                    device: Some(device.get()),
                    reason,
                }),
            }
        }
        Ok(survey)
    }
}

/// Reason why a member of a room has no usable device.
fn why_nobody(state: &State, prepared: &Prepared, jid: &Jid, left_out: &[LeftOut]) -> LeftOutReason {
    let name = jid.to_string();
    let is_late = |left: &LeftOut| left.reason == LeftOutReason::Unavailable;
    if prepared.later.contains_key(&name) || left_out.iter().any(is_late) {
        LeftOutReason::Unavailable
    } else if let Some(left) = left_out.first() {
        left.reason
    } else if state.keys_of(&name).next().is_some() {
        LeftOutReason::KeysGone
    } else {
        LeftOutReason::NoKeys
    }
}

/// The error for a person without a usable device.
fn nobody(state: &State, prepared: &Prepared, jid: &Jid, left_out: Vec<LeftOut>) -> OmemoError {
    let name = jid.to_string();
    let unavailable = left_out
        .iter()
        .any(|left| left.reason == LeftOutReason::Unavailable);
    if let Some(reason) = prepared.later.get(&name) {
        return OmemoError::Unavailable {
            of: jid.clone(),
            reason: reason.clone(),
        };
    }
    if unavailable {
        return OmemoError::Unavailable {
            of: jid.clone(),
            reason: "no answer in time".to_owned(),
        };
    }
    if !left_out.is_empty() {
        return OmemoError::NoUsableDevice {
            to: jid.clone(),
            devices: left_out,
        };
    }
    // A server that hides the list must not turn encryption off.
    if state.keys_of(&name).next().is_some() {
        return OmemoError::KeysGone { to: jid.clone() };
    }
    OmemoError::NoKeys { to: jid.clone() }
}
