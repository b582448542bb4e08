//! Cases that moderators decide: held posts and reported messages, and the notices about them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::operation::{Erase, LogEntry};
use super::{Id, PermissionPatch};

/// Kind of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseKind {
    /// A post that waits for approval.
    Held,
    /// A message that members reported.
    Report,
    /// Posts of a room that wait without their own notice.
    More,
}

impl CaseKind {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Report => "report",
            Self::More => "more",
        }
    }

    /// The kind of a word in the database.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Held, Self::Report, Self::More]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// A case as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Number of the case.
    pub id: Id,
    /// Kind of the case.
    pub kind: CaseKind,
    /// The message, or the room of a [`CaseKind::More`].
    pub subject_id: Id,
    /// The room of the message.
    pub room_id: Id,
    /// Shown id of the author.
    pub author: String,
    /// Name and text of the message, cut.
    pub excerpt: String,
    /// Time at which the case was opened (Unix seconds).
    pub opened_at: f64,
    /// `open`, or the decision.
    pub state: String,
    /// Author of the decision: a session id or `operator:NAME`; `None` if the case was decided in another way.
    pub decided_by: Option<String>,
    /// Time of the decision (Unix seconds).
    pub decided_at: Option<f64>,
    /// Decided by a reaction or reply in the moderators' room.
    pub in_room: bool,
    /// Number of posts of a [`CaseKind::More`].
    pub posts: i64,
    /// Number of reports.
    pub reports: i64,
}

impl Case {
    /// Returns true while it waits for a decision.
    pub fn is_open(&self) -> bool {
        self.state == "open"
    }
}

/// A held post that gets a case.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldCase {
    /// Database id of the message.
    pub message_id: Id,
    /// Database id of its room.
    pub room_id: Id,
    /// Shown id of the author.
    pub author: String,
    /// Content without padding; the excerpt replaces it.
    pub data: Vec<u8>,
    /// Text that moderators read.
    pub excerpt: String,
    /// Time since when the post waits (Unix seconds).
    pub at: f64,
}

/// A report of one member.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Shown id of the member.
    pub session_id: String,
    /// Time of the report (Unix seconds).
    pub at: f64,
    /// Reason in the member's words.
    pub reason: String,
}

/// A report to note.
#[derive(Debug, Clone, PartialEq)]
pub struct NewReport {
    /// Database id of the message.
    pub message_id: Id,
    /// Database id of its room.
    pub room_id: Id,
    /// Database id of the member.
    pub user_id: Id,
    /// Reason in the member's words.
    pub reason: String,
    /// Shown id of the author.
    pub author: String,
    /// Text that moderators read.
    pub excerpt: String,
    /// Current time (Unix seconds).
    pub now: f64,
    /// Largest number of reports of one member within an hour.
    pub per_hour: i64,
}

/// Result of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filed {
    /// The report is stored; the value is the number of members who reported the message.
    Done(i64),
    /// The member reported the message before; the value is the number of members who reported it.
    Again(i64),
    /// Moderators have already decided that the message stays.
    Decided,
    /// Too many reports; the value is the time until the next is accepted, seconds.
    RateLimited(u64),
}

/// A notice to post or to change.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Case that it shows.
    pub case: Case,
    /// Revision of the case that the notice shows.
    pub revision: i64,
    /// Content of the message itself, while it is there.
    pub data: Option<Vec<u8>>,
    /// Reason why the post is held.
    pub reason: Option<String>,
    /// Time at which the existing notice was posted (Unix seconds).
    pub posted: Option<f64>,
    /// The id that signed the existing notice. After a change of the community's key it is that of the former account.
    pub signed_by: Option<String>,
    /// Token of the room.
    pub room: Option<String>,
}

/// Content of a post of the server's own account.
#[derive(Debug, Clone)]
pub struct OwnPost {
    /// Time of signing and posting (Unix seconds, whole milliseconds).
    pub posted: f64,
    /// Content without its padding.
    pub data: Bytes,
    /// Length of the content with padding, bytes.
    pub data_size: i64,
    /// Signature, 64 bytes.
    pub signature: Bytes,
}

/// A notice as it is posted.
#[derive(Debug, Clone)]
pub struct ShowNotice {
    /// Number of the case.
    pub case_id: Id,
    /// The revision that it shows.
    pub revision: i64,
    /// Database id of the moderators' room.
    pub room_id: Id,
    /// Database id of the server's own account.
    pub user_id: Id,
    /// The id that signs.
    pub posted_as: String,
    /// Current time (Unix seconds).
    pub now: f64,
    /// Content of the notice.
    pub post: OwnPost,
    /// The reaction of the account that shows the decision. Apps show reactions, and not changes of a post.
    pub mark: Option<&'static str>,
    /// A reply to the notice that says who decided.
    pub reply: Option<OwnPost>,
    /// Maximum number of new notices within a minute.
    pub per_minute: i64,
}

/// Result of posting or changing a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The notice is posted or changed.
    Done,
    /// Another process was faster, or the case is gone.
    NotNeeded,
    /// The limit of notices per minute is reached.
    Later,
    /// Another post has the same time; try again.
    Again,
}

/// Change of the message.
#[derive(Debug, Clone)]
pub enum Deed {
    /// It stays as it is.
    Keep,
    /// A held post is shown, as new.
    Show,
    /// It is deleted, together with everything in the [`Erase`].
    Erase(Box<Erase>),
}

/// A decision about a case.
#[derive(Debug, Clone)]
pub struct Decide {
    /// Kind of the case.
    pub kind: CaseKind,
    /// Database id of the message.
    pub message_id: Id,
    /// Database id of its room.
    pub room_id: Id,
    /// New state of the case.
    pub state: &'static str,
    /// Current time (Unix seconds).
    pub now: f64,
    /// Change of the message.
    pub deed: Deed,
    /// Permissions that the author gets in the room: database id, change.
    pub permissions: Option<(Id, PermissionPatch)>,
    /// Decided by a reaction or reply in the moderators' room.
    pub in_room: bool,
    /// The entry of the log; its actor decides.
    pub log: LogEntry,
}

/// Result of a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Decided {
    /// Done; the number in the log.
    Done(Id),
    /// It was decided before: the case as it is.
    Already(Box<Case>),
    /// There is nothing to decide.
    Nothing,
}

/// Numbers of the cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Moderation {
    /// Held posts that wait.
    pub held: i64,
    /// Reported messages that wait.
    pub reported: i64,
}
