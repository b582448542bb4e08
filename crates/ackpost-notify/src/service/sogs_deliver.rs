//! Posts to community rooms.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use session_protocol::auth::Signer;
use session_protocol::{Identity, RoomToken, ServerKey, SessionId};
use sogs_client::{
    Blinding, Cause, Post, Posted, PreparedPost, Room, Server, ServerBuilder, SogsError, Upload,
    UploadedFile, Withheld,
};

use crate::Guest;
use crate::dispatch::{Attempt, Courier, CourierOptions, File, Parcel, Party, Progress, Stamp};
use crate::outcome::{Confirmation, Lack, Outcome};
use crate::problem::Problem;

use super::access::{SogsParts, authorities};
use super::sogs::{Blind, DEFAULT_NAME, Encrypt, Sogs};
use super::wire::{FixedPost, SogsWire};
use super::{Chunk, Common, Wire};

/// Longest time for one call, files included.
const TOTAL: Duration = Duration::from_mins(5);

impl Sogs {
    fn identity(&self) -> Result<Identity, Problem> {
        Identity::from_seed_hex(self.seed.expose_secret()).ok_or_else(|| {
            Problem::error("the seed is not 64 hex digits", "write the seed of the account").key("seed")
        })
    }

    fn server_key(&self) -> Result<ServerKey, Problem> {
        self.public_key.parse().map_err(|_| {
            Problem::error("the server's public key is no key", "copy it from the join link")
                .key("public_key")
        })
    }

    /// Settings, as a delivery uses them.
    pub(super) fn parts(
        &self,
        common: &Common,
        options: &CourierOptions,
        agent: &str,
    ) -> Result<SogsParts, Problem> {
        let key = self.server_key()?;
        let verify = if let Some(path) = &self.ca_file {
            sogs_client::Verify::Authorities(authorities(path)?)
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

    /// What a chunk is on the wire. Bytes and signatures are fixed here unless a quoted message must be looked up first.
    pub(super) fn wire(&self, chunk: &Chunk, stamp: &Stamp) -> SogsWire {
        let mut wire = SogsWire {
            body: chunk.body.to_string(),
            sent_at_ms: stamp.sent_at_ms,
            fixed: None,
            cut: chunk.cut,
        };
        if self.reply_to.is_none() && !chunk.body.is_empty() {
            wire.fixed = self.seal(&self.post(&wire.body), wire.sent_at_ms).ok();
        }
        wire
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
    fn seal(&self, post: &Post, sent_at_ms: u64) -> Result<FixedPost, Attempt> {
        let made = self.signers.get_or_init(|| {
            let (identity, key) = (self.identity().ok()?, self.server_key().ok()?);
            Some((Signer::account(&identity), Signer::blind15(&identity, &key)))
        });
        let Some((own, hidden)) = made else {
            // Neither is kept, so that the cause is told each time.
            self.identity().map_err(refused)?;
            self.server_key().map_err(refused)?;
            return Err(refused(Problem::error(
                "the account cannot sign",
                "check the URL",
            )));
        };
        let account = post.prepare(own, sent_at_ms).map_err(|error| failed(&error))?;
        let blinded = hidden.sign_message(&account.data);
        Ok(FixedPost {
            data: hex::encode(&account.data),
            account_signature: hex::encode(account.signature),
            blinded_signature: hex::encode(blinded),
            files: account.files,
            missing: Vec::new(),
        })
    }

    /// The post under the id that the server shows.
    fn prepared(&self, fixed: &FixedPost, signer: &Signer, sent_at_ms: u64) -> Result<PreparedPost, Attempt> {
        let author = signer.shown_id();
        let signature = if author.is_blinded() {
            &fixed.blinded_signature
        } else {
            &fixed.account_signature
        };
        let broken = || refused(Problem::error("the stored message is damaged", "send it again"));
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
            signed_at_ms: sent_at_ms,
        })
    }

    /// Posts the pieces of a parcel one after another; after a failure the rest is not tried, so that order is kept.
    pub(super) async fn send(&self, common: &Common, courier: &Courier, parcel: &Parcel) -> Vec<Attempt> {
        let room = match self.room(common, courier, parcel) {
            Ok(room) => room,
            Err(attempt) => return vec![attempt; parcel.wires.len()],
        };
        let mut attempts = Vec::with_capacity(parcel.wires.len());
        let mut stopped = false;
        for (n, wire) in parcel.wires.iter().enumerate() {
            let Wire::Sogs(wire) = wire else {
                attempts.push(refused(Problem::error(
                    "the stored message belongs to another service",
                    "send it again",
                )));
                continue;
            };
            if stopped {
                attempts.push(Attempt::new(Outcome::deferred(
                    "it was not tried, because a piece before it failed",
                    "it is sent when the piece before it is accepted",
                )));
                continue;
            }
            let files: &[File] = if n == 0 { &parcel.files } else { &[] };
            let progress = courier.options().progress.as_ref();
            let attempt = match self.post_one(&room, wire, files, parcel, n, progress).await {
                Ok(attempt) | Err(attempt) => attempt,
            };
            // What was withheld keeps its place among the pieces that follow.
            stopped = !attempt.outcome.is_taken();
            attempts.push(attempt);
        }
        attempts
    }

    fn room(&self, common: &Common, courier: &Courier, parcel: &Parcel) -> Result<Room, Attempt> {
        // As in the reference, no time is not "no limit": nothing is sent.
        let limits = [("cto", common.cto), ("rto", common.rto)];
        if let Some((name, _)) = limits.iter().find(|(_, seconds)| *seconds <= 0.0) {
            let problem = Problem::error(
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
        let server = courier
            .sogs_server(Party::of(common.guest), &key, self.seed.expose_secret(), || {
                let parts = self.parts(common, courier.options(), &courier.asset().app_id)?;
                parts.connect().map(|access| access.server)
            })
            .map_err(refused)?;
        let token = RoomToken::new(parcel.target.address.as_str()).map_err(|_| {
            refused(Problem::error(
                "this is no room token",
                "check the room in the URL",
            ))
        })?;
        Ok(server.room(&token))
    }

    /// What makes two URLs of one account need connections of their own.
    fn server_settings(&self, common: &Common) -> String {
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
        wire: &SogsWire,
        files: &[File],
        parcel: &Parcel,
        n: usize,
        progress: Option<&Progress>,
    ) -> Result<Attempt, Attempt> {
        let is_bare = |fixed: &FixedPost| fixed.files.is_empty() && fixed.missing.is_empty();
        let with_files = !files.is_empty() && wire.fixed.as_ref().is_none_or(is_bare);
        let fixed = match &wire.fixed {
            Some(fixed) if !with_files => fixed.clone(),
            _ => {
                self.fix_on_the_way(room, wire, files, parcel, n, progress)
                    .await?
            }
        };
        let mut attempt = self.post_fixed(room, wire, &fixed, parcel.is_repeat(n)).await?;
        attempt.outcome = attempt.outcome.without_files(&fixed.missing);
        Ok(attempt)
    }

    /// Posts what is fixed; a repeat is looked for first.
    async fn post_fixed(
        &self,
        room: &Room,
        wire: &SogsWire,
        fixed: &FixedPost,
        repeat: bool,
    ) -> Result<Attempt, Attempt> {
        // An attempt before this one was written, and nothing has shown yet what became of it.
        let mut doubt = repeat;
        let signer = room
            .server()
            .signer()
            .await
            .map_err(|error| unwritten(&error, doubt))?;
        let prepared = self.prepared(fixed, &signer, wire.sent_at_ms)?;
        if repeat {
            match room.find_own(&prepared).await {
                Ok(Some(found)) => {
                    let mut attempt = delivered(found.id);
                    attempt
                        .notes
                        .push("an earlier attempt had arrived; it was not posted again".to_owned());
                    return Ok(attempt);
                }
                Ok(None) => doubt = false,
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
                let prepared = self.prepared(fixed, &signer, wire.sent_at_ms)?;
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
        wire: &SogsWire,
        files: &[File],
        parcel: &Parcel,
        n: usize,
        progress: Option<&Progress>,
    ) -> Result<FixedPost, Attempt> {
        let mut post = self.post(&wire.body);
        if let Some(id) = self.reply_to.and_then(|id| u64::try_from(id).ok()) {
            let quoted = room
                .message(id)
                .await
                .map_err(|error| unwritten(&error, parcel.is_repeat(n)))?;
            post = post.reply_to(&quoted);
        }
        let mut missing = Vec::new();
        for file in files {
            match upload(room, file, progress).await {
                Ok(uploaded) => post = post.file(uploaded),
                // The text goes all the same, unless there is none or the server would not take it either.
                Err(error) if !wire.body.trim().is_empty() && concerns_file(&error) => {
                    missing.push(format!("the attachment `{}`: {error}", file.name));
                }
                Err(error) => return Err(unwritten(&error, parcel.is_repeat(n))),
            }
        }
        let mut fixed = self.seal(&post, wire.sent_at_ms)?;
        fixed.missing = missing;
        if let Some(tell) = &parcel.fixed {
            let stored = tell(
                n,
                Wire::Sogs(SogsWire {
                    fixed: Some(fixed.clone()),
                    ..wire.clone()
                }),
            )
            .await;
            if !stored {
                return Err(Attempt::new(Outcome::deferred(
                    "the finished message could not be stored, so it was not posted",
                    "check the disk of the outbox",
                )));
            }
        }
        Ok(fixed)
    }
}

/// Whether a failed upload says nothing about a post: the server refuses the file, or the file takes too long.
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
fn in_doubt(error: &SogsError) -> Attempt {
    Attempt {
        may_have_arrived: true,
        ..Attempt::new(Outcome::Partial {
            lack: Lack::Proof,
            id: None,
            reason: format!(
                "an earlier attempt may have arrived, and the room cannot be searched for it: {error}"
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

fn refused(problem: Problem) -> Attempt {
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
