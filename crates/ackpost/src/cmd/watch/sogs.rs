//! Events of communities.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sogs_client::poll::{Cursor, Event, PollOptions};
use sogs_client::{RoomToken, Server, SessionId};
use tokio::sync::mpsc::Sender;

use super::{Cursors, Ended, Seen};
use crate::cmd::dm;
use crate::cmd::room::place::{Place, failed};
use crate::cmd::room::show;
use crate::exit::Failure;

/// The longest pause between two attempts to reach a server for the first time.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Options for following rooms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) backlog: u32,
    pub(super) interval: Duration,
}

/// The rooms of one server, and the inbox there.
pub(super) struct Source {
    server: Server,
    options: PollOptions,
    /// The earlier places, by server and account. The account may be known only after the server has answered.
    places: Map<String, Value>,
}

impl Source {
    pub(super) fn new(places: &[Place], options: Options, cursors: &Cursors) -> Self {
        let rooms = places.iter().map(|place| place.room.token().clone());
        let server = places[0].room.server().clone();
        let places = cursors.of(server.base_url());
        Self {
            server,
            options: PollOptions {
                interval: options.interval,
                backlog: options.backlog,
                ..PollOptions::rooms(rooms)
            },
            places,
        }
    }

    pub(super) async fn run(self, sender: Sender<Seen>) -> Ended {
        let mut wait = self.options.interval;
        let me = loop {
            if self.server.identity().is_none() {
                break None;
            }
            match self.server.my_id().await {
                Ok(me) => break Some(me),
                Err(error) if error.is_permanent() => return Some(failed(error)),
                Err(error) => {
                    let retry_in = wait.max(error.retry_after().unwrap_or_default());
                    wait = (wait * 2).min(LONGEST_WAIT);
                    let (mut value, text) = describe(&Event::Interrupted { error, retry_in }, None);
                    self.name(&mut value);
                    let text = Some(text);
                    let mark = None;
                    if sender
                        .send(Seen {
                            value,
                            text,
                            mark,
                            printed: None,
                        })
                        .await
                        .is_err()
                    {
                        return None;
                    }
                    tokio::time::sleep(retry_in).await;
                }
            }
        };
        let base = self.server.base_url();
        let key = match &me {
            Some(me) => format!("{base} {me}"),
            None => base.to_owned(),
        };
        let cursor: Cursor = match self.places.get(&key).cloned().map(serde_json::from_value) {
            None => Cursor::default(),
            Some(Ok(cursor)) => cursor,
            Some(Err(error)) => {
                return Some(Failure::new(
                    format!("the cursor file is damaged: {error}"),
                    "remove it to start again",
                ));
            }
        };
        self.follow(key, me, cursor, sender).await
    }

    /// Adds the service and the server of an event.
    fn name(&self, value: &mut Value) {
        value["service"] = "sogs".into();
        value["source"] = self.server.base_url().into();
        if let Some(token) = value["info"]["token"]
            .as_str()
            .and_then(|token| RoomToken::new(token).ok())
        {
            value["info"]["link"] = self.server.room(&token).join_link().to_string().into();
        }
    }

    async fn follow(self, key: String, me: Option<SessionId>, cursor: Cursor, sender: Sender<Seen>) -> Ended {
        let mut poll = self.server.poll(self.options.clone(), cursor);
        let caught_up = poll.caught_up();
        tokio::pin!(caught_up);
        let mut present = false;
        loop {
            let event = tokio::select! {
                event = poll.next() => event,
                () = &mut caught_up, if !present => {
                    present = true;
                    // The place in a quiet room comes without an event.
                    let place = serde_json::to_value(poll.cursor()).expect("a cursor has a JSON form");
                    if sender.send(Seen::place(key.clone(), place)).await.is_err() {
                        return None;
                    }
                    continue;
                }
            };
            let event = match event {
                Ok(event) => event,
                Err(error) => return Some(failed(error)),
            };
            let (mut value, text) = describe(&event, me);
            self.name(&mut value);
            let place = serde_json::to_value(poll.cursor()).expect("a cursor has a JSON form");
            let seen = Seen {
                value,
                text: Some(text),
                mark: Some((key.clone(), place)),
                printed: None,
            };
            if sender.send(seen).await.is_err() {
                return None;
            }
        }
    }
}

/// For programs and for people.
fn describe(event: &Event, me: Option<SessionId>) -> (Value, String) {
    let in_room = |room: &RoomToken, text: String| format!("[{room}] {text}");
    match event {
        Event::Message { room, message } | Event::Edited { room, message } => {
            let mut value = show::message_json(message);
            value["event"] = if matches!(event, Event::Edited { .. }) {
                "edited"
            } else {
                "message"
            }
            .into();
            value["room"] = room.as_str().into();
            value["own"] = (Some(message.author) == me).into();
            (value, in_room(room, show::message_text(message)))
        }
        Event::Deleted { room, tombstone } => {
            let time = tombstone.deleted_at.map(show::utc_time);
            let from = tombstone.author;
            let value = json!({
                "event": "deleted", "room": room, "id": tombstone.id, "from": from, "time": time,
            });
            (value, in_room(room, format!("#{} deleted", tombstone.id)))
        }
        Event::Reactions { room, row } => {
            let value =
                json!({ "event": "reactions", "room": room, "id": row.id, "reactions": row.reactions });
            (
                value,
                in_room(
                    room,
                    format!("#{}  {}", row.id, show::reactions_text(&row.reactions)),
                ),
            )
        }
        Event::RoomChanged { info } => {
            let value = json!({ "event": "room", "room": info.token, "info": show::room_json(info, None) });
            (
                value,
                in_room(
                    &info.token,
                    format!("the room changed: {}", show::safe(&info.name)),
                ),
            )
        }
        Event::Direct(message) => {
            let mut value = dm::direct_json(message);
            value["event"] = "direct".into();
            (value, format!("[direct] {}", dm::direct_text(message)))
        }
        event => describe_access(event),
    }
}

/// Describes the rooms that can or cannot be read now.
fn describe_access(event: &Event) -> (Value, String) {
    let in_room = |room: &RoomToken, text: String| format!("[{room}] {text}");
    match event {
        Event::RoomLost { room, error } => {
            let value = json!({
                "event": "room_lost", "room": room, "reason": error.to_string(), "remedy": error.remedy(),
            });
            (
                value,
                in_room(
                    room,
                    format!("cannot be read: {}", show::safe(&error.to_string())),
                ),
            )
        }
        Event::RoomBack { room } => (
            json!({ "event": "room_back", "room": room }),
            in_room(room, "can be read again".to_owned()),
        ),
        Event::Gap { room } => (
            json!({ "event": "gap", "room": room }),
            in_room(
                room,
                "the community was restored from a backup: messages may be missing".to_owned(),
            ),
        ),
        Event::InboxLost { error } => {
            let value = json!({
                "event": "inbox_lost", "reason": error.to_string(), "remedy": error.remedy(),
            });
            (
                value,
                format!("[direct] cannot be read: {}", show::safe(&error.to_string())),
            )
        }
        Event::InboxBack => (
            json!({ "event": "inbox_back" }),
            "[direct] can be read again".to_owned(),
        ),
        Event::Interrupted { error, retry_in } => {
            let value = json!({
                "event": "offline", "reason": error.to_string(), "remedy": error.remedy(),
                "retry_in_secs": retry_in.as_secs(),
            });
            (
                value,
                format!(
                    "{}; again in {} s",
                    show::safe(&error.to_string()),
                    retry_in.as_secs()
                ),
            )
        }
        _ => (json!({ "event": "other" }), String::new()),
    }
}
