//! One XMPP account: a kept session that sends and receives.

use std::sync::Arc;

use ackpost_notify::{ConnectionOptions, Context, Environment, ServiceUrl};
use ackpost_services::SERVICES;
use ackpost_xmpp::{
    About, Account, Attachment, Content, Events, Jid, Outcome, Outgoing, RoomTarget, Session, SessionOptions,
    Target, XmppError,
};
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};

use crate::answer::{Answer, Failure, arguments};
use crate::pending::Pending;
use crate::place::{self, Variables};
use crate::process::Kept;
use crate::stanza;

impl From<XmppError> for Failure {
    fn from(error: XmppError) -> Self {
        Self {
            kind: if error.is_permanent() {
                "refused"
            } else {
                "deferred"
            },
            cause: error.to_string(),
            remedy: error.remedy().into_owned(),
            retry_after: error.retry_after().map(|after| after.as_secs_f64()),
        }
    }
}

/// An account that logs in once and stays.
#[pyclass(frozen)]
pub struct Xmpp(Kept<Inner>);

struct Inner {
    account: Account,
    rooms: Vec<RoomTarget>,
    session: OnceCell<Session>,
    events: Mutex<Option<Events>>,
}

/// A call as Python hands it over.
#[derive(Debug, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case", deny_unknown_fields)]
enum Call {
    /// Logs in.
    Open,
    Send(Send),
    React {
        to: String,
        room: bool,
        id: String,
        emoji: Vec<String>,
    },
    Retract {
        to: String,
        room: bool,
        id: String,
    },
    File {
        to: String,
        room: bool,
        name: String,
        media_type: String,
    },
    Join {
        room: String,
        nick: Option<String>,
        password: Option<String>,
        create: bool,
    },
    Leave {
        room: String,
    },
    /// Waits for the next event.
    Next,
    Close,
}

/// A message as Python hands it over.
#[derive(Debug, Deserialize)]
struct Send {
    to: String,
    room: bool,
    text: String,
    subject: Option<String>,
    /// The message that it answers.
    reply_to: Option<Place>,
    /// The message that it corrects.
    replaces: Option<String>,
}

impl Send {
    fn message(self) -> Result<Outgoing, Failure> {
        let content = Content {
            subject: self.subject,
            ..Content::text(self.text)
        };
        let mut message = Outgoing::new(target(&self.to, self.room)?, content);
        message.replaces = self.replaces;
        if let Some(place) = self.reply_to {
            let to = place.to.as_deref().map(jid).transpose()?;
            message.about = Some(About::Reply {
                id: place.id,
                to,
                quoted: 0,
            });
        }
        Ok(message)
    }
}

/// A message that another one is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    id: String,
    to: Option<String>,
}

fn jid(text: &str) -> Result<Jid, Failure> {
    text.parse().map_err(|error: ackpost_xmpp::JidError| {
        Failure::config(
            format!("`{text}` is not an address: {error}"),
            "write user@example.org or room@rooms.example.org",
        )
    })
}

fn target(text: &str, room: bool) -> Result<Target, Failure> {
    let jid = jid(text)?;
    Ok(if room {
        RoomTarget::new(jid).into()
    } else {
        jid.into()
    })
}

fn sent(outcome: Option<Outcome>) -> Result<Value, Failure> {
    match outcome {
        Some(Outcome::Delivered(delivered)) => {
            let notes: Vec<String> = delivered.notes.iter().map(ToString::to_string).collect();
            Ok(json!({ "id": delivered.id, "confirmed_by": delivered.confirmed_by.as_str(), "notes": notes }))
        }
        Some(Outcome::Deferred(error) | Outcome::Refused(error)) => Err(error.into()),
        // Of a later version of the library, or none at all: nothing says that it arrived.
        _ => Err(XmppError::SessionClosed.into()),
    }
}

impl Inner {
    async fn open(&self) -> Result<&Session, Failure> {
        self.session
            .get_or_try_init(|| async {
                let options = SessionOptions::receiving(self.rooms.clone());
                let (session, events) = Session::open(&self.account, options).await?;
                *self.events.lock().await = Some(events);
                Ok(session)
            })
            .await
    }

    async fn send(&self, message: Outgoing) -> Result<Value, Failure> {
        sent(self.open().await?.send(vec![message]).await.pop())
    }

    async fn call(&self, call: Call, parts: Vec<Vec<u8>>) -> Result<Value, Failure> {
        match call {
            Call::Open => Ok(json!(self.open().await?.jid().to_string())),
            Call::Join {
                room,
                nick,
                password,
                create,
            } => {
                let address = jid(&room)?.to_bare();
                let mut wanted = RoomTarget::new(address.clone());
                wanted.nick = nick;
                wanted.password = password.map(Into::into);
                wanted.create = create;
                self.open().await?.join(wanted).await?;
                // Events name the room in its normal form.
                Ok(json!(address.to_string()))
            }
            Call::Leave { room } => {
                self.open().await?.leave(jid(&room)?).await?;
                Ok(Value::Null)
            }
            Call::Next => {
                self.open().await?;
                let mut events = self.events.lock().await;
                let next = match events.as_mut() {
                    Some(events) => events.next().await,
                    None => None,
                };
                Ok(next.as_ref().map_or(Value::Null, stanza::event))
            }
            Call::Close => {
                if let Some(session) = self.session.get() {
                    session.clone().close().await;
                }
                Ok(Value::Null)
            }
            Call::Send(send) => self.send(send.message()?).await,
            Call::React { to, room, id, emoji } => {
                let mut message = Outgoing::new(target(&to, room)?, Content::default());
                message.about = Some(About::Reactions { id, emoji });
                self.send(message).await
            }
            Call::Retract { to, room, id } => {
                let text = "This person took a message back, but your program does not support this.";
                let mut message = Outgoing::new(target(&to, room)?, Content::text(text));
                message.about = Some(About::Retraction { id });
                self.send(message).await
            }
            Call::File {
                to,
                room,
                name,
                media_type,
            } => {
                let data = parts.into_iter().next().unwrap_or_default();
                let file = Arc::new(Attachment::new(name, media_type, data));
                let content = Content {
                    attachments: vec![file],
                    ..Content::default()
                };
                self.send(Outgoing::new(target(&to, room)?, content)).await
            }
        }
    }
}

#[pymethods]
impl Xmpp {
    /// Makes an account from a URL; JSON of an error raises `ValueError` with that JSON.
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "Python hands a copy over")]
    fn new(url: &str, environment: Variables) -> PyResult<Self> {
        let parts = || {
            let vars = environment
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            let context = Context::default()
                .with_services(SERVICES)
                .with_env(Environment::from_vars(vars));
            let service = ServiceUrl::parse(url, &context)?;
            let connections = ConnectionOptions::default()
                .with_resident(true)
                .with_state_folder(Some(place::state_folder(&environment)));
            service.xmpp_parts(&connections).unwrap_or_else(|| {
                let cause = "this is not a URL of an XMPP account";
                Err(ackpost_notify::Diagnostic::error(
                    cause,
                    "write xmpps://user:password@example.org",
                ))
            })
        };
        let parts = parts().map_err(|problem| {
            pyo3::exceptions::PyValueError::new_err(Answer::error(&problem.into()).text)
        })?;
        Ok(Self(Kept::new(Inner {
            account: parts.account,
            rooms: parts.rooms,
            session: OnceCell::new(),
            events: Mutex::default(),
        })))
    }

    /// The rooms of the URL.
    fn rooms(&self) -> Vec<String> {
        self.0
            .rooms
            .iter()
            .map(|room| room.room.to_bare().to_string())
            .collect()
    }

    /// Starts a call, given as JSON; `parts` are the bytes of its file.
    fn call(&self, call: &str, parts: Vec<Vec<u8>>) -> PyResult<Pending> {
        let call: Call = arguments(call)?;
        let inner = Arc::clone(&self.0);
        Pending::start(async move { Answer::from(inner.call(call, parts).await) })
    }
}
