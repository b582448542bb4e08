//! A resumable stream of what happens in rooms and in the inbox.
//!
//! One batch request a turn asks for everything that is newer than the [`Cursor`]. The cursor moves with each event
//! that is handed out, never before, so a cursor saved after an event was dealt with resumes right behind it: nothing
//! is lost, nothing comes twice.

mod inbox;
mod rows;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::time::Duration;

use futures_util::Stream;
use serde::{Deserialize, Serialize};
use session_protocol::{Prefix, RoomToken, SessionId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::batch::{Batch, Ticket};
use crate::call_types::{ListOptions, MAX_LIMIT};
use crate::calls::{self, DirectBox, Page};
use crate::error::{Cause, SogsError};
use crate::server::Server;
use crate::types::{DirectMessage, Message, PollInfo, ReactionRow, RoomInfo, Row, Tombstone};

/// Rooms asked for in one batch: two calls each, well below what a batch may hold.
const ROOMS_PER_BATCH: usize = 100;
/// A counter that no room has, so that its whole description comes; negative ones are not in the servers' paths.
const NEVER: i64 = 0xffff_ffff;
/// Turns between two requests for the whole description of a room that did not change: it shows whether the sequence
/// went backwards.
const TURNS_PER_CHECK: u32 = 16;
/// Numbers of messages per room that are remembered as handed out.
const HANDED_OUT_MAX: usize = 10_000;
/// Longest pause after failures.
const MAX_BACKOFF: Duration = Duration::from_mins(1);

/// Position of a poll: save it, and resume from it. Serializes to a small JSON object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Position in each room.
    #[serde(default)]
    pub rooms: BTreeMap<RoomToken, RoomCursor>,
    /// Number of the last item of the inbox; `None` before the first turn.
    #[serde(default)]
    pub inbox: Option<u64>,
}

/// Position of a poll in one room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomCursor {
    /// Sequence number of the last change seen.
    pub seqno: i64,
    /// Highest number of a message seen: a message with a higher number is new, one with a lower number has changed.
    pub last_id: u64,
    /// The room's `info_updates`.
    pub info_updates: i64,
}

/// Options of a poll.
#[derive(Debug, Clone)]
pub struct PollOptions {
    /// The rooms to poll.
    pub rooms: Vec<RoomToken>,
    /// True to poll the inbox (only on servers where our id is blinded; other ids have none).
    pub inbox: bool,
    /// Pause between turns. Session's apps take 4 to 10 seconds.
    pub interval: Duration,
    /// Messages of the past to begin with in a room that the cursor does not know, at most 256.
    pub backlog: u32,
    /// Names of reactors per emoji, 0 to 20.
    pub reactors: u32,
    /// Go on after a ban, and after other errors that do not pass by themselves once a turn has succeeded. Each such error
    /// is an [`Event::Interrupted`], and the pause grows to a minute. Otherwise such an error ends the poll.
    pub persistent: bool,
}

impl PollOptions {
    /// Polls these rooms and the inbox every four seconds, from now on.
    pub fn rooms(rooms: impl IntoIterator<Item = RoomToken>) -> Self {
        Self {
            rooms: rooms.into_iter().collect(),
            inbox: true,
            interval: Duration::from_secs(4),
            backlog: 0,
            reactors: 5,
            persistent: false,
        }
    }
}

/// One event of a poll.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A new message, or one that was held back until now: such a message may have a number below those of earlier events.
    Message {
        /// Room of the message.
        room: RoomToken,
        /// The message; check [`Message::problem`] before you trust its content.
        message: Box<Message>,
    },
    /// A message was edited (its reactions may have changed too).
    Edited {
        /// Room of the message.
        room: RoomToken,
        /// The message as it is now.
        message: Box<Message>,
    },
    /// A message was deleted.
    Deleted {
        /// Room of the message.
        room: RoomToken,
        /// The remaining data of the message.
        tombstone: Tombstone,
    },
    /// The reactions of a message changed.
    Reactions {
        /// Room of the message.
        room: RoomToken,
        /// The message's number and all its reactions now.
        row: ReactionRow,
    },
    /// Name, description, image, pins or moderators of a room changed.
    RoomChanged {
        /// The room as it is now.
        info: Box<RoomInfo>,
    },
    /// A room cannot be read now: it is gone, or the permission is. Reported once; polling goes on.
    RoomLost {
        /// The room that cannot be read.
        room: RoomToken,
        /// Reason why the room cannot be read.
        error: SogsError,
    },
    /// A lost room can be read again.
    RoomBack {
        /// The room that can be read again.
        room: RoomToken,
    },
    /// The sequence of the room went backwards: the community was restored from a backup. Polling goes on from its
    /// present state; what was written since the restoration and before this event, also in the inbox, may be missing.
    Gap {
        /// The room that went back.
        room: RoomToken,
    },
    /// A direct message came.
    Direct(Box<DirectMessage>),
    /// The inbox cannot be read now. Reported once; polling of the rooms goes on.
    InboxLost {
        /// Reason why the inbox cannot be read.
        error: SogsError,
    },
    /// The inbox can be read again.
    InboxBack,
    /// A turn failed and will be tried again.
    Interrupted {
        /// Reason why the turn failed.
        error: SogsError,
        /// Delay before the next attempt.
        retry_in: Duration,
    },
}

/// Change of the cursor when an event is handed out.
enum Step {
    Room {
        room: RoomToken,
        seqno: i64,
        last_id: u64,
    },
    Begin {
        room: RoomToken,
        cursor: RoomCursor,
    },
    Info {
        room: RoomToken,
        info_updates: i64,
    },
    Inbox(u64),
    Nothing,
}

/// A running poll. [`Poll::next`] gives one event after the other; [`Poll::into_stream`] makes a stream of it.
pub struct Poll {
    server: Server,
    options: PollOptions,
    cursor: Cursor,
    queue: VecDeque<(Step, Event)>,
    /// Last known state of each room.
    infos: BTreeMap<RoomToken, RoomInfo>,
    lost: BTreeSet<RoomToken>,
    /// Numbers of the messages that were handed out, the newest ones of each room.
    handed_out: BTreeMap<RoomToken, BTreeSet<u64>>,
    /// Turns since the start.
    turns: u32,
    /// True once the messages that were in the inbox before the poll began have been skipped.
    inbox_primed: bool,
    inbox_lost: bool,
    /// Rooms whose sequence went backwards in this turn; the numbers of the inbox went back with them.
    went_back: usize,
    /// A turn has succeeded since the start.
    succeeded: bool,
    me: Option<SessionId>,
    failures: u32,
    next_turn: Instant,
    /// A turn has found nothing more to ask for.
    caught_up: watch::Sender<bool>,
}

struct RoomTickets {
    room: RoomToken,
    info: Ticket<PollInfo>,
    rows: Rows,
}

enum Rows {
    /// First sight: the newest messages.
    Recent(Ticket<Page>),
    Since(Ticket<Vec<Row>>),
}

impl Server {
    /// Polls from `cursor` on; `Cursor::default()` begins now.
    pub fn poll(&self, options: PollOptions, cursor: Cursor) -> Poll {
        Poll {
            server: self.clone(),
            inbox_primed: cursor.inbox.is_some() || options.backlog > 0,
            options,
            cursor,
            queue: VecDeque::new(),
            infos: BTreeMap::new(),
            lost: BTreeSet::new(),
            handed_out: BTreeMap::new(),
            turns: 0,
            inbox_lost: false,
            went_back: 0,
            succeeded: false,
            me: None,
            failures: 0,
            next_turn: Instant::now(),
            caught_up: watch::Sender::new(false),
        }
    }
}

impl Poll {
    /// Returns the position of the poll: after the last event that [`Poll::next`] returned.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The server that is polled.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the last known state of a room; `None` before the first turn.
    pub fn room_info(&self, room: &RoomToken) -> Option<&RoomInfo> {
        self.infos.get(room)
    }

    /// Returns the last known state of all rooms.
    pub fn room_infos(&self) -> impl Iterator<Item = &RoomInfo> {
        self.infos.values()
    }

    /// Resolves when the poll has reached the present: everything that is written from then on comes as an event. Resolves too when
    /// the poll is dropped. Needs [`Poll::next`] to be polled beside it.
    pub fn caught_up(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut caught_up = self.caught_up.subscribe();
        async move {
            let _ = caught_up.wait_for(|caught_up| *caught_up).await;
        }
    }

    /// The next event. An error ends the poll: it would not go away by waiting.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Event, SogsError> {
        loop {
            if let Some((step, event)) = self.queue.pop_front() {
                self.advance(step);
                self.note_handed_out(&event);
                return Ok(event);
            }
            tokio::time::sleep_until(self.next_turn).await;
            match self.turn().await {
                Ok(more) => {
                    self.failures = 0;
                    self.succeeded = true;
                    if !more {
                        self.caught_up
                            .send_if_modified(|caught_up| !std::mem::replace(caught_up, true));
                    }
                    // A full page means that more waits: go on at once.
                    self.next_turn = Instant::now()
                        + if more {
                            Duration::ZERO
                        } else {
                            self.options.interval
                        };
                }
                Err(error) if error.is_permanent() && !self.outlasts(&error) => return Err(error),
                Err(error) => {
                    let retry_in = self.backoff(&error);
                    self.next_turn = Instant::now() + retry_in;
                    self.queue
                        .push_back((Step::Nothing, Event::Interrupted { error, retry_in }));
                }
            }
        }
    }

    /// Returns true if the poll goes on after a permanent error. A ban proves that server and identity are the right ones.
    fn outlasts(&self, error: &SogsError) -> bool {
        self.options.persistent && (self.succeeded || error.is(&Cause::Banned))
    }

    /// The events as a stream that ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Event, SogsError>> {
        futures_util::stream::unfold(Some(self), |poll| async move {
            let mut poll = poll?;
            match poll.next().await {
                Ok(event) => Some((Ok(event), Some(poll))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    fn advance(&mut self, step: Step) {
        match step {
            Step::Room { room, seqno, last_id } => {
                let cursor = self.cursor.rooms.entry(room).or_default();
                cursor.seqno = cursor.seqno.max(seqno);
                cursor.last_id = cursor.last_id.max(last_id);
            }
            Step::Begin { room, cursor } => {
                self.cursor.rooms.insert(room, cursor);
            }
            Step::Info { room, info_updates } => {
                self.cursor.rooms.entry(room).or_default().info_updates = info_updates;
            }
            Step::Inbox(id) => self.cursor.inbox = Some(self.cursor.inbox.unwrap_or(0).max(id)),
            Step::Nothing => {}
        }
    }

    /// Doubles with each failure, with a little chance so that many clients do not come back at once.
    fn backoff(&mut self, error: &SogsError) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let base = self.options.interval.max(Duration::from_millis(500));
        let doubled = base.saturating_mul(1 << self.failures.min(10)).min(MAX_BACKOFF);
        let chance = getrandom::u32().unwrap_or(0) % 250;
        let jittered = doubled.mul_f64(1.0 + f64::from(chance) / 1000.0);
        jittered.max(error.retry_after().unwrap_or_default())
    }

    /// Runs one turn: requests everything new. Returns true if a page was full.
    async fn turn(&mut self) -> Result<bool, SogsError> {
        let me = match self.me {
            Some(me) => Some(me),
            None if self.server.identity().is_some() => Some(self.server.my_id().await?),
            None => None,
        };
        self.me = me;
        self.turns = self.turns.wrapping_add(1);
        let with_inbox = self.options.inbox && me.is_some_and(|me| me.prefix() == Prefix::Blind15);
        let rooms = self.options.rooms.clone();
        let mut more = false;
        let mut chunks = rooms.chunks(ROOMS_PER_BATCH).peekable();
        if chunks.peek().is_none() && with_inbox {
            more |= self.ask(&[], true).await?;
        }
        for (at, chunk) in chunks.enumerate() {
            more |= self.ask(chunk, with_inbox && at == 0).await?;
        }
        if std::mem::take(&mut self.went_back) > 0 {
            // The answer for the inbox was for the old place; the next turn finds out where "now" is.
            self.cursor.inbox = None;
            self.inbox_primed = false;
        }
        Ok(more)
    }

    async fn ask(&mut self, rooms: &[RoomToken], with_inbox: bool) -> Result<bool, SogsError> {
        let mut batch = Batch::new();
        let tickets: Vec<_> = rooms.iter().map(|room| self.add_room(&mut batch, room)).collect();
        let since = self.cursor.inbox.filter(|&id| id > 0);
        let limit = self.inbox_limit();
        let inbox = with_inbox.then(|| batch.add(calls::direct_messages(DirectBox::Inbox, since, limit)));
        let mut answers = batch.run(&self.server).await?;
        let mut more = false;
        let mut failures = Vec::new();
        let asked = tickets.len();
        for RoomTickets { room, info, rows } in tickets {
            let info = answers.take(info).unwrap_or_else(|| Err(missing()));
            let outcome = match (info, rows) {
                (Err(error), _) => Err(error),
                (Ok(info), Rows::Recent(ticket)) => {
                    match answers.take(ticket).unwrap_or_else(|| Err(missing())) {
                        Ok(page) => self.begin(&room, info, page).await,
                        Err(error) => Err(error),
                    }
                }
                (Ok(info), Rows::Since(ticket)) => answers
                    .take(ticket)
                    .unwrap_or_else(|| Err(missing()))
                    .map(|rows| {
                        let full = rows.len() >= MAX_LIMIT as usize;
                        // A server that gives the same rows again is not asked without a pause.
                        more |= self.follow(&room, info, rows) && full;
                    }),
            };
            match outcome {
                Ok(()) => {
                    if self.lost.remove(&room) {
                        self.queue.push_front((Step::Nothing, Event::RoomBack { room }));
                    }
                }
                Err(error) => failures.push((room, error)),
            }
        }
        let all_failed = failures.len() == asked;
        for (room, error) in failures {
            self.lose(room, error, all_failed)?;
        }
        if let Some(ticket) = inbox {
            // Some servers cannot answer for the inbox. The rooms of the same batch are not to suffer from it.
            let items = answers.take(ticket).unwrap_or_else(|| Err(missing()));
            more |= self.hear(items, since).await?;
        }
        Ok(more)
    }

    /// Returns true if this turn asks for the whole description of each room. A restoration needs a stop of the server, which a
    /// poll usually sees as a failed turn.
    fn checks(&self) -> bool {
        self.failures > 0 || self.turns.is_multiple_of(TURNS_PER_CHECK)
    }

    fn add_room(&self, batch: &mut Batch, room: &RoomToken) -> RoomTickets {
        let known = self.cursor.rooms.get(room);
        // The first turn of a run wants the room itself, for its moderators, even if nothing changed.
        let info_updates = match known {
            Some(cursor) if self.infos.contains_key(room) && !self.checks() => cursor.info_updates,
            _ => NEVER,
        };
        let options = ListOptions {
            limit: Some(MAX_LIMIT),
            reactors: Some(self.options.reactors),
            with_reaction_rows: true,
        };
        RoomTickets {
            room: room.clone(),
            info: batch.add(calls::poll_info(room, info_updates)),
            rows: if let Some(cursor) = known {
                Rows::Since(batch.add(calls::since(room, cursor.seqno, options)))
            } else {
                Rows::Recent(batch.add(calls::recent_page(room, self.first_look())))
            },
        }
    }

    /// Messages to ask for in a room that is new: two at least, to know the highest number and the order.
    fn first_look(&self) -> ListOptions {
        ListOptions {
            limit: Some(self.options.backlog.clamp(2, MAX_LIMIT)),
            reactors: Some(self.options.reactors),
            with_reaction_rows: true,
        }
    }

    /// A room we see for the first time: its backlog, then its present state as the place to go on from.
    async fn begin(&mut self, room: &RoomToken, info: PollInfo, page: Page) -> Result<(), SogsError> {
        let details = info.details.ok_or_else(missing)?;
        let messages = self.server.room(room).newest(page, self.first_look()).await?;
        let newest = messages.iter().map(|message| message.id).max().unwrap_or(0);
        let seqno = messages.iter().map(|message| message.seqno).max().unwrap_or(0);
        // With a backlog, what changed between the two answers of the batch must come as a change; without one the
        // room's own counter says exactly where "now" is.
        let seqno = if self.options.backlog == 0 {
            seqno.max(details.message_sequence)
        } else {
            seqno
        };
        let backlog = self.options.backlog as usize;
        let mut shown: Vec<_> = messages.into_iter().take(backlog).collect();
        shown.reverse();
        let cursor = RoomCursor {
            seqno,
            last_id: newest,
            info_updates: details.info_updates,
        };
        self.infos.insert(room.clone(), details);
        if shown.is_empty() {
            self.cursor.rooms.insert(room.clone(), cursor);
            return Ok(());
        }
        // The cursor of the room comes into being with the last of the backlog: an earlier stop shows it again whole.
        let last = shown.len() - 1;
        for (at, message) in shown.into_iter().enumerate() {
            let step = if at == last {
                Step::Begin {
                    room: room.clone(),
                    cursor,
                }
            } else {
                Step::Nothing
            };
            self.queue.push_back((
                step,
                Event::Message {
                    room: room.clone(),
                    message: Box::new(message),
                },
            ));
        }
        Ok(())
    }

    /// Reports a room that cannot be read, once. An error that concerns the server, or that all rooms have in common and
    /// that may pass, is an error of the turn.
    fn lose(&mut self, room: RoomToken, error: SogsError, all: bool) -> Result<(), SogsError> {
        let is_access = matches!(error.status(), Some(401 | 403 | 404));
        let is_of_turn = all && !is_access && !(self.succeeded && error.is_permanent());
        if is_of_turn || error.is(&Cause::Banned) {
            return Err(error);
        }
        self.infos.remove(&room);
        if self.lost.insert(room.clone()) {
            self.queue
                .push_back((Step::Nothing, Event::RoomLost { room, error }));
        }
        Ok(())
    }
}

fn missing() -> SogsError {
    SogsError::new(Cause::NotASogs).with_text("the answer to a poll lacks a part")
}

impl std::fmt::Debug for Poll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poll")
            .field("server", &self.server)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}
