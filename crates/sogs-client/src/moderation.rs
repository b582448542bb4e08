//! Held posts and reports, on community servers of Ackpost.
//!
//! These calls are an addition to the protocol: another server answers 404.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use session_protocol::{RoomToken, SessionId};

use crate::call::{AuthNeed, Call, LIST_ANSWER_BYTES, SMALL_ANSWER_BYTES};
use crate::error::SogsError;
use crate::room::Room;
use crate::server::Server;

/// A post that waits for a moderator's approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldPost {
    /// Number of the message.
    pub id: u64,
    /// Id of the author.
    pub session_id: SessionId,
    /// Since when, in Unix seconds.
    pub at: f64,
    /// Reason why it is held.
    pub reason: String,
    /// The author's name for themselves; empty if they gave none.
    pub name: String,
    /// Text of the message.
    pub text: String,
    /// Number of its files.
    pub files: u64,
}

/// A message that members reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportedMessage {
    /// Number of the message.
    pub id: u64,
    /// Id of the author.
    pub session_id: SessionId,
    /// Time of the first report, in Unix seconds.
    pub at: f64,
    /// Number of members who reported it.
    pub count: u64,
    /// Name and text of the message, cut.
    pub text: String,
    /// The reports, newest first; at most 100.
    pub reports: Vec<Report>,
}

/// A report of one member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Id of the member.
    pub session_id: SessionId,
    /// Time of the report, in Unix seconds.
    pub at: f64,
    /// In the member's words.
    pub reason: String,
}

/// A moderator's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Shows a held post; leaves a reported message where it is.
    Approve,
    /// The same, and a held post's author writes without approval from now on.
    Trust,
    /// Deletes the message.
    Reject,
    /// Deletes the message and all held posts of the author in the room, and bans the author from the room: for this long,
    /// or permanently.
    Ban(Option<Duration>),
}

impl Verdict {
    fn body(self) -> Value {
        let word = match self {
            Self::Approve => "approve",
            Self::Trust => "trust",
            Self::Reject => "reject",
            Self::Ban(_) => "ban",
        };
        let mut body = Map::new();
        body.insert("verdict".to_owned(), word.into());
        if let Self::Ban(Some(time)) = self {
            body.insert("seconds".to_owned(), time.as_secs_f64().into());
        }
        Value::Object(body)
    }
}

/// A decision that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Number of the message.
    pub id: u64,
    /// `approved`, `trusted`, `rejected` or `banned`.
    pub state: String,
    /// The author of the message.
    pub session_id: SessionId,
    /// Number in the server's audit log, by which an operator can undo it.
    pub log: i64,
}

/// A report that was noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filed {
    /// Number of the message.
    pub id: u64,
    /// Number of members who reported it, this one included.
    pub reports: u64,
    /// Answer of the server in words.
    pub text: String,
}

/// Moderation of a server, as members see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModerationInfo {
    /// Members can report messages.
    pub reports: bool,
    /// The server's own account. It takes reports as direct messages.
    pub account: SessionId,
}

#[derive(Deserialize)]
struct HeldList {
    held: Vec<HeldPost>,
    #[serde(default)]
    next: Option<u64>,
}

#[derive(Deserialize)]
struct ReportList {
    reports: Vec<ReportedMessage>,
    #[serde(default)]
    next: Option<u64>,
}

/// Entries of a list that are fetched at most, in several parts.
const MAX_LISTED: usize = 10_000;

fn decide(token: &RoomToken, list: &str, id: u64, verdict: Verdict) -> Call<Decision> {
    let path = format!("/ackpost/room/{token}/{list}/{id}");
    Call::for_json("POST", path, AuthNeed::Required)
        .json(verdict.body())
        .at_most(SMALL_ANSWER_BYTES)
}

impl Room {
    /// Posts that wait for approval, oldest first (moderators).
    ///
    /// # Errors
    /// Status 403 without moderator rights; 404 if the server has no such call.
    pub async fn held(&self) -> Result<Vec<HeldPost>, SogsError> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/ackpost/room/{}/held?after={after}", self.token());
            let call = Call::<HeldList>::for_json("GET", path, AuthNeed::Required).at_most(LIST_ANSWER_BYTES);
            let part = self.server().run(call).await?;
            all.extend(part.held);
            // A server that counts backwards would keep this going for ever.
            match part.next.filter(|next| *next > after && all.len() < MAX_LISTED) {
                Some(next) => after = next,
                None => return Ok(all),
            }
        }
    }

    /// Decides about a held post (moderators).
    ///
    /// # Errors
    /// Status 409 if it is decided already, with who decided what; 404 if no such post waits; 403 without the right.
    pub async fn decide_held(&self, id: u64, verdict: Verdict) -> Result<Decision, SogsError> {
        self.server().run(decide(self.token(), "held", id, verdict)).await
    }

    /// Reports a message to the moderators. The server cuts a reason after 300 characters.
    ///
    /// # Errors
    /// Status 404 if there is no such message; 403 where reports are not taken; 409 if moderators decided that it stays;
    /// 429 after too many reports.
    pub async fn report(&self, id: u64, reason: &str) -> Result<Filed, SogsError> {
        let path = format!("/ackpost/room/{}/report/{id}", self.token());
        let call = Call::for_json("POST", path, AuthNeed::Required)
            .json(json!({ "reason": reason }))
            .at_most(SMALL_ANSWER_BYTES);
        self.server().run(call).await
    }

    /// Reported messages that wait for a decision, oldest first (moderators).
    ///
    /// # Errors
    /// As [`Room::held`].
    pub async fn reports(&self) -> Result<Vec<ReportedMessage>, SogsError> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/ackpost/room/{}/reports?after={after}", self.token());
            let call =
                Call::<ReportList>::for_json("GET", path, AuthNeed::Required).at_most(LIST_ANSWER_BYTES);
            let part = self.server().run(call).await?;
            all.extend(part.reports);
            match part.next.filter(|next| *next > after && all.len() < MAX_LISTED) {
                Some(next) => after = next,
                None => return Ok(all),
            }
        }
    }

    /// Decides about a reported message (moderators).
    ///
    /// # Errors
    /// As [`Room::decide_held`].
    pub async fn decide_report(&self, id: u64, verdict: Verdict) -> Result<Decision, SogsError> {
        self.server()
            .run(decide(self.token(), "reports", id, verdict))
            .await
    }
}

impl Server {
    /// Tells if members can report messages, and names the account that takes reports as direct messages.
    ///
    /// # Errors
    /// Status 404 if the server has no such call.
    pub async fn moderation(&self) -> Result<ModerationInfo, SogsError> {
        let call = Call::for_json("GET", "/ackpost/moderation", AuthNeed::Optional);
        self.run(call.at_most(SMALL_ANSWER_BYTES)).await
    }
}
