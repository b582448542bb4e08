//! Communities of Session: rooms, messages, files, and what happens in them.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ackpost_notify::{ConnectionOptions, Context, Environment, ServiceUrl};
use ackpost_services::SERVICES;
use futures_util::future::{Either, select};
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use session_protocol::{JoinLink, RoomToken, SessionId};
use sogs_client::poll::{Cursor, Poll, PollOptions};
use sogs_client::{
    Encrypt, ListOptions, Post, Posted, RoleChange, Room, Server, SogsError, Upload, UploadedFile, Verify,
    Withheld,
};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use crate::answer::{Answer, Failure, arguments};
use crate::event;
use crate::identity;
use crate::pending::Pending;
use crate::place::Variables;
use crate::process::{self, Kept};

impl From<SogsError> for Failure {
    fn from(error: SogsError) -> Self {
        Self {
            kind: if error.is_permanent() {
                "refused"
            } else {
                "deferred"
            },
            cause: error.to_string(),
            remedy: error.remedy(),
            retry_after: error.retry_after().map(|after| after.as_secs_f64()),
        }
    }
}

/// A server with an account, as Python describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerArguments {
    link: String,
    seed: Option<String>,
    encrypt: Option<bool>,
    verify: bool,
    ca: Option<String>,
    proxies: bool,
    timeout: Option<f64>,
}

impl ServerArguments {
    fn build(self) -> Result<(Server, RoomToken), Failure> {
        let link: JoinLink = self
            .link
            .parse()
            .map_err(|error: session_protocol::link::LinkError| {
                Failure::config(
                    format!("the join link cannot be used: {error}"),
                    "copy it whole: https://HOST/ROOM?public_key=KEY",
                )
            })?;
        let mut builder =
            Server::builder(link.base_url(), link.public_key()).proxies_from_environment(self.proxies);
        if let Some(seed) = self.seed {
            builder = builder.identity(identity::from_seed(&seed)?);
        }
        if let Some(encrypt) = self.encrypt {
            builder = builder.encrypt(if encrypt { Encrypt::Yes } else { Encrypt::No });
        }
        if !self.verify {
            builder = builder.verify(Verify::No);
        } else if let Some(ca) = self.ca {
            builder = builder.verify(Verify::Authorities(ca.into_bytes().into()));
        }
        if let Some(limit) = self
            .timeout
            .and_then(|limit| Duration::try_from_secs_f64(limit).ok())
        {
            builder = builder
                .call_timeout(limit)
                .read_timeout(limit)
                .connect_timeout(limit);
        }
        Ok((builder.build()?, link.room().clone()))
    }
}

/// A server, and perhaps an account on it.
#[pyclass(frozen)]
#[derive(Debug)]
pub struct Community {
    server: Kept<Server>,
    /// The rooms of the link or URL, at least one.
    rooms: Vec<RoomToken>,
}

/// A file that goes with a post, as Python describes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileArguments {
    bytes: usize,
    name: Option<String>,
    media_type: Option<String>,
}

/// A post as Python describes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PostArguments {
    text: String,
    name: Option<String>,
    files: Vec<FileArguments>,
    /// The number of the message that it answers.
    reply_to: Option<u64>,
    whisper_to: Option<SessionId>,
    whisper_mods: bool,
}

/// A call as Python hands it over.
#[derive(Debug, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case", deny_unknown_fields)]
enum Call {
    Me,
    Rooms,
    Info {
        room: RoomToken,
    },
    Recent {
        room: RoomToken,
        limit: u32,
    },
    Before {
        room: RoomToken,
        id: u64,
        limit: u32,
    },
    Message {
        room: RoomToken,
        id: u64,
    },
    Post {
        room: RoomToken,
        post: PostArguments,
    },
    Edit {
        room: RoomToken,
        id: u64,
        post: PostArguments,
    },
    Delete {
        room: RoomToken,
        id: u64,
    },
    DeleteAll {
        room: RoomToken,
        user: SessionId,
    },
    React {
        room: RoomToken,
        id: u64,
        emoji: String,
    },
    Unreact {
        room: RoomToken,
        id: u64,
        emoji: String,
    },
    Pin {
        room: RoomToken,
        id: u64,
    },
    Unpin {
        room: RoomToken,
        id: Option<u64>,
    },
    Ban {
        room: RoomToken,
        user: SessionId,
        seconds: Option<f64>,
    },
    Unban {
        room: RoomToken,
        user: SessionId,
    },
    Role {
        room: RoomToken,
        user: SessionId,
        moderator: Option<bool>,
        admin: Option<bool>,
        visible: Option<bool>,
    },
    Download {
        room: RoomToken,
        id: u64,
    },
    Direct {
        to: SessionId,
        text: String,
        name: Option<String>,
    },
}

async fn post_of(room: &Room, post: PostArguments, mut parts: Vec<Vec<u8>>) -> Result<Post, SogsError> {
    let mut made = Post::text(post.text).name(post.name.unwrap_or_default());
    if let Some(id) = post.reply_to {
        made = made.reply_to(&room.message(id).await?);
    }
    if let Some(user) = post.whisper_to {
        made = made.whisper_to(user);
    }
    if post.whisper_mods {
        made = made.whisper_mods();
    }
    for file in post.files {
        let bytes = parts.get_mut(file.bytes).map(std::mem::take).unwrap_or_default();
        let mut upload = Upload::new(bytes);
        if let Some(name) = file.name {
            upload = upload.name(name);
        }
        if let Some(media_type) = file.media_type {
            upload = upload.content_type(media_type);
        }
        let uploaded: UploadedFile = room.upload(upload).await?;
        made = made.file(uploaded);
    }
    Ok(made)
}

fn posted(posted: &Posted) -> Value {
    json!({
        "id": posted.id,
        "message": posted.message.as_deref().map(event::message),
        "withheld": withheld(posted.withheld.as_ref()),
    })
}

fn withheld(withheld: Option<&Withheld>) -> Value {
    withheld.map_or(Value::Null, |why| format!("{why:?}").to_lowercase().into())
}

impl Call {
    async fn run(self, server: &Server, parts: Vec<Vec<u8>>) -> Result<Answer, SogsError> {
        let done = |()| Value::Null;
        let value = match self {
            Self::Me => json!(server.my_id().await?),
            Self::Rooms => server.rooms().await?.iter().map(event::room).collect(),
            Self::Info { room } => event::room(&server.room(&room).info().await?),
            Self::Recent { room, limit } => {
                let messages = server.room(&room).recent(ListOptions::limit(limit)).await?;
                messages.iter().map(event::message).collect()
            }
            Self::Before { room, id, limit } => {
                let messages = server.room(&room).before(id, ListOptions::limit(limit)).await?;
                messages.iter().map(event::message).collect()
            }
            Self::Message { room, id } => event::message(&server.room(&room).message(id).await?),
            Self::Post { room, post } => {
                let room = server.room(&room);
                let post = post_of(&room, post, parts).await?;
                posted(&room.post_or_find(post).await?)
            }
            Self::Edit { room, id, post } => {
                let room = server.room(&room);
                let post = post_of(&room, post, parts).await?;
                let edited = room.edit(id, post).await?;
                json!({ "id": id, "message": null, "withheld": withheld(edited.withheld.as_ref()) })
            }
            Self::Delete { room, id } => server.room(&room).delete(id).await.map(done)?,
            Self::DeleteAll { room, user } => server.room(&room).delete_all(&user).await.map(done)?,
            Self::React { room, id, emoji } => json!(server.room(&room).react(id, &emoji).await?.added),
            Self::Unreact { room, id, emoji } => json!(server.room(&room).unreact(id, &emoji).await?.removed),
            Self::Pin { room, id } => server.room(&room).pin(id).await.map(|_| Value::Null)?,
            Self::Unpin { room, id: Some(id) } => json!(server.room(&room).unpin(id).await?.unpinned),
            Self::Unpin { room, id: None } => json!(server.room(&room).unpin_all().await?.unpinned),
            Self::Ban { room, user, seconds } => {
                let limit = seconds.and_then(|limit| Duration::try_from_secs_f64(limit).ok());
                server.room(&room).ban(&user, limit).await.map(done)?
            }
            Self::Unban { room, user } => server.room(&room).unban(&user).await.map(done)?,
            Self::Role {
                room,
                user,
                moderator,
                admin,
                visible,
            } => {
                let change = RoleChange {
                    moderator,
                    admin,
                    visible,
                };
                server
                    .room(&room)
                    .set_role(&user, change)
                    .await
                    .map(|_| Value::Null)?
            }
            Self::Download { room, id } => {
                let file = server.room(&room).download(id).await?;
                let mut answer = Answer::ok(&json!({ "name": file.name }));
                answer.bytes = Some(file.bytes.to_vec());
                return Ok(answer);
            }
            Self::Direct { to, text, name } => server
                .inbox()
                .send(&to, &text, name.as_deref())
                .await
                .map(|_| Value::Null)?,
        };
        Ok(Answer::ok(&value))
    }
}

/// Options for following rooms, as Python writes them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FollowArguments {
    rooms: Vec<RoomToken>,
    cursor: Option<Cursor>,
    interval: f64,
    backlog: u32,
    inbox: bool,
    persistent: bool,
}

#[pymethods]
impl Community {
    /// Makes a server; JSON of an error instead of a server raises `ValueError` with that JSON.
    #[new]
    fn new(settings: &str) -> PyResult<Self> {
        let settings: ServerArguments = arguments(settings)?;
        let (server, room) = settings.build().map_err(raised)?;
        Ok(Self {
            server: Kept::new(server),
            rooms: vec![room],
        })
    }

    /// Makes a server of a `sessions://` URL, with its account and rooms; errors as in `new`.
    #[staticmethod]
    #[expect(clippy::needless_pass_by_value, reason = "Python hands a copy over")]
    fn from_url(url: &str, environment: Variables) -> PyResult<Self> {
        let (server, rooms) = access(url, &environment).map_err(|problem| raised(problem.into()))?;
        Ok(Self {
            server: Kept::new(server),
            rooms,
        })
    }

    /// The rooms of the join link or URL.
    fn rooms(&self) -> Vec<String> {
        self.rooms.iter().map(ToString::to_string).collect()
    }

    /// The id of the account.
    fn account(&self) -> Option<String> {
        self.server
            .identity()
            .map(|identity| identity.session_id().to_string())
    }

    /// The join link of a room.
    fn link(&self, room: &str) -> PyResult<String> {
        let room: RoomToken = token(room)?;
        Ok(self.server.room(&room).join_link().to_string())
    }

    /// Starts a call, given as JSON; `parts` are the bytes of its files.
    fn call(&self, call: &str, parts: Vec<Vec<u8>>) -> PyResult<Pending> {
        let call: Call = arguments(call)?;
        let server = Arc::clone(&self.server);
        Pending::start(async move {
            let sends = matches!(call, Call::Post { .. } | Call::Direct { .. });
            match call.run(&server, parts).await {
                Ok(answer) => answer,
                Err(error) => {
                    // A server that says 503 has done nothing.
                    let may_be_there = sends && error.is_ambiguous() && error.status() != Some(503);
                    let mut failure = Failure::from(error);
                    if may_be_there {
                        failure.kind = "doubt";
                        failure.remedy = format!(
                            "look for the message before you send it again; {}",
                            failure.remedy
                        );
                    }
                    Answer::error(&failure)
                }
            }
        })
    }

    /// Follows rooms from a place on.
    fn follow(&self, options: &str) -> PyResult<Events> {
        let options: FollowArguments = arguments(options)?;
        let poll = PollOptions {
            inbox: options.inbox,
            interval: Duration::try_from_secs_f64(options.interval).unwrap_or(Duration::from_secs(4)),
            backlog: options.backlog,
            persistent: options.persistent,
            ..PollOptions::rooms(options.rooms)
        };
        let poll = self.server.poll(poll, options.cursor.unwrap_or_default());
        Ok(Events {
            poll: Kept::new(Mutex::new(poll)),
            asking: std::sync::Mutex::new(None),
            present: Arc::default(),
            process: std::process::id(),
        })
    }
}

fn access(
    url: &str,
    environment: &Variables,
) -> Result<(Server, Vec<RoomToken>), ackpost_notify::Diagnostic> {
    let vars = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let context = Context::default()
        .with_services(SERVICES)
        .with_env(Environment::from_vars(vars));
    let parts = ServiceUrl::parse(url, &context)?.sogs_parts(&ConnectionOptions::default());
    let parts = parts.unwrap_or_else(|| {
        Err(ackpost_notify::Diagnostic::error(
            "this is not a URL of a community",
            "write sessions://KEY:SEED@HOST/ROOM",
        ))
    })?;
    let access = parts.connect()?;
    Ok((access.server, access.rooms))
}

/// An error as the face of Python takes it.
#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
pub(crate) fn raised(failure: Failure) -> PyErr {
    pyo3::exceptions::PyValueError::new_err(Answer::error(&failure).text)
}

fn token(text: &str) -> PyResult<RoomToken> {
    RoomToken::new(text).map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))
}

/// The events of rooms, one after the other.
#[pyclass(frozen)]
pub struct Events {
    poll: Kept<Mutex<Poll>>,
    /// The call for the next event. It would go on asking the server after nobody has the events any more.
    asking: std::sync::Mutex<Option<AbortHandle>>,
    /// True once Python has the position of the present, which comes without an event.
    present: Arc<AtomicBool>,
    process: u32,
}

impl Drop for Events {
    fn drop(&mut self) {
        // The task of a forked child's parent is not ours.
        if process::is_other(self.process) {
            return;
        }
        let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = asking.as_ref() {
            task.abort();
        }
    }
}

#[pymethods]
impl Events {
    /// Waits for the next event; the answer has the event and the place behind it. When everything from before has been told,
    /// a place comes without an event, so that what is written after a quiet run is not lost.
    fn next(&self) -> PyResult<Pending> {
        let (poll, present) = (Arc::clone(&self.poll), Arc::clone(&self.present));
        let pending = Pending::start(async move {
            let mut poll = poll.lock().await;
            let me = if poll.server().identity().is_some() {
                poll.server().my_id().await.ok()
            } else {
                None
            };
            let next = if present.load(Ordering::Relaxed) {
                poll.next().await.map(Some)
            } else {
                let caught_up = pin!(poll.caught_up());
                let next = pin!(poll.next());
                match select(next, caught_up).await {
                    Either::Left((next, _)) => next.map(Some),
                    Either::Right(_) => {
                        present.store(true, Ordering::Relaxed);
                        Ok(None)
                    }
                }
            };
            match next {
                Ok(next) => {
                    let event = next.map(|next| event::event(&next, me));
                    Answer::ok(&json!({ "event": event, "cursor": poll.cursor() }))
                }
                Err(error) => Answer::error(&error.into()),
            }
        })?;
        *self.asking.lock().unwrap_or_else(PoisonError::into_inner) = Some(pending.abort_handle());
        Ok(pending)
    }
}
