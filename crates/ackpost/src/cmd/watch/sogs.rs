//! Events of communities.

use std::time::Duration;

use serde_json::{Value, json};
use sogs_client::poll::{Cursor, Event, Poll, PollOptions};
use sogs_client::{RoomToken, SessionId};
use tokio::sync::mpsc::Sender;

use super::{Cursors, Ended, Seen};
use crate::cmd::dm;
use crate::cmd::room::place::{Place, failed};
use crate::cmd::room::show;
use crate::exit::Failure;

/// How to follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) backlog: u32,
    pub(super) interval: Duration,
}

/// The rooms of one server, and the inbox there.
pub(super) struct Source {
    poll: Poll,
    base: String,
    key: String,
    me: Option<SessionId>,
}

impl Source {
    pub(super) async fn new(places: &[Place], options: Options, cursors: &Cursors) -> Result<Self, Failure> {
        let server = places[0].room.server().clone();
        let me = match server.identity() {
            Some(_) => Some(server.my_id().await.map_err(failed)?),
            None => None,
        };
        let base = server.base_url().to_owned();
        let key = match &me {
            Some(me) => format!("{base} {me}"),
            None => base.clone(),
        };
        let cursor: Cursor = match cursors.get(&key) {
            None => Cursor::default(),
            Some(place) => serde_json::from_value(place.clone()).map_err(|e| {
                Failure::new(
                    format!("the cursor file is damaged: {e}"),
                    "remove it to begin anew",
                )
            })?,
        };
        let rooms = places.iter().map(|place| place.room.token().clone());
        let poll_options = PollOptions {
            interval: options.interval,
            backlog: options.backlog,
            ..PollOptions::rooms(rooms)
        };
        Ok(Self {
            poll: server.poll(poll_options, cursor),
            base,
            key,
            me,
        })
    }

    pub(super) async fn run(mut self, sender: Sender<Seen>) -> Ended {
        loop {
            let event = match self.poll.next().await {
                Ok(event) => event,
                Err(error) => return Some(failed(error)),
            };
            let (mut value, text) = self.describe(&event);
            value["service"] = "sogs".into();
            value["source"] = self.base.as_str().into();
            let place = serde_json::to_value(self.poll.cursor()).expect("a cursor has a JSON form");
            let seen = Seen {
                value,
                text: Some(text),
                mark: Some((self.key.clone(), place)),
            };
            if sender.send(seen).await.is_err() {
                return None;
            }
        }
    }

    fn describe(&self, event: &Event) -> (Value, String) {
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
                value["own"] = (Some(message.author) == self.me).into();
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
                let value = json!({ "event": "room", "room": info.token, "info": info });
                (
                    value,
                    in_room(
                        &info.token,
                        format!("the room changed: {}", show::safe(&info.name)),
                    ),
                )
            }
            Event::RoomLost { room, error } => {
                let value = json!({
                    "event": "room_lost", "room": room, "reason": error.to_string(), "remedy": error.remedy(),
                });
                (value, in_room(room, format!("cannot be read: {error}")))
            }
            Event::RoomBack { room } => (
                json!({ "event": "room_back", "room": room }),
                in_room(room, "can be read again".to_owned()),
            ),
            Event::Direct(message) => {
                let mut value = dm::direct_json(message);
                value["event"] = "direct".into();
                (value, format!("[direct] {}", dm::direct_text(message)))
            }
            Event::Interrupted { error, retry_in } => {
                let value = json!({
                    "event": "offline", "reason": error.to_string(), "remedy": error.remedy(),
                    "retry_in_secs": retry_in.as_secs(),
                });
                (value, format!("{error}; again in {} s", retry_in.as_secs()))
            }
            _ => (json!({ "event": "other" }), String::new()),
        }
    }
}
