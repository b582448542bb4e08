//! Posts to community rooms.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use session_protocol::auth::Signer;
use session_protocol::{Identity, RoomToken, ServerKey, SessionId};
use sogs_client::{
    Blinding, Cause, OwnPost, Post, Posted, PreparedPost, Room, Server, ServerBuilder, SogsError, Upload,
    UploadedFile, Withheld,
};

use crate::dispatch::delivery::{Attempt, Delivery, File, MessageId};
use crate::dispatch::pool::{ConnectionOptions, ConnectionPool, Party, Progress};
use crate::env::Guest;
use crate::outcome::{Confirmation, Lack, Outcome};
use crate::problem::Diagnostic;
use crate::render::Chunk;
use crate::service::access::{SogsParts, authorities};
use crate::service::common::CommonParams;
use crate::service::encoded::Encoded;

use super::params::NAME;
use super::piece::{SignedPost, SogsPiece};
use super::pool::SogsPool;
use super::url::{Blind, DEFAULT_NAME, Encrypt, Sogs};

/// Longest time for one call, files included.
const TOTAL: Duration = Duration::from_mins(5);

impl Sogs {
    fn identity(&self) -> Result<Identity, Diagnostic> {
        Identity::from_seed_hex(self.seed.expose_secret()).ok_or_else(|| {
            Diagnostic::error("the seed is not 64 hex digits", "write the seed of the account").key("seed")
        })
    }

    fn server_key(&self) -> Result<ServerKey, Diagnostic> {
        self.public_key.parse().map_err(|_| {
            Diagnostic::error(
                "the server's public key is not valid",
                "copy it from the join link",
            )
            .key("public_key")
        })
    }

    /// Settings, as a delivery uses them.
    pub(in crate::service) fn parts(
        &self,
        common: &CommonParams,
        options: &ConnectionOptions,
        agent: &str,
    ) -> Result<SogsParts, Diagnostic> {
        let key = self.server_key()?;
        let verify = if let Some(path) = &self.ca_file {
            sogs_client::Verify::Authorities(authorities(path)?.into())
        } else if !common.verify {
            sogs_client::Verify::No
        } else if let Some(tls) = &options.tls {
            sogs_client::Verify::Config(tls.clone())
        } else {
            sogs_client::Verify::Platform
        };
        let builder = Server::builder(self.base_url(), key)
            .identity(self.identity()?)
            .blinding(match self.blind {
                Blind::Auto => Blinding::Auto,
                Blind::Yes => Blinding::Yes,
                Blind::No => Blinding::No,
            })
            .encrypt(match self.encrypt {
                Encrypt::Auto => sogs_client::Encrypt::Auto,
                Encrypt::Yes => sogs_client::Encrypt::Yes,
                Encrypt::No => sogs_client::Encrypt::No,
            })
            .verify(verify)
            .connect_timeout(common.connect_timeout())
            .read_timeout(common.read_timeout())
            .total_timeout(TOTAL)
            .redirects(common.redirect)
            .proxies_from_environment(options.proxies)
            .user_agent(agent);
        let builder = guarded(builder, common.guest);
        let rooms = self
            .rooms
            .iter()
            .filter_map(|room| RoomToken::new(room.as_str()).ok())
            .collect();
        Ok(SogsParts {
            builder,
            base_url: self.base_url(),
            key,
            rooms,
            name: self.name.clone(),
            ca_file: self.ca_file.clone(),
        })
    }

    /// Returns a chunk as a post. It is signed here, unless a quoted message must be looked up first.
    pub(super) fn piece(&self, chunk: &Chunk, id: &MessageId) -> SogsPiece {
        let mut piece = SogsPiece {
            body: chunk.body.to_string(),
            sent_at_ms: id.sent_at_ms,
            fixed: None,
        };
        if self.reply_to.is_none() && !chunk.body.is_empty() {
            piece.fixed = self.seal(&self.post(&piece.body), piece.sent_at_ms).ok();
        }
        piece
    }

    fn post(&self, body: &str) -> Post {
        let mut post = Post::text(body).name(self.name.as_deref().unwrap_or(DEFAULT_NAME));
        if let Some(id) = self
            .whisper
            .as_deref()
            .and_then(|id| id.parse::<SessionId>().ok())
        {
            post = post.whisper_to(id).whisper_mods();
        }
        post
    }

    /// Signs under both ids that a server may want to show.
    fn seal(&self, post: &Post, sent_at_ms: u64) -> Result<SignedPost, Attempt> {
        let made = self.signers.get_or_init(|| {
            let (identity, key) = (self.identity().ok()?, self.server_key().ok()?);
            Some((Signer::account(&identity), Signer::blind15(&identity, &key)))
        });
        let Some((own, hidden)) = made else {
            // Neither is kept, so that the cause is told each time.
            self.identity().map_err(refused)?;
            self.server_key().map_err(refused)?;
            return Err(refused(Diagnostic::error(
                "the account cannot sign",
                "check the URL",
            )));
        };
        let account = post.prepare(own, sent_at_ms).map_err(|error| failed(&error))?;
        let blinded = hidden.sign_message(&account.data);
        Ok(SignedPost {
            data: hex::encode(&account.data),
            account_signature: hex::encode(account.signature),
            blinded_signature: hex::encode(blinded),
            files: account.files,
            missing: Vec::new(),
        })
    }

    /// The post under the id that the server shows.
    fn prepared(&self, fixed: &SignedPost, signer: &Signer, begun_ms: u64) -> Result<PreparedPost, Attempt> {
        let author = signer.shown_id();
        let signature = if author.is_blinded() {
            &fixed.blinded_signature
        } else {
            &fixed.account_signature
        };
        let broken = || {
            refused(Diagnostic::error(
                "the stored message is damaged",
                "send it again",
            ))
        };
        let data = hex::decode(&fixed.data).map_err(|_| broken())?;
        let signature = hex::decode(signature)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(broken)?;
        Ok(PreparedPost {
            author,
            data,
            signature,
            files: fixed.files.clone(),
            whisper_to: self.whisper.as_deref().and_then(|id| id.parse().ok()),
            whisper_mods: self.whisper.is_some(),
            signed_at_ms: begun_ms,
        })
    }

    /// Posts the pieces of a delivery one after another; after a failure the rest is not tried, so that order is kept.
    pub(super) async fn send(
        &self,
        common: &CommonParams,
        pool: &ConnectionPool,
        delivery: &Delivery,
    ) -> Vec<Attempt> {
        let room = match self.room(common, pool, delivery) {
            Ok(room) => room,
            Err(attempt) => return vec![attempt; delivery.pieces.len()],
        };
        let mut attempts = Vec::with_capacity(delivery.pieces.len());
        let mut stopped = false;
        for (n, encoded) in delivery.pieces.iter().enumerate() {
            let piece: SogsPiece = match encoded.to_value(NAME) {
                Ok(piece) => piece,
                Err(problem) => {
                    attempts.push(refused(problem));
                    continue;
                }
            };
            if stopped {
                attempts.push(Attempt::new(Outcome::deferred(
                    "it was not tried, because a piece before it failed",
                    "it is sent when the piece before it is accepted",
                )));
                continue;
            }
            let files: &[File] = if n == 0 { &delivery.files } else { &[] };
            let progress = pool.options().progress.as_ref();
            let attempt = match self.post_one(&room, &piece, files, delivery, n, progress).await {
                Ok(attempt) | Err(attempt) => attempt,
            };
            // A withheld piece keeps its place, and the pieces behind it are still sent.
            stopped = !attempt.outcome.is_taken();
            attempts.push(attempt);
        }
        attempts
    }

    fn room(
        &self,
        common: &CommonParams,
        pool: &ConnectionPool,
        delivery: &Delivery,
    ) -> Result<Room, Attempt> {
        // As in the reference, no time is not "no limit": nothing is sent.
        let limits = [("cto", common.cto), ("rto", common.rto)];
        if let Some((name, _)) = limits.iter().find(|(_, seconds)| *seconds <= 0.0) {
            let problem = Diagnostic::error(
                "the time limit leaves no time to send",
                "write a number of seconds above 0",
            );
            return Err(refused(problem.key(*name)));
        }
        let key = format!(
            "{}|{}|{}",
            self.base_url(),
            self.public_key,
            self.server_settings(common)
        );
        let server = pool
            .of_service(SogsPool::new)
            .server(Party::of(common.guest), &key, self.seed.expose_secret(), || {
                let parts = self.parts(common, pool.options(), &pool.asset().app_id)?;
                parts.connect().map(|access| access.server)
            })
            .map_err(refused)?;
        let token = RoomToken::new(delivery.target.address.as_str()).map_err(|_| {
            refused(Diagnostic::error(
                "this is not a valid room token",
                "check the room in the URL",
            ))
        })?;
        Ok(server.room(&token))
    }

    /// Returns the settings by which two URLs of one account need their own connections.
    fn server_settings(&self, common: &CommonParams) -> String {
        format!(
            "{:?}|{:?}|{:?}|{}|{}|{:?}|{:?}|{:?}",
            common.guest,
            self.blind,
            self.encrypt,
            common.verify,
            common.redirect,
            common.connect_timeout(),
            common.read_timeout(),
            self.ca_file
        )
    }

    async fn post_one(
        &self,
        room: &Room,
        piece: &SogsPiece,
        files: &[File],
        delivery: &Delivery,
        n: usize,
        progress: Option<&Progress>,
    ) -> Result<Attempt, Attempt> {
        let edited = self.edit.and_then(|id| u64::try_from(id).ok()).filter(|_| n == 0);
        if let Some(id) = edited
            && let Some(attempt) = self.edit_one(room, piece, files, id, progress).await
        {
            return Ok(attempt);
        }
        let is_bare = |fixed: &SignedPost| fixed.files.is_empty() && fixed.missing.is_empty();
        let with_files = !files.is_empty() && piece.fixed.as_ref().is_none_or(is_bare);
        let fixed = match &piece.fixed {
            Some(fixed) if !with_files => fixed.clone(),
            _ => {
                self.fix_on_the_way(room, piece, files, delivery, n, progress)
                    .await?
            }
        };
        let mut attempt = self
            .post_fixed(
                room,
                delivery.begun_ms(piece.sent_at_ms),
                &fixed,
                delivery.is_repeat(n),
            )
            .await?;
        attempt.outcome = attempt.outcome.without_files(&fixed.missing);
        if let Some(id) = edited {
            attempt
                .notes
                .push(format!("message {id} is gone, so it was posted as a new message"));
        }
        Ok(attempt)
    }

    /// Gives a message of this account a new text, and new files if there are some; a repeat changes nothing. `None` if the
    /// message is gone.
    async fn edit_one(
        &self,
        room: &Room,
        piece: &SogsPiece,
        files: &[File],
        id: u64,
        progress: Option<&Progress>,
    ) -> Option<Attempt> {
        let with_files = with_files(room, self.post(&piece.body), &piece.body, files, progress);
        let (post, missing) = match with_files.await {
            Ok(found) => found,
            Err(error) => return Some(failed(&error)),
        };
        match room.edit(id, post).await {
            Ok(edited) => {
                let mut attempt = match edited.withheld {
                    Some(why) => withheld(why, Some(id)),
                    None => delivered(id),
                };
                attempt.outcome = attempt.outcome.without_files(&missing);
                Some(attempt)
            }
            Err(error) if matches!(error.cause(), Cause::NotFound) => None,
            Err(error) => Some(failed(&error)),
        }
    }

    /// Posts what is fixed; a repeat is looked for first, among what was posted since `begun_ms`.
    async fn post_fixed(
        &self,
        room: &Room,
        begun_ms: u64,
        fixed: &SignedPost,
        repeat: bool,
    ) -> Result<Attempt, Attempt> {
        // An attempt before this one was written, and nothing has shown yet what became of it.
        let mut doubt = repeat;
        let signer = room
            .server()
            .signer()
            .await
            .map_err(|error| unwritten(&error, doubt))?;
        let prepared = self.prepared(fixed, &signer, begun_ms)?;
        if repeat {
            match room.look_for_own(&prepared).await {
                Ok(OwnPost::Found(found)) => {
                    let mut attempt = delivered(found.id);
                    attempt
                        .notes
                        .push("an earlier attempt had arrived; it was not posted again".to_owned());
                    return Ok(attempt);
                }
                Ok(OwnPost::Absent) => doubt = false,
                Ok(_) => return Ok(in_doubt(&"it has too many newer messages")),
                // A room that may be written but not read cannot be searched.
                Err(error) if error.status() == Some(403) => return Ok(in_doubt(&error)),
                // A server without a list of messages: the post shows whether it is one at all.
                Err(error) if error.is_permanent() => {}
                Err(error) => {
                    return Err(Attempt {
                        may_have_arrived: true,
                        ..failed(&error)
                    });
                }
            }
        }
        let unsettled = |error: SogsError| {
            accepted(&error).ok_or_else(|| {
                let mut attempt = failed(&error);
                attempt.may_have_arrived |= doubt;
                attempt
            })
        };
        match room.post_prepared(&prepared).await {
            Ok(posted) => Ok(taken(&posted)),
            // The server began to insist on blinded ids; by now we know, and sign again.
            Err(error)
                if matches!(error.cause(), Cause::BlindingRequired) && !prepared.author.is_blinded() =>
            {
                let signer = room
                    .server()
                    .signer()
                    .await
                    .map_err(|error| unwritten(&error, doubt))?;
                if signer.shown_id() == prepared.author {
                    return Err(unwritten(&error, doubt));
                }
                let prepared = self.prepared(fixed, &signer, begun_ms)?;
                match room.post_prepared(&prepared).await {
                    Ok(posted) => Ok(taken(&posted)),
                    Err(error) => unsettled(error),
                }
            }
            Err(error) => unsettled(error),
        }
    }

    /// Uploads files and looks up the quoted message, then signs, and tells who asked to be told.
    async fn fix_on_the_way(
        &self,
        room: &Room,
        piece: &SogsPiece,
        files: &[File],
        delivery: &Delivery,
        n: usize,
        progress: Option<&Progress>,
    ) -> Result<SignedPost, Attempt> {
        let mut post = self.post(&piece.body);
        if let Some(id) = self.reply_to.and_then(|id| u64::try_from(id).ok()) {
            let quoted = room
                .message(id)
                .await
                .map_err(|error| unwritten(&error, delivery.is_repeat(n)))?;
            post = post.reply_to(&quoted);
        }
        let (post, missing) = with_files(room, post, &piece.body, files, progress)
            .await
            .map_err(|error| unwritten(&error, delivery.is_repeat(n)))?;
        let mut fixed = self.seal(&post, piece.sent_at_ms)?;
        fixed.missing = missing;
        if let Some(store) = &delivery.on_encoded {
            let signed = SogsPiece {
                fixed: Some(fixed.clone()),
                ..piece.clone()
            };
            let is_cut = delivery.pieces.get(n).is_some_and(Encoded::is_cut);
            if !store(n, signed.encode().cut(is_cut)).await {
                return Err(Attempt::new(Outcome::deferred(
                    "the finished message could not be stored, so it was not posted",
                    "check the disk of the outbox",
                )));
            }
        }
        Ok(fixed)
    }
}

/// Returns true if a failed upload says nothing about a post: the server refuses the file, or the file takes too long.
fn concerns_file(error: &SogsError) -> bool {
    match error.cause() {
        Cause::Forbidden
        | Cause::TooLarge
        | Cause::BadRequest
        | Cause::NotFound
        | Cause::NotASogs
        | Cause::RateLimited
        | Cause::Rejected
        | Cause::AlreadyDecided
        | Cause::UnexpectedStatus => error.status().is_some(),
        Cause::ServerError => matches!(error.status(), Some(500 | 501 | 507)),
        Cause::Timeout { phase } => *phase != "connect",
        _ => false,
    }
}

/// Uploads files and adds them to a post. Returns it with a line for each file that the server does not take.
async fn with_files(
    room: &Room,
    mut post: Post,
    body: &str,
    files: &[File],
    progress: Option<&Progress>,
) -> Result<(Post, Vec<String>), SogsError> {
    let mut missing = Vec::new();
    for file in files {
        match upload(room, file, progress).await {
            Ok(uploaded) => post = post.file(uploaded),
            // The text goes all the same, unless there is none or the server would not take it either.
            Err(error) if !body.trim().is_empty() && concerns_file(&error) => {
                missing.push(format!("the attachment `{}`: {error}", file.name));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((post, missing))
}

async fn upload(room: &Room, file: &File, progress: Option<&Progress>) -> Result<UploadedFile, SogsError> {
    let mut upload = Upload::new(file.bytes.clone())
        .name(file.name.clone())
        .content_type(file.media_type.clone());
    if let Some(Progress(tell)) = progress.cloned() {
        // The room too: one file goes to several.
        let name = format!("{} to {}", file.name, room.token());
        upload = upload.on_progress(move |sent, total| tell(&name, sent, total));
    }
    room.upload(upload).await
}

/// The attempt whose answer shows our message.
fn taken(posted: &Posted) -> Attempt {
    match posted.withheld {
        Some(why) => withheld(why, Some(posted.id)),
        None => delivered(posted.id),
    }
}

/// The attempt that the server accepted without showing our message; `None` for any other failure.
fn accepted(error: &SogsError) -> Option<Attempt> {
    let Cause::Unproven {
        id,
        detail,
        withheld: hidden,
    } = error.cause()
    else {
        return None;
    };
    if let Some(why) = hidden {
        return Some(withheld(*why, *id));
    }
    let mut attempt = Attempt::new(Outcome::Delivered {
        confirmed_by: Confirmation::HandedOver,
        id: id.map(|id| id.to_string()),
    });
    attempt
        .notes
        .push(format!("the server accepted it, but its answer {detail}"));
    Some(attempt)
}

fn withheld(why: Withheld, id: Option<u64>) -> Attempt {
    Attempt::new(Outcome::Partial {
        lack: Lack::Withheld,
        id: id.map(|id| id.to_string()),
        reason: why.reason().to_owned(),
        remedy: why.remedy().to_owned(),
    })
}

fn delivered(id: u64) -> Attempt {
    Attempt::new(Outcome::Delivered {
        confirmed_by: Confirmation::Server,
        id: Some(id.to_string()),
    })
}

/// The attempt that was not made, because an earlier one may have arrived and the room cannot be searched for it.
fn in_doubt(why: &dyn std::fmt::Display) -> Attempt {
    Attempt {
        may_have_arrived: true,
        ..Attempt::new(Outcome::Partial {
            lack: Lack::Proof,
            id: None,
            reason: format!(
                "an earlier attempt may have arrived, and the room cannot be searched for it: {why}"
            ),
            remedy: "look for the message in the room; send it again if it is not there".to_owned(),
        })
    }
}

/// The attempt that failed before a byte of the message was written; `doubt` is about an attempt before it.
fn unwritten(error: &SogsError, doubt: bool) -> Attempt {
    Attempt {
        may_have_arrived: doubt,
        ..failed(error)
    }
}

fn refused(problem: Diagnostic) -> Attempt {
    Attempt::new(Outcome::refused(problem.cause, problem.remedy))
}

/// Applies the rules for a URL that somebody else handed over.
fn guarded(builder: ServerBuilder, guest: Option<Guest>) -> ServerBuilder {
    let Some(guest) = guest else {
        return builder;
    };
    let builder = builder.quote_answers(false);
    match guest.address_rule() {
        Some(rule) => builder.address_rule(rule),
        None => builder,
    }
}

fn failed(error: &SogsError) -> Attempt {
    if matches!(error.cause(), Cause::AddressNotAllowed) {
        return Attempt::new(Outcome::refused(error.to_string(), crate::address::REMEDY));
    }
    let outcome = if error.is_permanent() {
        Outcome::refused(error.to_string(), error.remedy())
    } else {
        Outcome::Deferred {
            reason: error.to_string(),
            remedy: error.remedy(),
            retry_after: error.retry_after(),
        }
    };
    Attempt {
        outcome,
        notes: Vec::new(),
        // These two are the server's own word that it did not take it; a gateway's word is none.
        came_back: false,
        may_have_arrived: error.is_ambiguous() && !matches!(error.status(), Some(500 | 503)),
        // A name that does not resolve is never a refusal here.
        unresolved: false,
        repeated: false,
    }
}
