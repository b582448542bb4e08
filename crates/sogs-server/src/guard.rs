//! The guard: every rule beyond the reference, asked before a post, a direct message or an upload is stored.
//!
//! The rules of all rooms are held in memory, compiled, and swapped as a whole when they change. Without any
//! rule set a post costs one lookup here.

mod book;
mod pace;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use book::{Book, RoomBook};
use pace::Pace;
pub use pace::Paced;

use crate::admin::decide::Settled;
use crate::model::filter::{self, FilterAction, Inspected};
use crate::model::gate::{self, Member, Passage};
use crate::model::permission::Rights;
use crate::model::raid::TripWatch;
use crate::model::reaction::ReactionRule;
use crate::model::rules::{Limits, Rules, WebView, Window};
use crate::plugin::{Decision, Hub, PluginEvent, Question};
use crate::store::operation::{LogEntry, RaidRow};
use crate::store::{DynStore, Id, StoreResult};

/// Rooms whose arrivals are watched at a time; more than that and the oldest knowledge is dropped.
const MAX_WATCHED: usize = 4096;

/// What the guard needs to know about a post.
#[derive(Debug, Clone, Copy)]
pub struct PostFacts<'a> {
    /// The room.
    pub room_id: Id,
    /// Its token.
    pub token: &'a str,
    /// The author.
    pub user_id: Id,
    /// The id the author is shown under.
    pub session_id: &'a str,
    /// When this server first saw the author (Unix seconds).
    pub first_seen: f64,
    /// What the author may do in the room.
    pub rights: &'a Rights,
    /// The content without its padding.
    pub data: &'a [u8],
    /// Length with padding, in bytes.
    pub size: usize,
    /// Unix seconds.
    pub now: f64,
    /// An edit of a post that stands: it needs no approval and trips no raid.
    pub edit: bool,
}

/// What the guard needs to know about somebody who reacts or uploads.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer<'a> {
    /// The room.
    pub room_id: Id,
    /// Its token.
    pub token: &'a str,
    /// The person.
    pub user_id: Id,
    /// When this server first saw the person (Unix seconds).
    pub first_seen: f64,
    /// What the person may do in the room.
    pub rights: &'a Rights,
    /// Unix seconds.
    pub now: f64,
}

/// What the guard needs to know about somebody who starts a direct message.
#[derive(Debug, Clone, Copy)]
pub struct DmFacts<'a> {
    /// The sender.
    pub user_id: Id,
    /// The id the sender is shown under.
    pub session_id: &'a str,
    /// When this server first saw the sender (Unix seconds).
    pub first_seen: f64,
    /// Whether the sender moderates the server.
    pub moderator: bool,
    /// Whether the sender has an explicit permission to write in any room.
    pub trusted: bool,
    /// Whether the sender is banned from any room.
    pub banned_somewhere: bool,
    /// Unix seconds.
    pub now: f64,
}

/// What becomes of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Store and show it.
    Accept,
    /// Store it as filtered: the author is told yes, nobody sees it.
    Hide,
    /// Store it as filtered and as held, with this reason: it waits for a moderator.
    Hold(String),
    /// Refuse it.
    Reject {
        /// HTTP status.
        status: u16,
        /// Body of the answer.
        text: String,
    },
}

/// All rules of a running server.
pub struct Guard {
    store: DynStore,
    hub: Arc<Hub>,
    book: RwLock<Arc<Book>>,
    watches: Mutex<HashMap<Id, TripWatch>>,
    pace: Pace,
}

impl Guard {
    /// Reads all rules.
    pub async fn load(store: DynStore, hub: Arc<Hub>) -> StoreResult<Self> {
        let book = Book::load(&store).await?;
        Ok(Self {
            store,
            hub,
            book: RwLock::new(Arc::new(book)),
            watches: Mutex::default(),
            pace: Pace::default(),
        })
    }

    /// Reads all rules again.
    pub async fn reload(&self) -> StoreResult<()> {
        let book = Arc::new(Book::load(&self.store).await?);
        *self.book.write().unwrap_or_else(PoisonError::into_inner) = book;
        Ok(())
    }

    /// The rules as they are now.
    pub fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where plugins meet.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Tells an event to the plugins; never waits.
    pub fn tell(&self, event: &PluginEvent) {
        self.hub.tell(event);
    }

    /// Rate limits and sizes of a room.
    pub fn limits(&self, room_id: Id) -> Limits {
        self.book().room(room_id).limits.clone()
    }

    /// Whether the page of a room has a search.
    pub fn has_search(&self, room_id: Id) -> bool {
        self.book().room(room_id).rules.has_search()
    }

    /// What browsers see of a room.
    pub fn web_view(&self, room_id: Id) -> WebView {
        self.book().room(room_id).rules.web_view()
    }

    /// Decides about a post (or an edit) before it is stored.
    pub async fn before_post(&self, facts: PostFacts<'_>) -> StoreResult<Judgement> {
        let book = self.book();
        let room = book.room(facts.room_id);
        if let Some(limit) = room.limits.message_bytes
            && facts.size > limit
            && !facts.rights.admin
        {
            return Ok(Judgement::Reject {
                status: 413,
                text: format!("Messages in this room are at most {limit} bytes"),
            });
        }
        if facts.rights.admin {
            return Ok(Judgement::Accept);
        }
        let arrival = Arrival {
            room_id: facts.room_id,
            token: facts.token,
            user_id: facts.user_id,
            first_seen: facts.first_seen,
            exempt: facts.rights.moderator || facts.rights.trusted,
            now: facts.now,
        };
        if facts.edit {
            // Whoever may not post may not put another text into a post either.
            if let Some(text) = closed(&book, room, &arrival) {
                return Ok(Judgement::Reject { status: 403, text });
            }
            return self.filtered(room, &facts).await;
        }
        if self.raid(&book, room, &arrival, true).await? {
            return Ok(Judgement::Reject {
                status: 403,
                text: RAID_TEXT.to_owned(),
            });
        }
        match self.gates(room, &facts).await? {
            Passage::Open => self.filtered(room, &facts).await,
            Passage::Hold => self
                .filtered(room, &facts)
                .await
                .map(|judgement| match judgement {
                    Judgement::Accept => {
                        Judgement::Hold("first posts are approved by a moderator".to_owned())
                    }
                    stricter => stricter,
                }),
            Passage::Closed(text) => Ok(Judgement::Reject { status: 403, text }),
        }
    }

    /// Decides about a reaction before it is stored: `None` = go on, else status and text.
    pub async fn before_reaction(
        &self,
        who: Newcomer<'_>,
        reaction: &str,
    ) -> StoreResult<Option<(u16, String)>> {
        if who.rights.admin {
            return Ok(None);
        }
        let book = self.book();
        let room = book.room(who.room_id);
        let rule = room.rules.reactions.unwrap_or(ReactionRule::Any);
        if let Some(text) = rule.refuses(reaction) {
            return Ok(Some((403, text.to_owned())));
        }
        let arrival = Arrival::of(&who);
        if self.raid(&book, room, &arrival, false).await? {
            return Ok(Some((403, RAID_TEXT.to_owned())));
        }
        Ok(closed(&book, room, &arrival).map(|text| (403, text)))
    }

    /// Counts an edit or a reaction against the limits of its room.
    ///
    /// # Errors
    /// Returns the whole seconds after which it is allowed.
    pub fn pace(&self, kind: Paced, room_id: Id, user_id: Id, rights: &Rights, now: f64) -> Result<(), u64> {
        if rights.admin {
            return Ok(());
        }
        let book = self.book();
        let limits = &book.room(room_id).limits;
        let windows: Vec<Window> = match kind {
            Paced::Edit => &limits.edits,
            Paced::Reaction => &limits.reactions,
        }
        .iter()
        .filter(|window| !(window.moderators_exempt && rights.moderator))
        .copied()
        .collect();
        self.pace.take(room_id, user_id, kind, &windows, now)
    }

    /// Whether raid mode stops this person; notes the arrival, which may switch raid mode on.
    async fn raid(&self, book: &Book, room: &RoomBook, who: &Arrival<'_>, post: bool) -> StoreResult<bool> {
        if who.is_stopped(book, room) {
            return Ok(true);
        }
        if room.raid.as_ref().is_some_and(|raid| raid.raid.is_on(who.now)) || !room.watches_raids() {
            return Ok(false);
        }
        let tripped = {
            let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
            if watches.len() >= MAX_WATCHED && !watches.contains_key(&who.room_id) {
                watches.clear();
            }
            let watch = watches.entry(who.room_id).or_default();
            if post {
                watch.note(&room.rules, who.user_id, who.first_seen, who.now)
            } else {
                watch.note_reaction(&room.rules, who.user_id, who.first_seen, who.now)
            }
        };
        let Some(raid) = tripped else { return Ok(false) };
        let stops = raid.stops(who.first_seen, who.exempt, who.now);
        let reason = raid.reason.clone();
        tracing::warn!(room = who.token, %reason, "raid mode switched itself on");
        self.store.set_raid(who.room_id, Some(raid)).await?;
        self.store
            .add_log(
                LogEntry::new("server", "raid_on", who.now)
                    .room(who.token)
                    .detail(reason.clone())
                    .undo(serde_json::json!({ "kind": "raid_on", "room_id": who.room_id })),
            )
            .await?;
        self.reload().await?;
        self.tell(&PluginEvent::Raid {
            room: Some(who.token.to_owned()),
            on: true,
            reason,
        });
        Ok(stops)
    }

    async fn gates(&self, room: &RoomBook, facts: &PostFacts<'_>) -> StoreResult<Passage> {
        if !room.has_gates() || facts.rights.moderator || facts.rights.trusted {
            return Ok(Passage::Open);
        }
        let needed = room.rules.approve_first.unwrap_or(0);
        let posts = if needed > 0 {
            self.posts(facts.user_id, Some(facts.room_id), needed).await?
        } else {
            0
        };
        let member = Member {
            first_seen: facts.first_seen,
            moderator: facts.rights.moderator,
            trusted: facts.rights.trusted,
            posts,
            banned_somewhere: false,
        };
        Ok(gate::post(&room.rules, &member, facts.now))
    }

    async fn posts(&self, user_id: Id, room_id: Option<Id>, limit: u32) -> StoreResult<u32> {
        let count = self.store.count_posts(user_id, room_id, i64::from(limit)).await?;
        Ok(u32::try_from(count).unwrap_or(0))
    }

    async fn filtered(&self, room: &RoomBook, facts: &PostFacts<'_>) -> StoreResult<Judgement> {
        let exempt = facts.rights.moderator && room.rules.filter_moderators != Some(true);
        let asks = self.hub.decides();
        if (room.filters.is_empty() || exempt) && !asks {
            return Ok(Judgement::Accept);
        }
        let message = inspect(facts.data);
        if !exempt && let Some(hit) = filter::judge(room.filters.iter().map(AsRef::as_ref), &message) {
            return Ok(match hit.action {
                FilterAction::Hide => Judgement::Hide,
                FilterAction::Reject => Judgement::Reject {
                    status: 429,
                    text: hit.reply.clone(),
                },
            });
        }
        if asks {
            Ok(self.ask(facts, message).await)
        } else {
            Ok(Judgement::Accept)
        }
    }

    async fn ask(&self, facts: &PostFacts<'_>, message: Inspected) -> Judgement {
        let question = Question {
            ask: 0,
            room: facts.token.to_owned(),
            session_id: facts.session_id.to_owned(),
            first_seen: facts.first_seen,
            moderator: facts.rights.moderator,
            text: message.body,
            name: message.name,
            attachments: message.attachments,
            size: facts.size,
        };
        let verdict = self.hub.ask(question).await;
        match verdict.decision {
            Decision::Accept => Judgement::Accept,
            // An edit cannot wait for approval: the post already stands.
            Decision::Hold if facts.edit => Judgement::Hide,
            Decision::Hold => Judgement::Hold(format!("held by {}", verdict.plugin)),
            Decision::Hide => Judgement::Hide,
            Decision::Reject => {
                let text = verdict
                    .text
                    .unwrap_or_else(|| "This message is not allowed here".to_owned());
                Judgement::Reject {
                    status: 429,
                    text: text.chars().take(500).collect(),
                }
            }
        }
    }

    /// Decides about a direct message before it is stored: `None` = go on, else status and text.
    pub async fn before_dm(&self, facts: DmFacts<'_>) -> StoreResult<Option<(u16, String)>> {
        let book = self.book();
        let rules = &book.server;
        if facts.moderator {
            return Ok(None);
        }
        if let Some(raid) = &book.raid_everywhere
            && raid
                .raid
                .stops(facts.first_seen, facts.moderator || facts.trusted, facts.now)
        {
            return Ok(Some((403, RAID_TEXT.to_owned())));
        }
        if !has_dm_gates(rules) {
            return Ok(None);
        }
        let needed = rules.dm_posts.unwrap_or(0);
        let posts = if needed > 0 {
            self.posts(facts.user_id, None, needed).await?
        } else {
            0
        };
        let member = Member {
            first_seen: facts.first_seen,
            moderator: false,
            trusted: facts.trusted,
            posts,
            banned_somewhere: facts.banned_somewhere,
        };
        if let Passage::Closed(text) = gate::direct_message(rules, &member, facts.now) {
            return Ok(Some((403, text)));
        }
        if let Some(limit) = rules.dm_per_hour.filter(|limit| *limit > 0)
            && self.store.count_dms(facts.user_id, facts.now - 3600.0).await? >= i64::from(limit)
        {
            return Ok(Some((
                429,
                "Too many direct messages; try again later".to_owned(),
            )));
        }
        Ok(None)
    }

    /// Decides about an upload before it is read: `None` = go on, else status and text.
    pub fn before_upload(&self, who: Newcomer<'_>) -> Option<(u16, String)> {
        let book = self.book();
        closed(&book, book.room(who.room_id), &Arrival::of(&who)).map(|text| (403, text))
    }

    /// Tells plugins what moderators decided about a held post or a reported message.
    pub(crate) fn tell_settled(&self, settled: &Settled) {
        let entry = &settled.entry;
        self.tell(&PluginEvent::Moderated {
            room: entry.room.clone(),
            action: entry.action.clone(),
            target: entry.target.clone().unwrap_or_default(),
        });
        if let Some(row) = &settled.shown {
            self.tell(&PluginEvent::Posted {
                room: row.token.clone(),
                id: row.message_id,
                session_id: row.session_id.clone(),
                posted: row.at,
                text: row
                    .data
                    .as_deref()
                    .map(|data| inspect(data).body)
                    .unwrap_or_default(),
                files: 0,
                hidden: false,
            });
        }
    }

    /// Why a member may not report anything at present; `None` = go on. Only raid mode stops reports.
    pub fn before_report(&self, who: Newcomer<'_>) -> Option<&'static str> {
        let book = self.book();
        Arrival::of(&who)
            .is_stopped(&book, book.room(who.room_id))
            .then_some(RAID_TEXT)
    }

    /// Writes an act of a moderator into the audit log and tells it to plugins. The actor is a session id.
    pub async fn audit(&self, entry: LogEntry) -> StoreResult<()> {
        let event = PluginEvent::Moderated {
            room: entry.room.clone(),
            action: entry.action.clone(),
            target: entry.target.clone().unwrap_or_default(),
        };
        self.store.add_log(entry).await?;
        self.tell(&event);
        Ok(())
    }
}

const RAID_TEXT: &str = "New members can only read at the moment; please try again later";

/// Somebody who is about to write something in a room.
struct Arrival<'a> {
    room_id: Id,
    token: &'a str,
    user_id: Id,
    first_seen: f64,
    /// A moderator, or trusted.
    exempt: bool,
    now: f64,
}

impl<'a> Arrival<'a> {
    fn of(who: &Newcomer<'a>) -> Self {
        Self {
            room_id: who.room_id,
            token: who.token,
            user_id: who.user_id,
            first_seen: who.first_seen,
            exempt: who.rights.moderator || who.rights.trusted,
            now: who.now,
        }
    }

    fn is_stopped(&self, book: &Book, room: &RoomBook) -> bool {
        let stopped = |raid: &RaidRow| raid.raid.stops(self.first_seen, self.exempt, self.now);
        book.raid_everywhere.as_ref().is_some_and(stopped) || room.raid.as_ref().is_some_and(stopped)
    }
}

/// Why somebody only reads here at present: raid mode, or the minimum age of members.
fn closed(book: &Book, room: &RoomBook, who: &Arrival<'_>) -> Option<String> {
    if who.is_stopped(book, room) {
        return Some(RAID_TEXT.to_owned());
    }
    let member = Member {
        first_seen: who.first_seen,
        moderator: who.exempt,
        trusted: false,
        posts: u32::MAX,
        banned_somewhere: false,
    };
    match gate::post(&room.rules, &member, who.now) {
        Passage::Closed(text) => Some(text),
        _ => None,
    }
}

fn has_dm_gates(rules: &Rules) -> bool {
    rules.dm_age_seconds.is_some()
        || rules.dm_posts.is_some()
        || rules.dm_block_banned.is_some()
        || rules.dm_per_hour.is_some()
}

/// What filters and plugins look at. Content that cannot be read counts as its bytes, so that it is no way around.
pub fn inspect(data: &[u8]) -> Inspected {
    let Ok(content) = session_protocol::content::Content::decode_bounded(data) else {
        return Inspected {
            body: String::from_utf8_lossy(data).into_owned(),
            ..Inspected::default()
        };
    };
    let Some(message) = content.data_message else {
        return Inspected::default();
    };
    Inspected {
        body: message.body.unwrap_or_default(),
        name: message
            .profile
            .and_then(|profile| profile.display_name)
            .unwrap_or_default(),
        previews: message
            .previews
            .into_iter()
            .flat_map(|preview| [preview.url, preview.title])
            .flatten()
            .chain(
                message
                    .attachments
                    .iter()
                    .flat_map(|file| [file.caption.clone(), file.file_name.clone()])
                    .flatten(),
            )
            .chain(
                message
                    .invitation
                    .into_iter()
                    .flat_map(|invitation| [invitation.url, invitation.name])
                    .flatten(),
            )
            .collect(),
        attachments: message
            .attachments
            .into_iter()
            .map(|file| file.content_type.unwrap_or_default())
            .collect(),
    }
}
