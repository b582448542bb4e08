//! The parts of a room page: messages with what belongs to them, pins, and results of a search.

use std::collections::HashMap;
use std::sync::Arc;

use session_protocol::SessionId;
use session_protocol::content::{AttachmentPointer, Content, DataMessage, Quote};

use super::page::{Listing, PageFile, PageMessage, PinnedMessage, Reply, RoomView};
use super::replies::ReplyKey;
use super::text;
use crate::app::App;
use crate::cache::Room;
use crate::clock::unix_now;
use crate::http::clean_file_name as clean;
use crate::http::response_cache::Stamp;
use crate::store::{
    Candidate, FileRow, Id, MessageRow, Portion, ReactionRow, StoreResult, Thumbnail, Visible,
};

/// Messages of a page.
pub(super) const MESSAGES: i64 = 50;
/// Pinned messages that a page shows.
const PINS: usize = 10;
/// Seconds between the clock of an author and that of the server within which a reply finds its message.
const CLOCKS: f64 = 600.0;
/// Files of one message that are shown.
const FILES: usize = 32;

/// Content of a page that needs no share of the common budget of memory, in bytes.
pub(super) const FEW_BYTES: usize = 256 * 1024;
/// Content of a page at most, in bytes: a page of longer messages shows fewer of them.
pub(super) const MANY_BYTES: usize = 2 << 20;
/// Bytes of memory for each byte of content: messages as stored and as decoded, those to which they reply, and pins.
pub(super) const COPIES: usize = 4;

/// Requested part of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The newest messages.
    Newest,
    /// Messages with a number below this.
    Before(Id),
    /// Messages with a number above this.
    After(Id),
}

/// A message with its content read.
struct Read {
    row: MessageRow,
    message: DataMessage,
    sent: Option<u64>,
}

impl Read {
    fn of(mut row: MessageRow) -> Option<Self> {
        let content = Content::decode_bounded(&row.data.take()?).ok()?;
        let message = content.data_message?;
        let sent = content.sig_timestamp.or(message.timestamp);
        Some(Self { row, message, sent })
    }

    fn name(&self) -> Option<String> {
        let profile = self.message.profile.as_ref()?;
        profile
            .display_name
            .clone()
            .filter(|name| !name.trim().is_empty())
    }

    /// Returns the author's name or short id.
    fn author(&self) -> String {
        self.name()
            .unwrap_or_else(|| text::short_id(&self.row.session_id))
    }

    /// Returns the first words, or the kind of the attached file.
    fn excerpt(&self) -> String {
        let body = self.message.body.as_deref().unwrap_or_default();
        let words = text::excerpt(body);
        if !words.is_empty() {
            return words;
        }
        match self.message.attachments.len() {
            0 => String::new(),
            1 => "a file".to_owned(),
            count => format!("{count} files"),
        }
    }

    fn is_meant(&self, quoted: u64) -> bool {
        is_time(self.row.posted, self.sent, quoted)
    }
}

/// Returns true if a reply names a message with these times by a time in milliseconds.
fn is_time(posted: f64, sent: Option<u64>, quoted: u64) -> bool {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds since 1970 fit into 52 bits"
    )]
    let quoted_ms = quoted as f64;
    sent == Some(quoted) || (posted * 1000.0 - quoted_ms).abs() <= 1.5
}

/// Reads a part of a room.
///
/// `None` if the content of its messages is larger than `most` and `most` is [`FEW_BYTES`].
pub(super) async fn messages(
    app: &Arc<App>,
    room: &Room,
    part: Part,
    most: usize,
) -> StoreResult<Option<RoomView>> {
    let store = &app.store;
    let (which, is_after) = match part {
        Part::Newest => (Visible::Before(Id::MAX), false),
        Part::Before(id) => (Visible::Before(id), false),
        Part::After(id) => (Visible::After(id), true),
    };
    let Portion { mut rows, is_cut } = store.visible(room.id(), which, MESSAGES + 1, most).await?;
    if is_cut && most == FEW_BYTES {
        return Ok(None);
    }
    let has_more = is_cut || rows.len() > usize::try_from(MESSAGES).unwrap_or(usize::MAX);
    rows.truncate(usize::try_from(MESSAGES).unwrap_or(usize::MAX));
    if is_after {
        rows.reverse();
    }
    let (first, last) = (rows.first().map(|row| row.id), rows.last().map(|row| row.id));
    let (newer, older) = match (part, first, last) {
        (Part::After(_), Some(first), Some(last)) => (has_more.then_some(first), Some(last)),
        (Part::After(id), ..) => (None, id.checked_add(1)),
        (Part::Before(_), Some(first), last) => {
            let above = store.visible(room.id(), Visible::After(first), 1, most).await?;
            (
                (!above.rows.is_empty()).then_some(first),
                last.filter(|_| has_more),
            )
        }
        (Part::Before(id), ..) => (id.checked_sub(1), None),
        (Part::Newest, _, last) => (None, last.filter(|_| has_more)),
    };
    let pins = if part == Part::Newest {
        pinned(app, room, most).await?
    } else {
        Some(Vec::new())
    };
    let Some(pins) = pins else { return Ok(None) };
    let list = complete(app, room, rows).await?;
    Ok(Some(RoomView::Messages(Listing {
        pins: pins.into_iter().map(|pin| place(pin, &list)).collect(),
        list,
        is_newest: part == Part::Newest,
        newer,
        older,
    })))
}

/// Links a pinned message on the same page if it is listed there.
fn place(mut pin: PinnedMessage, list: &[PageMessage]) -> PinnedMessage {
    pin.is_here = list.iter().any(|message| message.id == pin.id);
    pin
}

async fn pinned(app: &Arc<App>, room: &Room, most: usize) -> StoreResult<Option<Vec<PinnedMessage>>> {
    let ids: Vec<Id> = room
        .full
        .pins
        .iter()
        .rev()
        .map(|pin| pin.message_id)
        .take(PINS)
        .collect();
    if ids.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let Portion { rows, is_cut } = app
        .store
        .visible(room.id(), Visible::These(ids.clone()), MESSAGES, most)
        .await?;
    if is_cut && most == FEW_BYTES {
        return Ok(None);
    }
    let mut read: HashMap<Id, Read> = rows
        .into_iter()
        .filter_map(Read::of)
        .map(|one| (one.row.id, one))
        .collect();
    let pins = ids
        .into_iter()
        .filter_map(|id| read.remove(&id))
        .map(|one| PinnedMessage {
            id: one.row.id,
            author: one.author(),
            text: one.excerpt(),
            is_here: false,
        })
        .collect();
    Ok(Some(pins))
}

/// Messages with everything that belongs to them, in the order of the rows.
pub(super) async fn complete(
    app: &Arc<App>,
    room: &Room,
    rows: Vec<MessageRow>,
) -> StoreResult<Vec<PageMessage>> {
    let reacted = rows
        .iter()
        .filter(|row| row.seqno_reactions > 0)
        .map(|row| row.id)
        .collect::<Vec<_>>();
    let read: Vec<Read> = rows.into_iter().filter_map(Read::of).collect();
    let store = &app.store;
    let reactions = if reacted.is_empty() {
        Vec::new()
    } else {
        store.reactions(room.id(), reacted, 0).await?.rows
    };
    let with_files: Vec<Id> = read
        .iter()
        .filter(|one| !one.message.attachments.is_empty())
        .map(|one| one.row.id)
        .collect();
    let (mut files, mut small) = (Vec::new(), HashMap::new());
    if !with_files.is_empty() {
        let now = unix_now();
        files = store.files_of_messages(with_files).await?;
        files.retain(|file| file.expiry.is_none_or(|expiry| expiry > now));
        let ids = files.iter().map(|file| file.id).collect();
        small = store
            .thumbnails(ids)
            .await?
            .into_iter()
            .map(|one| (one.file_id, one))
            .collect();
    }
    let mut list = Vec::with_capacity(read.len());
    for one in &read {
        let reply = match &one.message.quote {
            Some(quote) => Some(reply(app, room, quote, &read).await?),
            None => None,
        };
        list.push(message(one, reply, &files, &small, &reactions));
    }
    Ok(list)
}

fn message(
    one: &Read,
    reply: Option<Reply>,
    files: &[FileRow],
    small: &HashMap<Id, Thumbnail>,
    reactions: &[ReactionRow],
) -> PageMessage {
    let row = &one.row;
    let attached: Vec<&FileRow> = files
        .iter()
        .filter(|file| file.message_id == Some(row.id))
        .collect();
    PageMessage {
        id: row.id,
        name: one.name(),
        who: text::short_id(&row.session_id),
        posted: row.posted,
        edited: row.edited.is_some(),
        body: one.message.body.clone().filter(|body| !body.is_empty()),
        reply,
        files: one
            .message
            .attachments
            .iter()
            .take(FILES)
            .map(|pointer| file(pointer, &attached, small))
            .collect(),
        reactions: reactions
            .iter()
            .filter(|reaction| reaction.message_id == row.id)
            .map(|reaction| (reaction.reaction.clone(), reaction.count))
            .collect(),
    }
}

/// A file as the message names it, if it is attached and still there.
fn file(pointer: &AttachmentPointer, attached: &[&FileRow], small: &HashMap<Id, Thumbnail>) -> PageFile {
    let by_url = || {
        pointer
            .url
            .as_deref()?
            .rsplit('/')
            .find_map(|part| part.parse::<Id>().ok())
    };
    let by_id = Id::try_from(pointer.id).ok();
    let found = [by_url(), by_id]
        .into_iter()
        .flatten()
        .find_map(|id| attached.iter().find(|file| file.id == id));
    let named = found
        .and_then(|file| file.filename.as_deref())
        .or(pointer.file_name.as_deref());
    let is_voice = pointer.flags.unwrap_or(0) & 1 != 0;
    let kind = if is_voice { "voice message" } else { "file" };
    PageFile {
        id: found.map(|file| file.id),
        name: named.and_then(clean).unwrap_or_else(|| kind.to_owned()),
        size: found.map(|file| u64::try_from(file.size).unwrap_or(0)),
        small: found
            .and_then(|file| small.get(&file.id))
            .map(|small| (small.width, small.height)),
    }
}

/// Finds the message that a reply is to, from memory if the room is as it was when that was found last.
async fn reply(app: &Arc<App>, room: &Room, quote: &Quote, page: &[Read]) -> StoreResult<Reply> {
    let (Some(time), Some(author)) = (quote.id, quote.author.as_deref()) else {
        return Ok(Reply::Missing);
    };
    let Ok(author) = author.parse::<SessionId>() else {
        return Ok(Reply::Missing);
    };
    let Some(user) = app.user(&author).await? else {
        return Ok(Reply::Missing);
    };
    let here = page
        .iter()
        .find(|one| one.row.user_id == user.row.id && one.is_meant(time));
    if let Some(one) = here {
        return Ok(Reply::To {
            id: one.row.id,
            author: one.author(),
            text: one.excerpt(),
            is_here: true,
        });
    }
    let key = ReplyKey {
        room_id: room.id(),
        user_id: user.row.id,
        time,
    };
    let before = Stamp::of(room);
    if let Some(reply) = app.replies.get(&key, before) {
        return Ok(reply);
    }
    let reply = find_reply(app, room, user.row.id, time).await?;
    app.replies.put(key, before, reply.clone());
    Ok(reply)
}

/// Finds the message that a reply is to. Its text is taken from there, never from the reply, which might repeat what was
/// deleted or hidden since, or what was never said.
async fn find_reply(app: &Arc<App>, room: &Room, author: Id, time: u64) -> StoreResult<Reply> {
    let candidates = app.store.candidates(room.id(), author, time, CLOCKS).await?;
    let Some(candidate) = meant(candidates, time) else {
        return Ok(Reply::Missing);
    };
    if candidate.is_deleted {
        return Ok(Reply::Deleted);
    }
    if !candidate.is_shown {
        return Ok(Reply::Hidden);
    }
    let rows = app
        .store
        .visible(room.id(), Visible::These(vec![candidate.id]), 1, FEW_BYTES)
        .await?;
    let Some(one) = rows.rows.into_iter().find_map(Read::of) else {
        return Ok(Reply::Hidden);
    };
    Ok(Reply::To {
        id: one.row.id,
        author: one.author(),
        text: one.excerpt(),
        is_here: false,
    })
}

/// The candidate that a time means: the author's own time decides before that of the server.
fn meant(candidates: Vec<Candidate>, time: u64) -> Option<Candidate> {
    let timed: Vec<(Candidate, Option<u64>)> = candidates
        .into_iter()
        .map(|candidate| {
            let content = candidate
                .data
                .as_deref()
                .and_then(|data| Content::decode_bounded(data).ok());
            let sent = content.and_then(|content| {
                let own = content.data_message.and_then(|message| message.timestamp);
                content.sig_timestamp.or(own)
            });
            (candidate, sent)
        })
        .collect();
    let exact = timed.iter().position(|(_, sent)| *sent == Some(time));
    let close = || {
        timed
            .iter()
            .position(|(candidate, sent)| is_time(candidate.posted, *sent, time))
    };
    let at = exact.or_else(close)?;
    timed.into_iter().nth(at).map(|(candidate, _)| candidate)
}
