//! Every endpoint of a community server as a typed [`Call`].
//!
//! The methods of [`crate::Server`], [`crate::Room`] and [`crate::Inbox`] run these one by one; a
//! [`crate::Batch`] takes several at once.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::{Map, Value, json};
use session_protocol::encoding::b64;
use session_protocol::message::Verifier;
use session_protocol::{RoomToken, SessionId};

use crate::call::{
    AuthNeed, Call, LIST_ANSWER_BYTES, ROOM_ANSWER_BYTES, SMALL_ANSWER_BYTES, check, check_whole,
    decode_json, is_object, not_sogs,
};
use crate::call_types::{Download, Edited, ListOptions, MAX_LIMIT, Posted, RoomUpdate};
use crate::error::SogsError;
use crate::listing::{self, Cut};
use crate::post::PreparedPost;
use crate::proof::Expected;
use crate::transport::Answer;
use crate::types::{
    Capabilities, Deleted, DeletedEverywhere, FileId, FuturePermission, InboxItem, InboxReceipt, InfoUpdates,
    Message, ModeratorsChanged, PermissionChange, Permissions, PollInfo, RawRow, Reacted, ReactionsRemoved,
    RoleChange, RoomInfo, Row, Scheduled, Scope, Unpinned, Unreacted, Withheld,
};

/// Characters that are not escaped in an extended file name (RFC 5987 attr-char).
const FILENAME_SET: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `GET /capabilities`. Every community server has it: a 404 is the answer of something else, such as a plain web server.
pub fn capabilities() -> Call<Capabilities> {
    Call::new("GET", "/capabilities", AuthNeed::Anonymous, |answer| {
        if answer.status == 404 {
            return Err(not_sogs(answer, ""));
        }
        decode_json(answer)
    })
    .at_most(SMALL_ANSWER_BYTES)
}

/// `GET /capabilities?required=…`: what the server can do, and what of `required` it cannot.
pub fn capabilities_required(required: &[&str]) -> Call<Capabilities> {
    let path = format!("/capabilities?required={}", required.join(","));
    Call::new("GET", path, AuthNeed::Anonymous, |answer| {
        if answer.status == 412 {
            return serde_json::from_slice(&answer.body)
                .map_err(|error| not_sogs(answer, &error.to_string()));
        }
        decode_json(answer)
    })
    .at_most(SMALL_ANSWER_BYTES)
}

/// Most rooms that are taken from a list.
const MAX_ROOMS: usize = 10_000;

/// `GET /rooms`: the rooms this account may see.
pub fn rooms() -> Call<Vec<RoomInfo>> {
    Call::new("GET", "/rooms", AuthNeed::Optional, |answer| {
        check_whole(answer)?;
        let cut = Cut {
            limit: MAX_ROOMS,
            key: |_| 0,
            descending: false,
        };
        Ok(listing::read(answer, cut)?.items)
    })
    .at_most(LIST_ANSWER_BYTES)
}

/// `GET /room/T`.
pub fn room(token: &RoomToken) -> Call<RoomInfo> {
    Call::for_json("GET", format!("/room/{token}"), AuthNeed::Optional).at_most(ROOM_ANSWER_BYTES)
}

/// `GET /room/T/pollInfo/N`; the answer has the whole room when its counter is not `info_updates`.
pub fn poll_info(token: &RoomToken, info_updates: i64) -> Call<PollInfo> {
    Call::for_json(
        "GET",
        format!("/room/{token}/pollInfo/{info_updates}"),
        AuthNeed::Optional,
    )
    .at_most(ROOM_ANSWER_BYTES)
}

/// `PUT /room/T`.
pub fn update_room(token: &RoomToken, update: &RoomUpdate) -> Call<InfoUpdates> {
    Call::for_json("PUT", format!("/room/{token}"), AuthNeed::Required).json(update.to_json())
}

/// Messages as one answer lists them.
#[derive(Debug)]
pub(crate) struct Page {
    /// Newest first, at most as many as were asked for.
    pub(crate) messages: Vec<Message>,
    /// The server listed more than one message, oldest first.
    pub(crate) oldest_first: bool,
    /// Number of messages that the server listed.
    pub(crate) total: usize,
}

/// Reads the rows of an answer; invalid rows are left out.
fn rows<T>(
    answer: &Answer,
    cut: Cut<RawRow>,
    convert: fn(RawRow, &mut Verifier) -> Result<T, crate::types::RowError>,
) -> Result<(Vec<T>, bool, usize), SogsError> {
    check_whole(answer)?;
    let list = listing::read(answer, cut)?;
    let mut verifier = Verifier::new();
    let mut bad = None;
    let mut rows = Vec::with_capacity(list.items.len());
    for raw in list.items {
        let id = raw.id;
        match convert(raw, &mut verifier) {
            Ok(row) => rows.push(row),
            Err(error) => {
                tracing::warn!(id, %error, "a row cannot be read and is left out");
                bad = Some(error);
            }
        }
    }
    match bad {
        Some(error) if rows.is_empty() => Err(not_sogs(answer, &error.to_string())),
        _ => Ok((rows, list.ascending, list.total)),
    }
}

fn limit_of(options: ListOptions) -> usize {
    options.limit.unwrap_or(MAX_LIMIT) as usize
}

/// Reads messages newest first, whatever their order in the answer; those from `below` on are left out.
fn page(answer: &Answer, limit: usize, below: u64) -> Result<Page, SogsError> {
    let cut = Cut {
        limit,
        key: |row: &RawRow| i128::from(row.id),
        descending: true,
    };
    let (mut messages, oldest_first, total) = rows(answer, cut, Message::read)?;
    messages.retain(|message| message.id < below);
    Ok(Page {
        messages,
        oldest_first,
        total,
    })
}

/// `GET /room/T/messages/recent`, with what tells whether the server means the oldest ones.
pub(crate) fn recent_page(token: &RoomToken, options: ListOptions) -> Call<Page> {
    Call::new(
        "GET",
        format!("/room/{token}/messages/recent{}", options.query(false)),
        AuthNeed::Optional,
        move |answer| page(answer, limit_of(options), u64::MAX),
    )
}

/// `GET /room/T/messages/recent`: newest first, at most `limit`.
pub fn recent(token: &RoomToken, options: ListOptions) -> Call<Vec<Message>> {
    recent_page(token, options).map(|page| page.messages)
}

/// `GET /room/T/messages/before/ID`: older than `id`, newest first, at most `limit`.
pub fn before(token: &RoomToken, id: u64, options: ListOptions) -> Call<Vec<Message>> {
    Call::new(
        "GET",
        format!("/room/{token}/messages/before/{id}{}", options.query(false)),
        AuthNeed::Optional,
        move |answer| Ok(page(answer, limit_of(options), id)?.messages),
    )
}

/// `GET /room/T/messages/since/SEQNO`: what changed after `seqno`, in order, at most `limit`; with reaction-only rows.
pub fn since(token: &RoomToken, seqno: i64, options: ListOptions) -> Call<Vec<Row>> {
    Call::new(
        "GET",
        format!("/room/{token}/messages/since/{seqno}{}", options.query(true)),
        AuthNeed::Optional,
        move |answer| {
            let cut = Cut {
                limit: limit_of(options),
                key: |row: &RawRow| i128::from(row.seqno),
                descending: false,
            };
            Ok(rows(answer, cut, Row::read)?.0)
        },
    )
}

fn one_message(answer: &Answer) -> Result<Message, SogsError> {
    let raw: RawRow = decode_json(answer)?;
    Message::try_from(raw).map_err(|error| not_sogs(answer, &error.to_string()))
}

/// `GET /room/T/message/ID`.
pub fn message(token: &RoomToken, id: u64) -> Call<Message> {
    Call::new(
        "GET",
        format!("/room/{token}/message/{id}"),
        AuthNeed::Optional,
        one_message,
    )
}

/// `POST /room/T/message`. Posted is what the server answers with 201, a number, and our own message.
///
/// # Errors
/// [`Unproven`](crate::error::Cause::Unproven) when the server accepts the message with an answer that does not show it.
pub fn post(token: &RoomToken, post: &PreparedPost) -> Call<Posted> {
    let expected = Expected::of(post);
    Call::new(
        "POST",
        format!("/room/{token}/message"),
        AuthNeed::Required,
        move |answer| expected.posted(answer),
    )
    .json(post.to_json())
    .message_of(post.data.len())
    .author(post.author)
}

/// `PUT /room/T/message/ID`: replaces one's own message.
pub fn edit(token: &RoomToken, id: u64, post: &PreparedPost) -> Call<Edited> {
    Call::new(
        "PUT",
        format!("/room/{token}/message/{id}"),
        AuthNeed::Required,
        |answer| {
            done(answer)?;
            let words = serde_json::from_slice(&answer.body).unwrap_or_default();
            Ok(Edited {
                withheld: Withheld::of(&words),
                whole: true,
            })
        },
    )
    .json(post.to_edit_json())
    .message_of(post.data.len())
    .author(post.author)
}

/// `DELETE /room/T/message/ID`.
pub fn delete(token: &RoomToken, id: u64) -> Call<()> {
    Call::new(
        "DELETE",
        format!("/room/{token}/message/{id}"),
        AuthNeed::Required,
        done,
    )
    .at_most(SMALL_ANSWER_BYTES)
}

/// `DELETE /room/T/all/SID`: all of a user's messages in the room.
pub fn delete_all(token: &RoomToken, user: &SessionId) -> Call<()> {
    Call::new(
        "DELETE",
        format!("/room/{token}/all/{user}"),
        AuthNeed::Required,
        done,
    )
    .at_most(SMALL_ANSWER_BYTES)
}

/// `DELETE /rooms/all/SID`: all of a user's messages in all rooms where we may.
pub fn delete_everywhere(user: &SessionId) -> Call<DeletedEverywhere> {
    Call::for_json("DELETE", format!("/rooms/all/{user}"), AuthNeed::Required).at_most(ROOM_ANSWER_BYTES)
}

/// `POST /room/T/pin/ID`.
pub fn pin(token: &RoomToken, id: u64) -> Call<InfoUpdates> {
    Call::for_json("POST", format!("/room/{token}/pin/{id}"), AuthNeed::Required).json(json!({}))
}

/// `POST /room/T/unpin/ID`.
pub fn unpin(token: &RoomToken, id: u64) -> Call<Unpinned> {
    Call::for_json("POST", format!("/room/{token}/unpin/{id}"), AuthNeed::Required).json(json!({}))
}

/// `POST /room/T/unpin/all`.
pub fn unpin_all(token: &RoomToken) -> Call<Unpinned> {
    Call::for_json("POST", format!("/room/{token}/unpin/all"), AuthNeed::Required).json(json!({}))
}

/// `PUT /room/T/reaction/ID/EMOJI`.
pub fn react(token: &RoomToken, id: u64, emoji: &str) -> Call<Reacted> {
    Call::for_json(
        "PUT",
        format!("/room/{token}/reaction/{id}/{emoji}"),
        AuthNeed::Required,
    )
    .json(json!({}))
}

/// `DELETE /room/T/reaction/ID/EMOJI`: takes one's own reaction back.
pub fn unreact(token: &RoomToken, id: u64, emoji: &str) -> Call<Unreacted> {
    Call::for_json(
        "DELETE",
        format!("/room/{token}/reaction/{id}/{emoji}"),
        AuthNeed::Required,
    )
}

/// `DELETE /room/T/reactions/ID[/EMOJI]`: removes everybody's, for moderators.
pub fn clear_reactions(token: &RoomToken, id: u64, emoji: Option<&str>) -> Call<ReactionsRemoved> {
    let path = match emoji {
        Some(emoji) => format!("/room/{token}/reactions/{id}/{emoji}"),
        None => format!("/room/{token}/reactions/{id}"),
    };
    Call::for_json("DELETE", path, AuthNeed::Required)
}

/// `GET /room/T/reactors/ID/EMOJI`: people who reacted, with the time (unix seconds), oldest first.
pub fn reactors(token: &RoomToken, id: u64, emoji: &str, limit: Option<u32>) -> Call<Vec<(SessionId, f64)>> {
    let query = limit.map(|limit| format!("?limit={limit}")).unwrap_or_default();
    Call::for_json(
        "GET",
        format!("/room/{token}/reactors/{id}/{emoji}{query}"),
        AuthNeed::Optional,
    )
    .at_most(LIST_ANSWER_BYTES)
}

/// `POST /room/T/file`. Unattached files expire after an hour.
pub fn upload(token: &RoomToken, name: Option<&str>, bytes: Bytes) -> Call<FileId> {
    let call = Call::for_json("POST", format!("/room/{token}/file"), AuthNeed::Required)
        .bytes(bytes)
        .long();
    let call = call.header("content-type", "application/octet-stream".to_owned());
    match name {
        None => call,
        Some(name) => {
            // Lower-case escapes, as the reference's own client writes them.
            let name = percent_encode(name.as_bytes(), FILENAME_SET).to_string();
            let name = lower_escapes(&name);
            call.header(
                "content-disposition",
                format!("attachment; filename*=UTF-8''{name}"),
            )
        }
    }
}

fn lower_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut escape = 0;
    for c in text.chars() {
        out.push(if escape > 0 { c.to_ascii_lowercase() } else { c });
        escape = if c == '%' {
            2
        } else {
            escape - i32::from(escape > 0)
        };
    }
    out
}

/// `GET /room/T/file/ID`.
pub fn download(token: &RoomToken, id: u64) -> Call<Download> {
    Call::new(
        "GET",
        format!("/room/{token}/file/{id}"),
        AuthNeed::Optional,
        |answer| {
            check(answer)?;
            if answer.truncated {
                let limit = answer.body.len();
                return Err(SogsError::new(crate::error::Cause::AnswerTooLong { limit }));
            }
            Ok(Download::from_answer(answer))
        },
    )
    .long()
}

/// `POST /user/SID/moderator`.
pub fn set_role(user: &SessionId, scope: &Scope, change: RoleChange) -> Call<ModeratorsChanged> {
    let mut body = Map::new();
    scope.write_to(&mut body);
    for (key, value) in [
        ("moderator", change.moderator),
        ("admin", change.admin),
        ("visible", change.visible),
    ] {
        if let Some(value) = value {
            body.insert(key.to_owned(), value.into());
        }
    }
    Call::for_json("POST", format!("/user/{user}/moderator"), AuthNeed::Required)
        .json(Value::Object(body))
        .at_most(ROOM_ANSWER_BYTES)
}

/// `POST /user/SID/ban`; `timeout_secs` lifts the ban again.
pub fn ban(user: &SessionId, scope: &Scope, timeout_secs: Option<f64>) -> Call<()> {
    let mut body = Map::new();
    scope.write_to(&mut body);
    if let Some(timeout) = timeout_secs {
        body.insert("timeout".to_owned(), seconds(timeout));
    }
    Call::new("POST", format!("/user/{user}/ban"), AuthNeed::Required, done)
        .json(Value::Object(body))
        .at_most(SMALL_ANSWER_BYTES)
}

/// `POST /user/SID/unban`.
pub fn unban(user: &SessionId, scope: &Scope) -> Call<()> {
    let mut body = Map::new();
    scope.write_to(&mut body);
    Call::new("POST", format!("/user/{user}/unban"), AuthNeed::Required, done)
        .json(Value::Object(body))
        .at_most(SMALL_ANSWER_BYTES)
}

/// `GET /room/T/permissions`: everybody whose permissions differ from the defaults.
pub fn permissions(token: &RoomToken) -> Call<std::collections::BTreeMap<SessionId, Permissions>> {
    Call::for_json("GET", format!("/room/{token}/permissions"), AuthNeed::Required).at_most(LIST_ANSWER_BYTES)
}

/// `GET /room/T/permissions/SID`.
pub fn permissions_of(token: &RoomToken, user: &SessionId) -> Call<Permissions> {
    Call::for_json(
        "GET",
        format!("/room/{token}/permissions/{user}"),
        AuthNeed::Required,
    )
}

/// `POST /room/T/permissions/SID`.
pub fn set_permissions(token: &RoomToken, user: &SessionId, change: PermissionChange) -> Call<Permissions> {
    let body = serde_json::to_value(change).expect("flags are JSON");
    Call::for_json(
        "POST",
        format!("/room/{token}/permissions/{user}"),
        AuthNeed::Required,
    )
    .json(body)
}

/// `GET /room/T/futurePermissions`.
pub fn future_permissions(token: &RoomToken) -> Call<Scheduled> {
    Call::for_json(
        "GET",
        format!("/room/{token}/futurePermissions"),
        AuthNeed::Required,
    )
    .at_most(LIST_ANSWER_BYTES)
}

/// `GET /room/T/futurePermissions/SID`.
pub fn future_permissions_of(token: &RoomToken, user: &SessionId) -> Call<Vec<FuturePermission>> {
    Call::for_json(
        "GET",
        format!("/room/{token}/futurePermissions/{user}"),
        AuthNeed::Required,
    )
    .at_most(LIST_ANSWER_BYTES)
}

/// `POST /room/T/futurePermissions/SID`: a change `in_secs` from now (0 to a billion).
pub fn schedule_permissions(
    token: &RoomToken,
    user: &SessionId,
    read: Option<bool>,
    write: Option<bool>,
    upload: Option<bool>,
    in_secs: f64,
) -> Call<Vec<FuturePermission>> {
    let mut body = Map::new();
    for (key, value) in [("read", read), ("write", write), ("upload", upload)] {
        if let Some(value) = value {
            body.insert(key.to_owned(), value.into());
        }
    }
    body.insert("in".to_owned(), seconds(in_secs));
    Call::for_json(
        "POST",
        format!("/room/{token}/futurePermissions/{user}"),
        AuthNeed::Required,
    )
    .json(Value::Object(body))
}

/// `POST /inbox/SID`: puts an encrypted message into a blinded id's inbox.
pub fn send_direct(recipient: &SessionId, message: &[u8]) -> Call<InboxReceipt> {
    Call::for_json("POST", format!("/inbox/{recipient}"), AuthNeed::Required)
        .json(json!({ "message": b64(message) }))
}

/// Choice between received and sent direct messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectBox {
    /// Messages that others sent us.
    Inbox,
    /// Messages that we sent.
    Outbox,
}

/// `GET /inbox[/since/ID]` and the same for the outbox: oldest first, at most 256.
pub fn direct_messages(which: DirectBox, since: Option<u64>, limit: Option<u32>) -> Call<Vec<InboxItem>> {
    let most = limit.unwrap_or(MAX_LIMIT) as usize;
    let name = match which {
        DirectBox::Inbox => "inbox",
        DirectBox::Outbox => "outbox",
    };
    let since = since.map(|id| format!("/since/{id}")).unwrap_or_default();
    let query = limit.map(|limit| format!("?limit={limit}")).unwrap_or_default();
    Call::new(
        "GET",
        format!("/{name}{since}{query}"),
        AuthNeed::Required,
        move |answer| {
            // Nothing newer is said in two ways.
            if answer.status == 304 {
                return Ok(Vec::new());
            }
            check_whole(answer)?;
            let cut = Cut {
                limit: most,
                key: |item: &InboxItem| i128::from(item.id),
                descending: false,
            };
            Ok(listing::read(answer, cut)?.items)
        },
    )
}

/// `DELETE /inbox`.
pub fn clear_inbox() -> Call<Deleted> {
    Call::for_json("DELETE", "/inbox", AuthNeed::Required)
}

/// Whole seconds are written without a fraction.
fn seconds(value: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within the range of i64"
    )]
    if value.fract() == 0.0 && value.abs() < 1e15 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

/// Success whatever the body says.
/// Servers answer `{}` when something is done; a page says that somebody else answered.
fn done(answer: &Answer) -> Result<(), SogsError> {
    check(answer)?;
    if answer.body.is_empty() || is_object(&answer.body) {
        Ok(())
    } else {
        Err(not_sogs(answer, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_written_as_the_reference_writes_them() {
        let call = upload(&RoomToken::new("test").unwrap(), Some("my 🎂.txt"), Bytes::new());
        assert_eq!(
            call.parts.headers[1].1,
            "attachment; filename*=UTF-8''my%20%f0%9f%8e%82.txt"
        );
    }
}
