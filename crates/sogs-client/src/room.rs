//! A room: reading, posting, reacting, files, moderation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use session_protocol::content::AttachmentPointer;
use session_protocol::{JoinLink, RoomToken, SessionId};

use crate::calls;
use crate::error::{Cause, SogsError};
use crate::post::{Post, PreparedPost};
use crate::server::Server;
use crate::transport::Answer;
use crate::transport::http::Progress;
use crate::types::{
    FuturePermission, Message, ModeratorsChanged, PermissionChange, Permissions, PollInfo, Reacted,
    ReactionsRemoved, RoleChange, RoomInfo, Scheduled, Scope, Unpinned, Unreacted, Withheld,
};

/// Most rows in one answer.
pub const MAX_LIMIT: u32 = 256;
/// Pages of history that [`Room::find_own`] looks through at most.
const FIND_PAGES: usize = 8;
/// How far the server's clock may be behind ours for [`Room::find_own`], milliseconds.
const FIND_SLACK_MS: f64 = 120_000.0;

/// How much of a list to get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Rows, 1 to 256; the server's default is 100.
    pub limit: Option<u32>,
    /// Names of reactors per emoji, 0 to 20; the server's default is 4.
    pub reactors: Option<u32>,
    /// Rows for messages of which nothing but the reactions changed.
    pub with_reaction_rows: bool,
}

impl ListOptions {
    /// At most `limit` rows.
    pub fn limit(limit: u32) -> Self {
        Self {
            limit: Some(limit),
            ..Self::default()
        }
    }

    pub(crate) fn query(self, since: bool) -> String {
        let mut query = String::new();
        let mut add = |text: String| {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(&text);
        };
        if since && self.with_reaction_rows {
            add("t=r".to_owned());
        }
        if let Some(limit) = self.limit {
            add(format!("limit={limit}"));
        }
        if let Some(reactors) = self.reactors {
            add(format!("reactors={reactors}"));
        }
        query
    }
}

/// A change of a room's settings; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomUpdate {
    /// New name.
    pub name: Option<String>,
    /// New description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// File number of the new image, a file of this room.
    pub image: Option<u64>,
    /// Whether everybody may read.
    pub default_read: Option<bool>,
    /// Whether the room exists for those who may not read.
    pub default_accessible: Option<bool>,
    /// Whether everybody may post.
    pub default_write: Option<bool>,
    /// Whether everybody may upload files.
    pub default_upload: Option<bool>,
}

impl RoomUpdate {
    pub(crate) fn to_json(&self) -> Value {
        let mut body = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(key.to_owned(), value);
            }
        };
        put("name", self.name.clone().map(Value::from));
        put("description", self.description.clone().map(Value::from));
        put("image", self.image.map(Value::from));
        put("default_read", self.default_read.map(Value::from));
        put("default_accessible", self.default_accessible.map(Value::from));
        put("default_write", self.default_write.map(Value::from));
        put("default_upload", self.default_upload.map(Value::from));
        Value::Object(body)
    }
}

/// A post that the server took, as its answer shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Posted {
    /// Number of the message.
    pub id: u64,
    /// The message as the server gave it back; `None` when a field besides number, author and data is missing.
    pub message: Option<Box<Message>>,
    /// Set when the server shows the message to nobody: then it is stored, but not delivered.
    pub withheld: Option<Withheld>,
}

/// An edit that the server took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edited {
    /// Set when the server shows the message to nobody since the edit.
    pub withheld: Option<Withheld>,
    /// The message was replaced whole: by [`Room::replace`], or because the server did not show it to us, as it is with
    /// a message that a filter hides.
    pub whole: bool,
}

/// A file to upload.
#[derive(Clone)]
pub struct Upload {
    name: Option<String>,
    content_type: Option<String>,
    bytes: Bytes,
    size: Option<(u32, u32)>,
    progress: Option<Progress>,
}

impl Upload {
    /// A file without a name.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self {
            name: None,
            content_type: None,
            bytes: bytes.into(),
            size: None,
            progress: None,
        }
    }

    /// The file's name, as receivers will see it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The media type, e.g. `image/png`: apps show pictures as such by it.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Width and height of a picture, pixels.
    pub fn dimensions(mut self, width: u32, height: u32) -> Self {
        self.size = Some((width, height));
        self
    }

    /// Called with the bytes that have gone out and the total.
    pub fn on_progress(mut self, progress: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }
}

/// A file on the server, ready to be attached to a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedFile {
    /// Its number in the room.
    pub id: u64,
    /// `SERVER_URL/room/TOKEN/file/ID`.
    pub url: String,
    /// Length, bytes.
    pub size: u32,
    /// Its name.
    pub name: Option<String>,
    /// Its media type.
    pub content_type: Option<String>,
    /// Width and height, pixels.
    pub dimensions: Option<(u32, u32)>,
}

impl UploadedFile {
    pub(crate) fn pointer(&self) -> AttachmentPointer {
        AttachmentPointer {
            id: self.id,
            content_type: self
                .content_type
                .clone()
                .or_else(|| Some("application/octet-stream".to_owned())),
            size: Some(self.size),
            file_name: self.name.clone(),
            width: self.dimensions.map(|(width, _)| width),
            height: self.dimensions.map(|(_, height)| height),
            url: Some(self.url.clone()),
            ..AttachmentPointer::default()
        }
    }
}

/// A file that was downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its name, as the uploader gave it: never to be used as a path unchecked.
    pub name: Option<String>,
    /// When it expires, as the server wrote it (an HTTP date); `None` for files that stay.
    pub expires: Option<String>,
}

impl Download {
    pub(crate) fn from_answer(answer: &Answer) -> Self {
        let name = answer
            .header("content-disposition")
            .and_then(|value| {
                value
                    .split(';')
                    .find_map(|part| part.trim().strip_prefix("filename*=UTF-8''"))
            })
            .map(|name| percent_decode_str(name).decode_utf8_lossy().into_owned());
        Self {
            bytes: answer.body.clone(),
            name,
            expires: answer.header("expires").map(str::to_owned),
        }
    }
}

/// A room of a server.
#[derive(Debug, Clone)]
pub struct Room {
    server: Server,
    token: RoomToken,
}

impl Room {
    pub(crate) fn new(server: Server, token: RoomToken) -> Self {
        Self { server, token }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The token.
    pub fn token(&self) -> &RoomToken {
        &self.token
    }

    /// The link to give to others.
    pub fn join_link(&self) -> JoinLink {
        JoinLink::new(self.server.base_url(), self.token.clone(), self.server.key())
    }

    /// Name, description, counters, pins, moderators, and our rights.
    pub async fn info(&self) -> Result<RoomInfo, SogsError> {
        self.server.run(calls::room(&self.token)).await
    }

    /// What changes often, and the whole room if its counter is not `info_updates`.
    pub async fn poll_info(&self, info_updates: i64) -> Result<PollInfo, SogsError> {
        self.server.run(calls::poll_info(&self.token, info_updates)).await
    }

    /// Changes settings (admins); gives the new `info_updates`.
    pub async fn update(&self, update: &RoomUpdate) -> Result<i64, SogsError> {
        Ok(self
            .server
            .run(calls::update_room(&self.token, update))
            .await?
            .info_updates)
    }

    /// Posts a message. Look at [`Posted::withheld`]: a community may store a message and show it to nobody.
    ///
    /// # Errors
    /// [`Cause::Unproven`] when the server accepts the message with an answer that does not show it.
    pub async fn post(&self, post: impl Into<Post>) -> Result<Posted, SogsError> {
        let post = post.into();
        let prepared = self.prepare(&post).await?;
        match self.post_prepared(&prepared).await {
            // The server began to insist on blinded ids; by now we know, and sign again.
            Err(error)
                if error.is(&Cause::BlindingRequired)
                    && self.server.signer().await?.shown_id() != prepared.author =>
            {
                let prepared = self.prepare(&post).await?;
                self.post_prepared(&prepared).await
            }
            other => other,
        }
    }

    /// Signs a message as we are known here, without sending it.
    pub async fn prepare(&self, post: &Post) -> Result<PreparedPost, SogsError> {
        let signer = self.server.signer().await?;
        post.prepare(&signer, self.server.now_ms())
    }

    /// Sends a message that is signed already: always the same bytes, so that it can be found again.
    pub async fn post_prepared(&self, post: &PreparedPost) -> Result<Posted, SogsError> {
        self.server.run(calls::post(&self.token, post)).await
    }

    /// Looks for a message that may have been posted although the answer was lost: the same bytes under the same
    /// signature. `None` means that it is not there.
    ///
    /// What was posted before `post` was signed is not looked through, nor more than 2,048 messages.
    pub async fn find_own(&self, post: &PreparedPost) -> Result<Option<Message>, SogsError> {
        let options = ListOptions {
            limit: Some(MAX_LIMIT),
            reactors: Some(0),
            with_reaction_rows: false,
        };
        let mut page = self.recent(options).await?;
        for _ in 0..FIND_PAGES {
            let Some(oldest) = page.last().map(|message| (message.id, message.posted)) else {
                return Ok(None);
            };
            let full = page.len() >= MAX_LIMIT as usize;
            if let Some(found) = page.into_iter().find(|message| post.is(message)) {
                return Ok(Some(found));
            }
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit 52 bits")]
            let signed_at = post.signed_at_ms as f64;
            if !full || oldest.1 * 1000.0 < signed_at - FIND_SLACK_MS {
                return Ok(None);
            }
            page = self.before(oldest.0, options).await?;
        }
        Ok(None)
    }

    /// Deletes a message: one's own, or as a moderator anybody's.
    pub async fn delete(&self, id: u64) -> Result<(), SogsError> {
        self.server.run(calls::delete(&self.token, id)).await
    }

    /// Deletes all messages of a user here.
    pub async fn delete_all(&self, user: &SessionId) -> Result<(), SogsError> {
        self.server.run(calls::delete_all(&self.token, user)).await
    }

    /// Pins a message (admins); gives the new `info_updates`.
    pub async fn pin(&self, id: u64) -> Result<i64, SogsError> {
        Ok(self.server.run(calls::pin(&self.token, id)).await?.info_updates)
    }

    /// Unpins a message (admins).
    pub async fn unpin(&self, id: u64) -> Result<Unpinned, SogsError> {
        self.server.run(calls::unpin(&self.token, id)).await
    }

    /// Unpins all messages (admins).
    pub async fn unpin_all(&self) -> Result<Unpinned, SogsError> {
        self.server.run(calls::unpin_all(&self.token)).await
    }

    /// Reacts with an emoji.
    pub async fn react(&self, id: u64, emoji: &str) -> Result<Reacted, SogsError> {
        self.server
            .run(calls::react(&self.token, id, clean_emoji(emoji)?))
            .await
    }

    /// Takes one's own reaction back.
    pub async fn unreact(&self, id: u64, emoji: &str) -> Result<Unreacted, SogsError> {
        self.server
            .run(calls::unreact(&self.token, id, clean_emoji(emoji)?))
            .await
    }

    /// Removes everybody's reactions, of one emoji or of all (moderators).
    pub async fn clear_reactions(&self, id: u64, emoji: Option<&str>) -> Result<ReactionsRemoved, SogsError> {
        let emoji = emoji.map(clean_emoji).transpose()?;
        self.server
            .run(calls::clear_reactions(&self.token, id, emoji))
            .await
    }

    /// Who reacted with an emoji and when (unix seconds), oldest first.
    pub async fn reactors(
        &self,
        id: u64,
        emoji: &str,
        limit: Option<u32>,
    ) -> Result<Vec<(SessionId, f64)>, SogsError> {
        self.server
            .run(calls::reactors(&self.token, id, clean_emoji(emoji)?, limit))
            .await
    }

    /// Uploads a file. Attach it to a post within the hour, or it expires.
    pub async fn upload(&self, upload: Upload) -> Result<UploadedFile, SogsError> {
        let size = u32::try_from(upload.bytes.len())
            .map_err(|_| SogsError::invalid("a file has at most 4 GB, and servers take far less"))?;
        let mut call = calls::upload(&self.token, upload.name.as_deref(), upload.bytes);
        call.parts.upload = upload.progress;
        let id = self.server.run(call).await?.id;
        Ok(UploadedFile {
            id,
            url: format!("{}/room/{}/file/{id}", self.server.base_url(), self.token),
            size,
            name: upload.name,
            content_type: upload.content_type,
            dimensions: upload.size,
        })
    }

    /// Downloads a file of this room.
    pub async fn download(&self, id: u64) -> Result<Download, SogsError> {
        self.server.run(calls::download(&self.token, id)).await
    }

    /// Downloads a file of this room; `progress` is called with the bytes that have come in and the total.
    pub async fn download_with(
        &self,
        id: u64,
        progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Result<Download, SogsError> {
        let mut call = calls::download(&self.token, id);
        call.parts.download = Some(Arc::new(progress));
        self.server.run(call).await
    }

    /// Bans a user here (moderators); `timeout` lifts the ban again.
    pub async fn ban(&self, user: &SessionId, timeout: Option<Duration>) -> Result<(), SogsError> {
        self.server.ban(user, &Scope::room(&self.token), timeout).await
    }

    /// Lifts a ban (moderators).
    pub async fn unban(&self, user: &SessionId) -> Result<(), SogsError> {
        self.server.unban(user, &Scope::room(&self.token)).await
    }

    /// Makes a user moderator or admin here, or no longer (admins).
    pub async fn set_role(
        &self,
        user: &SessionId,
        change: RoleChange,
    ) -> Result<ModeratorsChanged, SogsError> {
        self.server
            .set_role(user, &Scope::room(&self.token), change)
            .await
    }

    /// Permissions of everybody who differs from the defaults (moderators).
    pub async fn permissions(&self) -> Result<BTreeMap<SessionId, Permissions>, SogsError> {
        self.server.run(calls::permissions(&self.token)).await
    }

    /// Permissions of one user, as far as they differ from the defaults (moderators).
    pub async fn permissions_of(&self, user: &SessionId) -> Result<Permissions, SogsError> {
        self.server.run(calls::permissions_of(&self.token, user)).await
    }

    /// Changes permissions of one user (moderators).
    pub async fn set_permissions(
        &self,
        user: &SessionId,
        change: PermissionChange,
    ) -> Result<Permissions, SogsError> {
        self.server
            .run(calls::set_permissions(&self.token, user, change))
            .await
    }

    /// Changes that will happen (moderators).
    pub async fn future_permissions(&self) -> Result<Scheduled, SogsError> {
        self.server.run(calls::future_permissions(&self.token)).await
    }

    /// Changes that will happen to one user (moderators).
    pub async fn future_permissions_of(&self, user: &SessionId) -> Result<Vec<FuturePermission>, SogsError> {
        self.server
            .run(calls::future_permissions_of(&self.token, user))
            .await
    }

    /// Schedules a change of one user's permissions, `after` from now (moderators).
    pub async fn schedule_permissions(
        &self,
        user: &SessionId,
        read: Option<bool>,
        write: Option<bool>,
        upload: Option<bool>,
        after: Duration,
    ) -> Result<Vec<FuturePermission>, SogsError> {
        let call = calls::schedule_permissions(&self.token, user, read, write, upload, after.as_secs_f64());
        self.server.run(call).await
    }
}

/// Reactions are 1 to 12 code points and stand in the path.
fn clean_emoji(emoji: &str) -> Result<&str, SogsError> {
    let length = emoji.chars().count();
    if !(1..=12).contains(&length) || emoji.contains(['/', '?', '#']) || emoji.chars().any(char::is_control) {
        return Err(SogsError::invalid(
            "a reaction is an emoji of 1 to 12 code points",
        ));
    }
    Ok(emoji)
}
