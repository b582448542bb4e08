//! Messages and files: listing, deleting, approving.

use super::context::{Done, OperationContext};
use super::decide::{self, DecisionRequest, Judge, Outcome};
use super::gone::{self, Extent, Gone, too_many};
use super::names;
use super::operation::{AdminError, Answer, RoomScope};
use super::undo_entry::Undo;
use super::words::{count, one_token, place_words, time};
use crate::guard::inspect;
use crate::model::verdict::Verdict;
use crate::store::Id;
use crate::store::cases::CaseKind;
use crate::store::operation::{Erase, MessageQuery, PlainMessage};

/// Messages read at a time when searching.
const PAGE: i64 = 500;

fn shown(message: &PlainMessage) -> (String, &'static str) {
    let text = message
        .data
        .as_deref()
        .map(|data| inspect(data).body)
        .unwrap_or_default();
    let mark = match (&message.data, message.filtered) {
        (None, _) => " [deleted]",
        (_, true) => " [hidden]",
        _ => "",
    };
    (text, mark)
}

/// Returns the beginning of a text on one line.
fn one_line(text: &str) -> String {
    let begin: String = text.chars().take(120).collect();
    let mut line = ackpost_platform::text::one_line(&begin);
    if text.chars().nth(120).is_some() {
        line.push('…');
    }
    line
}

/// Selection of messages of a room; `None` sets no limit.
pub(super) struct Chosen {
    pub(super) since: Option<f64>,
    pub(super) until: Option<f64>,
    pub(super) ids: Option<(Id, Id)>,
    pub(super) before: Option<Id>,
}

pub(super) async fn list(
    act: &OperationContext<'_>,
    room: &str,
    limit: u32,
    chosen: Chosen,
    user: Option<&str>,
) -> Done {
    let room = act.room(room).await?;
    let user_id = match user {
        Some(user) => Some(act.known(user).await?.user.id),
        None => None,
    };
    let last = chosen.ids.map(|(_, last)| last.saturating_add(1));
    let query = MessageQuery {
        room_id: Some(room.id),
        user_id,
        before: match (chosen.before, last) {
            (Some(before), Some(last)) => Some(before.min(last)),
            (before, last) => before.or(last),
        },
        from: chosen.ids.map(|(first, _)| first),
        since: chosen.since,
        until: chosen.until,
        standing: false,
        limit: i64::from(limit.min(10_000)),
    };
    let messages = act.admin.store.plain_messages(query).await?;
    let people = messages
        .iter()
        .map(|message| message.session_id.clone())
        .collect();
    let known = names::by_id(&act.admin.store, &act.admin.key, people).await?;
    let mut lines = Vec::with_capacity(messages.len());
    let mut data = Vec::with_capacity(messages.len());
    for message in &messages {
        let (text, mark) = shown(message);
        let own = message.data.as_deref().map(names::name_in).unwrap_or_default();
        let name = Some(own)
            .filter(|name| !name.is_empty())
            .or_else(|| known.get(&message.session_id).cloned());
        lines.push(format!(
            "{:>8}  {}  {}  {}{mark}  {}",
            message.id,
            time(message.posted),
            message.session_id,
            name.as_deref().unwrap_or("-"),
            one_line(&text)
        ));
        data.push(serde_json::json!({
            "id": message.id, "session_id": message.session_id, "name": name, "posted": message.posted, "text": text,
            "deleted": message.data.is_none(), "hidden": message.filtered,
        }));
    }
    Ok(Answer::show(
        serde_json::json!({ "room": room.token, "messages": data }),
        lines,
    ))
}

/// Deletes messages with everything that belongs to them and writes the log, in one transaction; returns their
/// number.
async fn delete_some(
    act: &OperationContext<'_>,
    found: &[(Id, Id)],
    action: &str,
    room: Option<&str>,
    detail: String,
) -> Result<(u64, Option<Id>), AdminError> {
    too_many(found.len())?;
    let number = found.len() as u64;
    if act.dry_run || found.is_empty() {
        return Ok((number, None));
    }
    let ids = found.iter().map(|(_, id)| *id).collect();
    let gone = Gone::look(act.admin.keeper(), ids, false).await?;
    let target = if let [(_, one)] = found {
        one.to_string()
    } else {
        count(number, "message")
    };
    let plan = Undo::Messages { gone };
    let erase = Erase {
        now: act.now,
        messages: found.to_vec(),
        log: Some(act.entry(action, room, &target, detail, Some(&plan))),
        ..Erase::default()
    };
    let erased = act.erase(erase).await?;
    Ok((erased.messages.len() as u64, erased.log))
}

/// Returns the words that report deleted messages; with `--dry-run`, those that would be deleted.
fn deleted(act: &OperationContext<'_>) -> &'static str {
    if act.dry_run {
        " would be deleted"
    } else {
        " deleted"
    }
}

pub(super) async fn delete(
    act: &OperationContext<'_>,
    room: &str,
    ids: Vec<i64>,
    ranges: &[(i64, i64)],
) -> Done {
    let room = act.room(room).await?;
    let mut found = Vec::new();
    let in_room = |before: i64, from: i64, limit: i64| MessageQuery {
        room_id: Some(room.id),
        before: Some(before),
        from: Some(from),
        standing: true,
        limit,
        ..MessageQuery::default()
    };
    for id in ids {
        match act
            .admin
            .store
            .plain_messages(in_room(id.saturating_add(1), id, 1))
            .await?
            .first()
        {
            Some(message) if message.id == id => found.push((room.id, id)),
            _ => {
                return Err(AdminError::not_found(
                    format!("room {} has no message {id}", room.token),
                    "`ackpost server message list` shows the numbers; nothing was deleted",
                ));
            }
        }
    }
    for (first, last) in ranges {
        let mut before = last.saturating_add(1);
        loop {
            let page = act
                .admin
                .store
                .plain_messages(in_room(before, *first, PAGE))
                .await?;
            let Some(oldest) = page.last() else { break };
            before = oldest.id;
            found.extend(page.iter().map(|message| (room.id, message.id)));
            too_many(found.len())?;
        }
    }
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        return Err(AdminError::not_found(
            format!("room {} has no message with such a number", room.token),
            "`ackpost server message list` shows the numbers",
        ));
    }
    let (number, undo) = delete_some(
        act,
        &found,
        "message_delete",
        Some(&room.token),
        format!("in {}", room.token),
    )
    .await?;
    let data = serde_json::json!({ "room": room.token, "deleted": number });
    Ok(Answer {
        changed: number,
        undo,
        ..Answer::show(
            data,
            vec![format!("{}{}", count(number, "message"), deleted(act))],
        )
    })
}

pub(super) async fn delete_all(
    act: &OperationContext<'_>,
    user: &str,
    place: &RoomScope,
    reactions: bool,
    (since, until): (Option<f64>, Option<f64>),
) -> Done {
    let people = act.all_known(user).await?;
    let rooms = match act.rooms(place).await? {
        Some(rooms) => rooms,
        None => act.admin.store.rooms().await?,
    };
    let extent = Extent {
        since: since.unwrap_or(f64::MIN),
        until: until.unwrap_or(f64::MAX),
        ..Extent::rooms(&rooms)
    };
    let ids: Vec<Id> = people.iter().map(|person| person.user.id).collect();
    let trace = gone::trace(act.admin.keeper(), &ids, &extent, reactions, act.dry_run).await?;
    let (messages, taken) = (trace.gone.messages.len() as u64, trace.given);
    let whose = match &people[..] {
        [one] => one.user.session_id.clone(),
        _ => format!("{} people", people.len()),
    };
    let mut line = format!(
        "{} of {whose}{} in {}",
        count(messages, "message"),
        deleted(act),
        place_words(Some(&rooms))
    );
    if reactions {
        line.push_str(", ");
        line.push_str(&count(taken, "reaction"));
    }
    let mut undo = None;
    if messages + taken + trace.files > 0 && !act.dry_run {
        let plan = Undo::Messages { gone: trace.gone };
        let room = one_token(Some(&rooms));
        let entry = act.entry("message_delete_all", room, &whose, line.clone(), Some(&plan));
        let erase = Erase {
            now: act.now,
            log: Some(entry),
            ..trace.erase
        };
        undo = act.erase(erase).await?.log;
    }
    let data = serde_json::json!({ "session_id": whose, "deleted": messages, "reactions": taken });
    Ok(Answer {
        changed: messages + taken,
        undo,
        ..Answer::show(data, vec![line])
    })
}

pub(super) async fn delete_containing(
    act: &OperationContext<'_>,
    place: &RoomScope,
    text: &str,
    (since, until): (Option<f64>, Option<f64>),
) -> Done {
    let phrase = text.to_lowercase();
    if phrase.trim().chars().count() < 3 {
        return Err(AdminError::usage(
            "the phrase must have at least three characters",
            "write a longer phrase: a short one matches too many messages",
        ));
    }
    let rooms = match act.rooms(place).await? {
        Some(rooms) => rooms,
        None => act.admin.store.rooms().await?,
    };
    let mut found = Vec::new();
    let mut lines = Vec::new();
    for room in &rooms {
        let mut before = None;
        loop {
            let query = MessageQuery {
                room_id: Some(room.id),
                before,
                since,
                until,
                standing: true,
                limit: PAGE,
                ..MessageQuery::default()
            };
            let page = act.admin.store.plain_messages(query).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            for message in &page {
                let (body, _) = shown(message);
                if body.to_lowercase().contains(&phrase) {
                    found.push((room.id, message.id));
                    if lines.len() < 20 {
                        lines.push(format!("{} {}: {}", room.token, message.id, one_line(&body)));
                    }
                }
            }
        }
    }
    let (number, undo) = delete_some(
        act,
        &found,
        "message_delete_containing",
        one_token(Some(&rooms)),
        format!("containing '{}'", one_line(text)),
    )
    .await?;
    lines.push(format!("{}{}", count(number, "message"), deleted(act)));
    Ok(Answer {
        changed: number,
        undo,
        ..Answer::show(serde_json::json!({ "deleted": number }), lines)
    })
}

pub(super) async fn held(act: &OperationContext<'_>, room: Option<&str>) -> Done {
    let room = act.maybe_room(room).await?;
    let rows = act.admin.store.held(room.map(|room| room.id)).await?;
    let mut lines = Vec::with_capacity(rows.len());
    let mut data = Vec::with_capacity(rows.len());
    for row in &rows {
        let text = row
            .data
            .as_deref()
            .map(|data| inspect(data).body)
            .unwrap_or_default();
        let name = row.data.as_deref().map(names::name_in).unwrap_or_default();
        lines.push(format!(
            "{:>8}  {}  {}  {}  {}  ({}) {}",
            row.message_id,
            time(row.at),
            row.token,
            row.session_id,
            if name.is_empty() { "-" } else { &name },
            row.reason,
            one_line(&text)
        ));
        data.push(serde_json::json!({
            "id": row.message_id, "room": row.token, "session_id": row.session_id, "name": name, "at": row.at, "reason": row.reason, "text": text,
        }));
    }
    Ok(Answer::show(serde_json::json!({ "held": data }), lines))
}

/// Decides about a held post, as an operator.
pub(super) async fn decide(act: &OperationContext<'_>, id: Id, verdict: Verdict) -> Done {
    let gone = || {
        AdminError::not_found(
            format!("no post {id} waits for approval"),
            "`ackpost server message held` lists them",
        )
    };
    let row = act
        .admin
        .store
        .held_among(vec![id])
        .await?
        .pop()
        .ok_or_else(gone)?;
    let mut undo = None;
    if !act.dry_run {
        let room = act.room(&row.token).await?;
        let question = DecisionRequest {
            kind: CaseKind::Held,
            message_id: id,
            room: &room,
            verdict,
            in_room: false,
            now: act.now,
        };
        match decide::decide(act.admin.keeper(), Judge::Operator(&act.actor), question).await? {
            Outcome::Done(settled) => {
                undo = Some(settled.log);
                if let Some(guard) = &act.admin.guard {
                    guard.tell_settled(&settled.entry, settled.shown.as_ref());
                }
            }
            Outcome::Already(_) | Outcome::Nothing | Outcome::Forbidden(_) => return Err(gone()),
        }
    }
    let what = match verdict {
        Verdict::Approve | Verdict::Trust => format!("is shown in {}", row.token),
        Verdict::Reject | Verdict::Ban(_) => "is rejected".to_owned(),
    };
    let data = serde_json::json!({ "id": id, "room": row.token, "session_id": row.session_id });
    let lines = vec![format!("message {id} of {} {what}", row.session_id)];
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(data, lines)
    })
}

pub(super) async fn files(act: &OperationContext<'_>, room: &str, limit: u32) -> Done {
    let room = act.room(room).await?;
    let rows = act
        .admin
        .store
        .room_files(room.id, i64::from(limit.min(10_000)))
        .await?;
    let mut lines = Vec::with_capacity(rows.len());
    let mut data = Vec::with_capacity(rows.len());
    for row in &rows {
        let until = row
            .expiry
            .map_or_else(|| "permanently".to_owned(), |at| format!("until {}", time(at)));
        let name = row.filename.as_deref().unwrap_or("-");
        lines.push(format!(
            "{:>8}  {:>10} bytes  {}  {until}  {}",
            row.id,
            row.size,
            time(row.uploaded),
            one_line(name)
        ));
        data.push(serde_json::json!({
            "id": row.id, "size": row.size, "uploaded": row.uploaded, "expiry": row.expiry, "filename": row.filename, "message": row.message_id,
        }));
    }
    Ok(Answer::show(
        serde_json::json!({ "room": room.token, "files": data }),
        lines,
    ))
}

pub(super) async fn file_delete(act: &OperationContext<'_>, id: i64) -> Done {
    let Some(file) = act.admin.store.any_file(id).await? else {
        return Err(AdminError::not_found(
            format!("file {id} does not exist"),
            "`ackpost server file list` shows the numbers",
        ));
    };
    let name = file.filename.clone().unwrap_or_else(|| "-".to_owned());
    let detail = format!("{} ({} bytes)", one_line(&name), file.size);
    let mut undo = None;
    if !act.dry_run {
        super::keeper::keep(act.admin.keeper(), &file.content).await?;
        let plan = Undo::File { file };
        let entry = act.entry("file_delete", None, &id.to_string(), detail.clone(), Some(&plan));
        let deleted = act.admin.store.set_file_expiry(id, Some(0.0));
        undo = act
            .logged(deleted, move |is_gone| is_gone.then(|| entry.clone()))
            .await?
            .1;
    }
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(
            serde_json::json!({ "id": id }),
            vec![format!(
                "file {id} {detail} {}",
                if act.dry_run {
                    "would be deleted"
                } else {
                    "is deleted"
                }
            )],
        )
    })
}
