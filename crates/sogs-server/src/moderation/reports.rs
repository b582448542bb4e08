//! Reports of members: the rules that all ways of reporting share, and the ways that apps have.

use session_protocol::SessionId;
use session_protocol::content::Content;

use super::{quoted, room, text, whisper};
use crate::app::App;
use crate::cache::{Room, User};
use crate::guard::Newcomer;
use crate::http::{Refusal, Viewer, visible_room};
use crate::model::permission::Rights;
use crate::model::verdict::{ReportCommand, reason_of};
use crate::store::cases::{Filed, NewReport};
use crate::store::{Id, StoreResult};

/// Messages that a member may report within an hour, if no rule sets another number.
const PER_HOUR: u32 = 10;
/// Maximum number of direct messages that a person may send to the account within an hour.
const LETTERS_PER_HOUR: i64 = 60;

/// Reports of one member that are taken within an hour.
fn per_hour(app: &App) -> u32 {
    app.guard.book().server.reports_per_hour.unwrap_or(PER_HOUR)
}

/// Returns true if members can report messages of this room: moderators have a room where reports appear, and no rule
/// says otherwise.
pub(crate) async fn takes_reports(app: &App, of: &Room) -> StoreResult<bool> {
    let is_off = app.guard.book().room(of.id()).rules.reports == Some(false);
    Ok(!is_off && per_hour(app) > 0 && !of.is_for_moderators() && room(app).await?.is_some())
}

/// Notes that a member reports a message: the answer for the member, and how many reported it.
///
/// Members report messages that they can read. A report beyond the limit, in raid mode, or of an own message is refused.
pub(crate) async fn file(
    app: &App,
    room_of_message: &Room,
    rights: &Rights,
    member: &User,
    message_id: Id,
    reason: &str,
    now: f64,
) -> Result<(String, i64), Refusal> {
    let per_hour = per_hour(app);
    if !takes_reports(app, room_of_message).await? {
        return Err(Refusal::text(403, "This community does not accept reports here"));
    }
    if !rights.read {
        return Err(Refusal::permission_denied());
    }
    let who = Newcomer {
        room_id: room_of_message.id(),
        token: room_of_message.token(),
        user_id: member.row.id,
        first_seen: member.row.created,
        rights,
        now,
    };
    if let Some(why) = app.guard.before_report(who) {
        return Err(Refusal::text(403, why));
    }
    let room_id = room_of_message.id();
    let view = app.store.message_view(room_id, message_id).await?;
    let viewer = Viewer::new(Some(member), rights);
    let view = view.filter(|view| !view.filtered && viewer.sees(&view.audience()));
    let view = view.ok_or(Refusal::not_found())?;
    if view.user_id == member.row.id || view.user_id == super::account_user(app).await?.row.id {
        return Err(Refusal::text(
            403,
            "You cannot report your own messages, nor those of the server",
        ));
    }
    let query = crate::store::operation::MessageQuery {
        room_id: Some(room_id),
        from: Some(message_id),
        before: Some(message_id + 1),
        standing: true,
        limit: 1,
        ..crate::store::operation::MessageQuery::default()
    };
    let message = app.store.plain_messages(query).await?.pop();
    let message = message.ok_or(Refusal::not_found())?;
    let new = NewReport {
        message_id,
        room_id,
        user_id: member.row.id,
        reason: reason_of(reason),
        author: message.session_id.clone(),
        excerpt: text::excerpt(message.data.as_deref().unwrap_or_default()),
        now,
        per_hour: i64::from(per_hour),
    };
    let filed = app.store.file_report(new).await?;
    app.moderation.wake();
    match filed {
        Filed::Done(count) => Ok(("Thank you. Moderators see your report.".to_owned(), count)),
        Filed::Again(count) => Ok(("You reported this message already.".to_owned(), count)),
        Filed::Decided => Err(Refusal::text(
            409,
            "Moderators decided already that this message stays",
        )),
        Filed::RateLimited(wait) => Err(Refusal::rate_limited(wait)),
    }
}

/// A post that is a command to report the message it answers: `/report they insult people`. Such a post is shown to
/// nobody, and the member gets the answer as a whisper once the post is stored. Returns the answer if the post is one.
pub(crate) async fn by_reply(
    app: &App,
    in_room: &Room,
    rights: &Rights,
    member: &User,
    data: &[u8],
    now: f64,
) -> Result<Option<String>, Refusal> {
    let Some(message) = Content::decode_bounded(data)
        .ok()
        .and_then(|content| content.data_message)
    else {
        return Ok(None);
    };
    let body = message.body.unwrap_or_default();
    let Some(command) = ReportCommand::parse(&body).filter(|_| body.trim_start().starts_with('/')) else {
        return Ok(None);
    };
    if in_room.is_for_moderators() || room(app).await?.is_none() {
        return Ok(None);
    }
    // In raid mode newcomers write nothing, a report included.
    let who = Newcomer {
        room_id: in_room.id(),
        token: in_room.token(),
        user_id: member.row.id,
        first_seen: member.row.created,
        rights,
        now,
    };
    if let Some(why) = app.guard.before_report(who) {
        return Err(Refusal::text(403, why));
    }
    let target = match (command.message_id, &message.quote) {
        (Some(id), _) => Some(id),
        (None, Some(quote)) => quoted(app, in_room.id(), quote).await?.map(|(id, _)| id),
        (None, None) => None,
    };
    let answer = match target {
        Some(id) => {
            let filed = file(app, in_room, rights, member, id, &command.reason, now).await;
            match filed {
                Ok((text, _)) => text,
                Err(refusal) => refusal.words(),
            }
        }
        None => "Reply to the message that you report, with: /report and the reason.".to_owned(),
    };
    Ok(Some(answer))
}

/// Returns true if the content of a post may be a report.
pub(crate) fn has_command(data: &[u8]) -> bool {
    const NAME: &[u8] = b"report";
    let mut rest = data;
    while let Some(at) = rest.iter().position(|byte| *byte == b'/') {
        rest = &rest[at + 1..];
        if rest
            .get(..NAME.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
        {
            return true;
        }
    }
    false
}

/// A direct message to the server's own account: `report 1234 they insult people`. The answer comes as a whisper in the
/// room: an answer by direct message would move the conversation out of the community. A text that is not a command
/// is refused.
pub(crate) async fn by_direct_message(
    app: &App,
    member: &User,
    sender: &SessionId,
    message: &[u8],
    now: f64,
) -> Result<(), Refusal> {
    if app.store.count_dms(member.row.id, now - 3600.0).await? >= LETTERS_PER_HOUR {
        return Err(Refusal::rate_limited(600));
    }
    let usage = || {
        Refusal::text(
            400,
            "Write: report MESSAGE REASON, with the number of or a link to the message",
        )
    };
    let body = app.moderation.account.open(sender, message).ok_or_else(usage)?;
    let command = ReportCommand::parse(&body).ok_or_else(usage)?;
    let message_id = command.message_id.ok_or_else(usage)?;
    let Some(room_id) = app.store.room_of_message(message_id).await? else {
        return Err(Refusal::not_found());
    };
    let room = app.world.room_by_id(&app.store, room_id).await?;
    let room = room.ok_or(Refusal::not_found())?;
    let (room, rights) = visible_room(app, room.token(), Some(member)).await?;
    let (answer, _) = file(app, &room, &rights, member, message_id, &command.reason, now).await?;
    whisper(app, room.id(), member.row.id, &answer).await?;
    Ok(())
}
