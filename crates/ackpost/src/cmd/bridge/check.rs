//! `ackpost bridge check`: both rooms, and the permissions of the bridge there.

use ackpost_bridge::Parts;
use ackpost_bridge::config::People;
use ackpost_doctor::{CheckStatus, Diagnosis, Walk};
use ackpost_xmpp::XmppError;
use ackpost_xmpp::probe::Probe;
use serde_json::json;

use super::place::{self, Place};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

/// Subject of a diagnosis, in place of a URL; the name of the bridge stands behind it.
pub(crate) const SUBJECT: &str = "bridge ";

/// Findings about the rooms of a bridge.
struct Findings(Walk);

impl Findings {
    fn add(&mut self, status: CheckStatus, step: &'static str, text: impl Into<String>) {
        self.0.add(step, status, text, None);
    }

    /// A failure with its remedy.
    fn fail(&mut self, step: &'static str, cause: &impl ToString, remedy: &impl ToString) {
        let remedy = Some(remedy.to_string());
        self.0.add(step, CheckStatus::Fail, cause.to_string(), remedy);
    }

    /// A right or a feature that is there, or what its lack means.
    fn need(&mut self, there: bool, otherwise: CheckStatus, step: &'static str, good: &str, lack: &str) {
        if there {
            self.add(CheckStatus::Ok, step, good);
        } else {
            self.add(otherwise, step, lack);
        }
    }
}

pub(super) async fn run(place: &Place, names: &[String], context: Context) -> Done {
    let chosen = place.chosen(names)?;
    let all = chosen
        .iter()
        .map(|bridge| place::parts(bridge))
        .collect::<Result<Vec<_>, _>>()?;
    place::refuse_doubles(&all)?;
    if all.is_empty() {
        output::none("bridges", context);
    }
    let mut failed = false;
    for parts in &all {
        let diagnosis = look(parts).await;
        failed |= !diagnosis.ok;
        for step in diagnosis.steps {
            let level = match step.status {
                CheckStatus::Ok | CheckStatus::Skipped => "ok",
                CheckStatus::Warn => "warning",
                CheckStatus::Fail => "error",
            };
            let text = match &step.remedy {
                Some(remedy) => format!("{}; {remedy}", step.seen),
                None => step.seen,
            };
            if context.json {
                output::json(&json!({
                    "name": parts.name, "step": step.name, "level": level, "text": text,
                }));
            } else {
                output::line(&format!("{}: {level:7} {}: {text}", parts.name, step.name));
            }
        }
    }
    Ok(if failed { Exit::Failure } else { Exit::Success })
}

/// Looks at both rooms of a bridge.
async fn look(parts: &Parts) -> Diagnosis {
    let mut findings = Findings(Walk::new(format!("{SUBJECT}{}", parts.name)));
    xmpp(parts, &mut findings).await;
    session(parts, &mut findings).await;
    findings.0.end()
}

/// The same as the doctor reports it: one diagnosis for each bridge.
pub(super) async fn diagnoses(place: &Place) -> Result<Vec<Diagnosis>, Failure> {
    let chosen = place.chosen(&[])?;
    let all = chosen
        .iter()
        .map(|bridge| place::parts(bridge))
        .collect::<Result<Vec<_>, _>>()?;
    place::refuse_doubles(&all)?;
    if all.is_empty() {
        return Err(Failure::new(
            format!("{} has no bridge", place.file.display()),
            "add a section [[bridge]]; `ackpost bridge config` shows one",
        ));
    }
    let mut found = Vec::new();
    for parts in &all {
        found.push(look(parts).await);
    }
    Ok(found)
}

async fn xmpp(parts: &Parts, findings: &mut Findings) {
    let mut probe = match Probe::open(&parts.account).await {
        Ok(probe) => probe,
        Err(error) => {
            return findings.fail("xmpp login", &error, &error.remedy());
        }
    };
    findings.add(CheckStatus::Ok, "xmpp login", probe.jid().to_string());
    let room = match probe.room(&parts.place.room).await {
        Ok(room) => room,
        // Nothing is made by a check.
        Err(XmppError::NoSuchRoom { .. }) if parts.place.create => {
            findings.add(
                CheckStatus::Warn,
                "xmpp room",
                "the room does not exist yet: the bridge makes it when it starts; check again after that"
                    .to_owned(),
            );
            return probe.close().await;
        }
        Err(error) => {
            findings.fail("xmpp room", &error, &error.remedy());
            return probe.close().await;
        }
    };
    findings.need(
        room.archive,
        CheckStatus::Warn,
        "xmpp archive",
        "the room has an archive",
        "the room has no archive (XEP-0313): messages written while the bridge is away do not cross, and a message that was \
         sent just before a kill may come twice; switch it on",
    );
    findings.need(
        room.stable_ids || room.archive,
        CheckStatus::Warn,
        "xmpp ids",
        "the room assigns ids to messages",
        "the room assigns no ids to messages (XEP-0359): replies, reactions and deletions do not cross",
    );
    let without_ids = match parts.options.people {
        People::One => {
            "the room assigns no permanent ids to people (XEP-0421): the bridge distinguishes them by nick"
        }
        People::Each => {
            "the room assigns no permanent ids to people (XEP-0421): all post under the identity of the bridge, in spite of \
             people = \"each\""
        }
    };
    findings.need(
        room.occupant_ids,
        CheckStatus::Warn,
        "xmpp people",
        "the room assigns permanent ids to people",
        without_ids,
    );
    enter(parts, &mut probe, findings).await;
    match probe.upload_service().await {
        Ok((service, limit)) => findings.add(
            CheckStatus::Ok,
            "xmpp files",
            limit.map_or_else(
                || service.clone(),
                |limit| format!("{service}, up to {limit} bytes"),
            ),
        ),
        Err(error) => findings.add(
            CheckStatus::Warn,
            "xmpp files",
            format!("{error}: files of the community do not cross"),
        ),
    }
    probe.close().await;
}

/// Enters the room as the bridge does.
async fn enter(parts: &Parts, probe: &mut Probe, findings: &mut Findings) {
    let mut target = parts.place.clone();
    target.nick = Some(parts.options.nick.clone());
    match probe.join(&target).await {
        Ok(joined) => {
            findings.need(
                joined.has_voice(),
                CheckStatus::Fail,
                "xmpp voice",
                &format!("in the room as {}, {}", joined.nick, joined.affiliation),
                "the room gives the account no voice; ask its owner to make it a member",
            );
            if joined.nick != parts.options.nick {
                findings.add(
                    CheckStatus::Warn,
                    "xmpp nick",
                    format!("the nick is taken; the bridge is {}", joined.nick),
                );
            }
        }
        Err(error) => findings.fail("xmpp room", &error, &error.remedy()),
    }
}

async fn session(parts: &Parts, findings: &mut Findings) {
    let info = match parts.room.info().await {
        Ok(info) => info,
        Err(error) => {
            return findings.fail("community", &error, &error.remedy());
        }
    };
    findings.add(CheckStatus::Ok, "community", info.name.clone());
    findings.need(
        info.read && info.write,
        CheckStatus::Fail,
        "community rights",
        "it may read and write",
        "it may not read or write there; ask an admin of the community",
    );
    findings.need(
        info.upload,
        CheckStatus::Warn,
        "community files",
        "it may upload files",
        "it may not upload files there: files of the XMPP room cross as links",
    );
    let admin = info.admin || info.global_admin;
    findings.need(
        admin,
        CheckStatus::Warn,
        "community pace",
        "it is an admin there, so the limit of 5 posts in 16 s does not apply",
        "the bridge is not an admin there, so the community accepts 5 posts in 16 s from it; make it an admin",
    );
    findings.need(
        admin || info.moderator || info.global_moderator,
        CheckStatus::Warn,
        "community moderation",
        "it may delete what moderators of the XMPP room remove",
        "the bridge is not a moderator there: messages that moderators of the XMPP room remove stay in the community",
    );
}
