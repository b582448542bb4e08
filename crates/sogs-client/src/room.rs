//! A room: reading, posting, reacting, files, moderation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use session_protocol::{JoinLink, RoomToken, SessionId};

use crate::call_types::{Download, ListOptions, MAX_LIMIT, Posted, RoomUpdate, Upload, UploadedFile};
use crate::calls;
use crate::error::{Cause, SogsError};
use crate::post::{Post, PreparedPost};
use crate::server::Server;
use crate::types::{
    FuturePermission, Message, ModeratorsChanged, PermissionChange, Permissions, PollInfo, Reacted,
    ReactionsRemoved, RoleChange, RoomInfo, Scheduled, Scope, Unpinned, Unreacted,
};

/// Pages of history that [`Room::look_for_own`] looks through at most. A page may be shorter than asked for.
const FIND_PAGES: usize = 32;
/// Messages that it looks through at most.
const FIND_MESSAGES: usize = 2048;
/// Maximum time that the server's clock may be behind ours for [`Room::find_own`], milliseconds.
const FIND_SLACK_MS: f64 = 120_000.0;

/// Result of a search for a message of ours.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum OwnPost {
    /// The message is in the room.
    Found(Box<Message>),
    /// The room was read back to before the message was signed, and does not show it. A community may still hold it back
    /// for approval, and a moderator may have deleted it.
    Absent,
    /// The room was not read back that far: more messages follow than are searched.
    Unknown,
}

/// A room of a server.
#[derive(Debug, Clone)]
pub struct Room {
    server: Server,
    token: RoomToken,
}

impl Server {
    /// Returns a room of this server.
    pub fn room(&self, token: &RoomToken) -> Room {
        Room {
            server: self.clone(),
            token: token.clone(),
        }
    }
}

impl Room {
    /// Returns the server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the token of the room.
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

    /// The data that changes often, and the whole room if its `info_updates` differs from the argument.
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

    /// Posts a message like [`Room::post`]. If the answer is lost, it looks whether the message is there.
    ///
    /// # Errors
    /// Those of [`Room::post`]. If [`SogsError::is_ambiguous`] is true, the message was not found either.
    pub async fn post_or_find(&self, post: impl Into<Post>) -> Result<Posted, SogsError> {
        let post = post.into();
        let mut prepared = self.prepare(&post).await?;
        let mut posted = self.post_prepared(&prepared).await;
        if posted
            .as_ref()
            .is_err_and(|error| error.is(&Cause::BlindingRequired))
            && self.server.signer().await?.shown_id() != prepared.author
        {
            prepared = self.prepare(&post).await?;
            posted = self.post_prepared(&prepared).await;
        }
        match posted {
            Err(error) if error.is_ambiguous() => match self.find_own(&prepared).await {
                Ok(Some(message)) => Ok(Posted {
                    id: message.id,
                    message: Some(Box::new(message)),
                    withheld: None,
                }),
                _ => Err(error),
            },
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

    /// Looks for a message that may have been posted although the answer was lost.
    ///
    /// It compares bytes and signature. `None` means that no such message was found, also when there are too many newer
    /// ones; [`Room::look_for_own`] tells the two apart.
    pub async fn find_own(&self, post: &PreparedPost) -> Result<Option<Message>, SogsError> {
        Ok(match self.look_for_own(post).await? {
            OwnPost::Found(message) => Some(*message),
            OwnPost::Absent | OwnPost::Unknown => None,
        })
    }

    /// Looks for a message that may have been posted although the answer was lost, and tells whether a message that was
    /// not found is not there.
    ///
    /// It compares bytes and signature. The search ends at messages posted before `post` was signed, at the beginning of
    /// the room, and after 2,048 messages.
    ///
    /// # Errors
    /// The list of messages cannot be read.
    pub async fn look_for_own(&self, post: &PreparedPost) -> Result<OwnPost, SogsError> {
        let options = ListOptions {
            limit: Some(MAX_LIMIT),
            reactors: Some(0),
            with_reaction_rows: false,
        };
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit 52 bits")]
        let signed_at = post.signed_at_ms as f64;
        let mut read = 0;
        let mut page = self.recent(options).await?;
        for _ in 0..FIND_PAGES {
            // A page may be short because its messages are long: only an empty one is the beginning of the room.
            let Some(oldest) = page.last().map(|message| (message.id, message.posted)) else {
                return Ok(OwnPost::Absent);
            };
            let is_short = page.len() < MAX_LIMIT as usize;
            read += page.len();
            if let Some(found) = page.into_iter().find(|message| post.is(message)) {
                return Ok(OwnPost::Found(Box::new(found)));
            }
            if oldest.1 * 1000.0 < signed_at - FIND_SLACK_MS {
                return Ok(OwnPost::Absent);
            }
            if read >= FIND_MESSAGES {
                break;
            }
            page = match self.before(oldest.0, options).await {
                // A server without this call gave all it has.
                Err(error) if is_short && error.status() == Some(404) => return Ok(OwnPost::Absent),
                page => page?,
            };
        }
        Ok(OwnPost::Unknown)
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

    /// Returns the people who reacted with an emoji, with the time (unix seconds), oldest first.
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

    /// Permissions of everybody whose permissions differ from the defaults (moderators).
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

/// Reactions are 1 to 12 code points and part of the path.
fn clean_emoji(emoji: &str) -> Result<&str, SogsError> {
    let length = emoji.chars().count();
    if !(1..=12).contains(&length) || emoji.contains(['/', '?', '#']) || emoji.chars().any(char::is_control) {
        return Err(SogsError::invalid(
            "a reaction is an emoji of 1 to 12 code points",
        ));
    }
    Ok(emoji)
}
