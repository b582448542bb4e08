//! Decisions about held posts and reported messages.
//!
//! Decisions are permitted and made here alone, whether they come from a command, from the API or from the
//! moderators' room.

use super::gone::Gone;
use super::keeper::Keeper;
use super::operation::AdminError;
use super::people;
use super::undo_entry::Undo;
use crate::cache::User;
use crate::model::verdict::Verdict;
use crate::store::cases::{Case, CaseKind, Decide, Decided, Deed};
use crate::store::operation::{Erase, HeldRow, LogEntry};
use crate::store::{Id, PermissionPatch, RoomRow, UserFull};

/// Person or operator who decides.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Judge<'a> {
    /// An operator, by this name in the log.
    Operator(&'a str),
    /// A person who must moderate the room.
    Moderator(&'a User),
}

impl Judge<'_> {
    fn actor(&self) -> String {
        match self {
            Self::Operator(name) => (*name).to_owned(),
            Self::Moderator(user) => user.row.session_id.clone(),
        }
    }
}

/// Decision to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecisionRequest<'a> {
    pub(crate) kind: CaseKind,
    pub(crate) message_id: Id,
    pub(crate) room: &'a RoomRow,
    pub(crate) verdict: Verdict,
    /// By a reaction or reply in the moderators' room.
    pub(crate) in_room: bool,
    /// Time of the decision, Unix seconds.
    pub(crate) now: f64,
}

/// Result of a decision.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The decision was carried out.
    Done(Box<Settled>),
    /// The case was decided before.
    Already(Box<Case>),
    /// There is nothing to decide.
    Nothing,
    /// The moderator may not decide this, with the reason.
    Forbidden(&'static str),
}

/// A decision that was made.
#[derive(Debug)]
pub(crate) struct Settled {
    /// Number in the log.
    pub(crate) log: Id,
    /// Entry of the log.
    pub(crate) entry: LogEntry,
    /// Author of the post.
    pub(crate) author: UserFull,
    /// The held post that is shown now.
    pub(crate) shown: Option<HeldRow>,
}

/// Checks the right to decide so about this author in this room; the error is the reason for the person.
///
/// Moderators decide about the rooms that they moderate. They ban neither themselves nor moderators of the server, and
/// moderators of the room only as its admins.
pub(crate) fn permit(
    judge: Judge<'_>,
    room_id: Id,
    author: Option<&UserFull>,
    verdict: Verdict,
) -> Result<(), &'static str> {
    let Judge::Moderator(user) = judge else {
        return Ok(());
    };
    if !user.moderates(room_id) {
        return Err("This needs moderator permissions in the room of the message");
    }
    let (Verdict::Ban(_), Some(author)) = (verdict, author) else {
        return Ok(());
    };
    let own =
        |rows: &[crate::store::OverrideRow]| rows.iter().any(|row| row.room_id == room_id && row.moderator);
    let is_admin = user.row.admin || user.overrides.get(&room_id).is_some_and(|own| own.admin);
    if author.user.id == user.row.id {
        return Err("You cannot ban yourself");
    }
    if author.user.moderator || author.user.admin || (own(&author.overrides) && !is_admin) {
        return Err("This author is a moderator; an admin can dismiss them first");
    }
    Ok(())
}

/// Decides about a held post or a reported message: once, in one transaction, with an entry in the log.
pub(crate) async fn decide(
    keeper: Keeper<'_>,
    judge: Judge<'_>,
    question: DecisionRequest<'_>,
) -> Result<Outcome, AdminError> {
    let DecisionRequest {
        kind,
        message_id,
        room,
        verdict,
        in_room,
        now,
    } = question;
    let store = keeper.store;
    let author = match store.author_of(message_id).await? {
        Some(id) => store.user_by_id(id).await?,
        None => None,
    };
    if let Err(why) = permit(judge, room.id, author.as_ref(), verdict) {
        return Ok(Outcome::Forbidden(why));
    }
    let Some(author) = author else {
        return Ok(Outcome::Nothing);
    };
    let held = match kind {
        CaseKind::Held => store.held_among(vec![message_id]).await?.pop(),
        _ => None,
    };
    if kind == CaseKind::Held && held.is_none() {
        return already(keeper, kind, message_id, room.id).await;
    }
    let mut entry = LogEntry::new(judge.actor(), action(kind, verdict), now)
        .room(&room.token)
        .target(&author.user.session_id)
        .detail(detail(kind, verdict, message_id));
    let Plan {
        deed,
        permissions,
        undo,
    } = plan(keeper, &question, &author, held.as_ref()).await?;
    entry.undo = serde_json::to_value(&undo).ok();
    let deed = match deed {
        Deed::Erase(mut erase) => {
            erase.log = Some(entry.clone());
            Deed::Erase(erase)
        }
        other => other,
    };
    let decided = store
        .decide(Decide {
            kind,
            message_id,
            room_id: room.id,
            state: verdict.state(),
            now,
            deed,
            permissions,
            in_room,
            log: entry.clone(),
        })
        .await?;
    Ok(match decided {
        Decided::Done(log) => Outcome::Done(Box::new(Settled {
            log,
            entry,
            author,
            shown: held.filter(|_| matches!(verdict, Verdict::Approve | Verdict::Trust)),
        })),
        Decided::Already(case) => Outcome::Already(case),
        Decided::Nothing => Outcome::Nothing,
    })
}

/// Changes of a decision, and the plan that undoes them.
struct Plan {
    deed: Deed,
    permissions: Option<(Id, PermissionPatch)>,
    undo: Undo,
}

async fn plan(
    keeper: Keeper<'_>,
    question: &DecisionRequest<'_>,
    author: &UserFull,
    held: Option<&HeldRow>,
) -> Result<Plan, AdminError> {
    let (message_id, room, store) = (question.message_id, question.room, keeper.store);
    let mut permissions = None;
    let (deed, undo) = match (question.verdict, held) {
        (Verdict::Approve | Verdict::Trust, Some(held)) => {
            let mut parts = vec![Undo::Approve {
                message_id,
                reason: held.reason.clone(),
                at: held.at,
            }];
            if question.verdict == Verdict::Trust {
                parts.push(people::permissions_before(store, room.id, author).await?);
                let patch = PermissionPatch {
                    write: Some(Some(true)),
                    keep_scheduled: true,
                    ..PermissionPatch::default()
                };
                permissions = Some((author.user.id, patch));
            }
            (Deed::Show, Undo::several(parts))
        }
        (Verdict::Approve | Verdict::Trust, None) => (Deed::Keep, Undo::ReportKept { message_id }),
        (Verdict::Reject, _) => {
            let gone = Gone::look(keeper, vec![message_id], false).await?;
            (erase(&[message_id], author, question), Undo::Messages { gone })
        }
        (Verdict::Ban(_), _) => {
            let mut messages = store.held_of(author.user.id, room.id).await?;
            messages.push(message_id);
            messages.sort_unstable();
            messages.dedup();
            let gone = Gone::look(keeper, messages.clone(), false).await?;
            let bans = store.bans_of(author.user.id).await?;
            let rights = people::rights(author, Some(std::slice::from_ref(room)), &bans);
            let undo = Undo::Several {
                parts: vec![Undo::Rights {
                    user_id: author.user.id,
                    rights,
                    gone: Gone::default(),
                }],
                gone,
            };
            (erase(&messages, author, question), undo)
        }
    };
    Ok(Plan {
        deed,
        permissions,
        undo,
    })
}

/// Returns the case of a post that does not wait any more.
async fn already(
    keeper: Keeper<'_>,
    kind: CaseKind,
    message_id: Id,
    room_id: Id,
) -> Result<Outcome, AdminError> {
    let case = keeper.store.case(kind, message_id).await?;
    let case = case.filter(|case| case.room_id == room_id && !case.is_open());
    Ok(case.map_or(Outcome::Nothing, |case| Outcome::Already(Box::new(case))))
}

/// Deletes messages of a room; a ban keeps the author from it.
fn erase(messages: &[Id], author: &UserFull, question: &DecisionRequest<'_>) -> Deed {
    let room_id = question.room.id;
    let (bans, until) = match question.verdict {
        Verdict::Ban(seconds) => (
            vec![(author.user.id, Some(room_id))],
            seconds.map(|seconds| question.now + seconds),
        ),
        _ => (Vec::new(), None),
    };
    Deed::Erase(Box::new(Erase {
        now: question.now,
        messages: messages.iter().map(|id| (room_id, *id)).collect(),
        bans,
        until,
        ..Erase::default()
    }))
}

fn action(kind: CaseKind, verdict: Verdict) -> &'static str {
    match (kind, verdict) {
        (_, Verdict::Ban(_)) => "ban",
        (CaseKind::Held, Verdict::Reject) => "reject",
        (CaseKind::Held, _) => "approve",
        (_, Verdict::Reject) => "report_delete",
        _ => "report_keep",
    }
}

fn detail(kind: CaseKind, verdict: Verdict, message_id: Id) -> String {
    let what = match kind {
        CaseKind::Held => "held message",
        _ => "reported message",
    };
    match verdict {
        Verdict::Approve if kind == CaseKind::Held => format!("message {message_id}"),
        Verdict::Trust => format!("message {message_id}; the author's posts no longer need approval"),
        Verdict::Approve => format!("reported message {message_id} stays"),
        Verdict::Reject | Verdict::Ban(None) => format!("{what} {message_id}"),
        Verdict::Ban(Some(seconds)) => format!("{what} {message_id}, for {seconds} seconds"),
    }
}
