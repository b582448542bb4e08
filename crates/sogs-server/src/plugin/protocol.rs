//! Protocol between the server and a plugin: one JSON object a line, in both directions.
//!
//! | direction | line | meaning |
//! |---|---|---|
//! | plugin → server | `{"hello":"NAME","decide":true,"events":["posted"],"deadline_ms":250,"default":"accept"}` | first line over the socket; children are configured instead |
//! | server → plugin | `{"event":"posted", …}` | something happened; no answer is expected |
//! | server → plugin | `{"ask":17, …}` | may this post go through? |
//! | plugin → server | `{"answer":17,"decision":"accept"}` | `accept`, `reject` (with `text`), `hide` or `hold` |
//! | server → plugin | `{"lost":3}` | number of events that did not fit the plugin's queue |

use serde::{Deserialize, Serialize};

/// The longest line either side may send, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// Something that has happened, told after it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PluginEvent {
    /// A message was posted and is visible.
    Posted {
        /// Room token.
        room: String,
        /// Number of the message.
        id: i64,
        /// Author of the message.
        session_id: String,
        /// Time of the post, Unix seconds.
        posted: f64,
        /// Text of the message.
        text: String,
        /// Number of attached files.
        files: usize,
        /// True if the message is shown to nobody.
        hidden: bool,
    },
    /// A message was changed by its author.
    Edited {
        /// Room token.
        room: String,
        /// Number of the message.
        id: i64,
    },
    /// A message was deleted.
    Deleted {
        /// Room token.
        room: String,
        /// Number of the message.
        id: i64,
    },
    /// Reactions of a message changed.
    Reacted {
        /// Room token.
        room: String,
        /// Number of the message.
        id: i64,
    },
    /// The server met an identity for the first time.
    Joined {
        /// Identity that the server met.
        session_id: String,
        /// Time of the meeting, Unix seconds.
        at: f64,
    },
    /// A moderator or the operator did something (the audit log's action names).
    Moderated {
        /// Room token; absent for the whole server.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        room: Option<String>,
        /// Action, by its name in the audit log.
        action: String,
        /// Person or thing that the action concerned.
        target: String,
    },
    /// Raid mode went on or off.
    Raid {
        /// Room token; absent for the whole server.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        room: Option<String>,
        /// True if raid mode is on now.
        on: bool,
        /// Reason for the change.
        reason: String,
    },
}

impl PluginEvent {
    /// The word by which a plugin asks for events of this kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Posted { .. } => "posted",
            Self::Edited { .. } => "edited",
            Self::Deleted { .. } => "deleted",
            Self::Reacted { .. } => "reacted",
            Self::Joined { .. } => "joined",
            Self::Moderated { .. } => "moderated",
            Self::Raid { .. } => "raid",
        }
    }
}

/// A post that waits for a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Number that the answer repeats.
    pub ask: u64,
    /// Room token.
    pub room: String,
    /// Author of the post.
    pub session_id: String,
    /// When this server first saw the person, Unix seconds.
    pub first_seen: f64,
    /// True if the person moderates the room.
    pub moderator: bool,
    /// The text; empty when the message has none.
    pub text: String,
    /// The display name that the message gives.
    pub name: String,
    /// Content types of the attachments.
    pub attachments: Vec<String>,
    /// Size of the message in bytes, with padding.
    pub size: usize,
}

/// Decision of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Store and show it.
    #[default]
    Accept,
    /// Store it, and show it once a moderator approves.
    Hold,
    /// Store it and show it to nobody.
    Hide,
    /// Refuse it with a text.
    Reject,
}

/// A line from a plugin.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FromPlugin {
    /// First line over the socket: the plugin's name.
    #[serde(default)]
    pub hello: Option<String>,
    /// With `hello`: whether the plugin wants to be asked.
    #[serde(default)]
    pub decide: bool,
    /// With `hello`: the kinds of events it wants; empty = all.
    #[serde(default)]
    pub events: Vec<String>,
    /// With `hello`: milliseconds an answer may take.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// With `hello`: what holds when no answer comes in time.
    #[serde(default)]
    pub default: Decision,
    /// The question that is answered.
    #[serde(default)]
    pub answer: Option<u64>,
    /// With `answer`: the decision.
    #[serde(default)]
    pub decision: Decision,
    /// With `decision` `reject`: the text for the poster.
    #[serde(default)]
    pub text: Option<String>,
}

/// A decision with its text and the plugin that made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The strictest of all decisions.
    pub decision: Decision,
    /// For the poster, when it is a refusal.
    pub text: Option<String>,
    /// Name of the plugin that decided; empty when none did.
    pub plugin: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_as_documented() {
        let hello: FromPlugin =
            serde_json::from_str(r#"{"hello":"x","decide":true,"events":["posted"]}"#).expect("hello");
        assert!(hello.decide && hello.hello.as_deref() == Some("x"));
        let answer: FromPlugin =
            serde_json::from_str(r#"{"answer":17,"decision":"reject","text":"no"}"#).expect("answer");
        assert_eq!((answer.answer, answer.decision), (Some(17), Decision::Reject));
        let event = PluginEvent::Deleted {
            room: "t".into(),
            id: 3,
        };
        assert_eq!(
            serde_json::to_string(&event).expect("json"),
            r#"{"event":"deleted","room":"t","id":3}"#
        );
        assert_eq!(event.kind(), "deleted");
    }

    #[test]
    fn decisions_are_ordered_by_strictness() {
        assert!(
            Decision::Reject > Decision::Hide
                && Decision::Hide > Decision::Hold
                && Decision::Hold > Decision::Accept
        );
    }
}
