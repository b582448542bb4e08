//! The moderators' room: notices of held posts and reports, and the server's own account that posts them.
//!
//! A held post, a report and a decision are rows of the database, each written in one transaction with its cause.
//! Notices follow from those rows: a job compares the shown notices with the rows, and posts or changes those that
//! differ. A process that is killed in between leaves the difference for the next one.

mod account;
mod notices;
mod reports;
mod state;
mod text;

use std::sync::Arc;

use session_protocol::content::Quote;

pub(crate) use account::Account;
pub(crate) use notices::post_notices;
pub(crate) use reports::{by_direct_message, by_reply, file, has_command, takes_reports};
pub(crate) use state::Moderation;

use crate::admin::AdminError;
use crate::admin::decide::{self, DecisionRequest, Judge, Outcome};
use crate::app::App;
use crate::cache::{Room, User};
use crate::clock::unix_now;
use crate::model::verdict::Verdict;
use crate::store::cases::{Case, CaseKind};
use crate::store::{Id, NewPost, StoreResult};

/// The moderators' room, if there is one.
pub(crate) async fn room(app: &App) -> StoreResult<Option<Arc<Room>>> {
    let rooms = app.rooms().await?;
    Ok(rooms.into_iter().find(|room| room.is_for_moderators()))
}

/// Decides as a moderator, and tells plugins and the author.
pub(crate) async fn decide(
    app: &App,
    judge: &User,
    room: &Room,
    (kind, message_id): (CaseKind, Id),
    verdict: Verdict,
    in_room: bool,
) -> Result<Outcome, AdminError> {
    let config = app.config();
    let question = DecisionRequest {
        kind,
        message_id,
        room: &room.full.room,
        verdict,
        in_room,
        now: unix_now(),
    };
    let outcome = decide::decide(app.keeper(&config), Judge::Moderator(judge), question).await?;
    if let Outcome::Done(settled) = &outcome {
        app.guard.tell_settled(&settled.entry, settled.shown.as_ref());
        app.activity.forget(settled.author.user.id);
        let tells = app.guard.book().room(room.id()).rules.tell_rejected == Some(true);
        if tells && kind == CaseKind::Held && verdict == Verdict::Reject {
            let text = "Moderators did not approve your post.";
            whisper(app, room.id(), settled.author.user.id, text).await?;
        }
    }
    app.moderation.wake();
    Ok(outcome)
}

/// Posts a message in a room that only one person sees.
pub(crate) async fn whisper(app: &App, room_id: Id, to: Id, text: &str) -> StoreResult<()> {
    let user = account_user(app).await?;
    let own = app.moderation.account.post(text.to_owned(), Vec::new(), None);
    app.store
        .post(NewPost {
            room_id,
            user_id: user.row.id,
            posted_as: Some(user.name.clone()),
            now: own.posted,
            data: own.data,
            data_size: own.data_size,
            signature: own.signature,
            filtered: false,
            held: None,
            whisper_to: Some(to),
            whisper_mods: false,
            for_moderators_of: None,
            files: Vec::new(),
            files_expire: None,
            windows: Vec::new(),
        })
        .await?;
    Ok(())
}

/// The row of the server's own account.
async fn account_user(app: &App) -> StoreResult<Arc<User>> {
    let id = app.moderation.account.id();
    match app.user(&id).await? {
        Some(user) => Ok(user),
        None => app.enter(&id, unix_now()).await,
    }
}

/// The message of a room that a reply names, and the room whose moderators alone see it.
///
/// Apps name it by the time of the server or by that of the author; both are looked for.
pub(crate) async fn quoted(app: &App, room_id: Id, quote: &Quote) -> StoreResult<Option<(Id, Option<Id>)>> {
    let author = quote.author.as_deref().and_then(|text| text.parse().ok());
    let (Some(author), Some(at)) = (author, quote.id) else {
        return Ok(None);
    };
    let Some(user) = app.resolve(&author, false).await? else {
        return Ok(None);
    };
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
    let seconds = at as f64 / 1000.0;
    let near = app
        .store
        .quoted(room_id, user.row.id, seconds - 0.002, seconds + 0.002)
        .await?;
    if near.is_some() {
        return Ok(near);
    }
    let found = app
        .store
        .sent_at(room_id, user.row.id, at, CLOCKS)
        .await?
        .into_iter()
        .find(|(_, data)| {
            session_protocol::content::Content::decode_bounded(data)
                .is_ok_and(|content| content.sig_timestamp == Some(at))
        });
    let Some((id, _)) = found else { return Ok(None) };
    let view = app.store.message_view(room_id, id).await?;
    Ok(view.map(|view| (id, view.for_moderators_of)))
}

/// Largest difference between the clocks of an author and the server for which a reply is matched, in seconds.
const CLOCKS: f64 = 600.0;

/// Decides about the case of a notice by a reply or a reaction in the moderators' room.
///
/// If that fails, the moderator gets the reason by a whisper.
pub(crate) async fn decide_in_room(
    app: &App,
    moderators: &Room,
    judge: &User,
    case: &Case,
    verdict: Verdict,
) -> Result<(), AdminError> {
    let room = app.world.room_by_id(&app.store, case.room_id).await?;
    let told = match room {
        None => Some("The room no longer exists.".to_owned()),
        Some(room) => match decide(app, judge, &room, (case.kind, case.subject_id), verdict, true).await? {
            Outcome::Done(_) => None,
            Outcome::Already(case) => Some(already(&case)),
            Outcome::Nothing => Some("Nothing is left to decide.".to_owned()),
            Outcome::Forbidden(why) => Some(format!("{why}.")),
        },
    };
    if let Some(text) = told {
        whisper(app, moderators.id(), judge.row.id, &text).await?;
    }
    Ok(())
}

pub(crate) use text::already;
