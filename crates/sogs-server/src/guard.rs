//! The guard: every rule beyond the reference, asked before a post, a direct message or an upload is stored.
//!
//! The rules of all rooms are held in memory, compiled, and swapped as a whole when they change. Without any
//! rule set a post costs one lookup here.

mod book;
mod inspect;
mod pace;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use book::{RoomBook, RuleSet};
pub use inspect::inspect;
use pace::Pace;
pub use pace::Paced;

use crate::model::filter::{self, FilterAction, Inspected};
use crate::model::gate::{self, GateResult, Member};
use crate::model::permission::Rights;
use crate::model::raid::TripWatch;
use crate::model::reaction::ReactionRule;
use crate::model::rules::{Limits, Rules, WebView, Window};
use crate::plugin::{Decision, Hub, PluginEvent, Question};
use crate::store::operation::{HeldRow, LogEntry, RaidRow};
use crate::store::{DynStore, Id, StoreResult, with_entries};

/// Maximum number of rooms whose arrivals are watched; beyond it, everything noted is dropped.
const MAX_WATCHED: usize = 4096;

/// Facts about a post that the rules need.
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
    /// Time at which this server first saw the author (Unix seconds).
    pub first_seen: f64,
    /// Rights of the author in the room.
    pub rights: &'a Rights,
    /// The content without its padding.
    pub data: &'a [u8],
    /// Length with padding, in bytes.
    pub size: usize,
    /// Time of the post, Unix seconds.
    pub now: f64,
    /// True for an edit of an existing post: it needs no approval and does not trigger raid mode.
    pub edit: bool,
}

/// Facts about a person who reacts or uploads.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer<'a> {
    /// The room.
    pub room_id: Id,
    /// Its token.
    pub token: &'a str,
    /// The person.
    pub user_id: Id,
    /// Time at which this server first saw the person (Unix seconds).
    pub first_seen: f64,
    /// Rights of the person in the room.
    pub rights: &'a Rights,
    /// Time of the act, Unix seconds.
    pub now: f64,
}

/// Facts about a person who starts a direct message.
#[derive(Debug, Clone, Copy)]
pub struct DmFacts<'a> {
    /// The sender.
    pub user_id: Id,
    /// The id the sender is shown under.
    pub session_id: &'a str,
    /// Time at which this server first saw the sender (Unix seconds).
    pub first_seen: f64,
    /// True if the sender moderates the server.
    pub moderator: bool,
    /// True if the sender has an explicit permission to write in any room.
    pub trusted: bool,
    /// True if the sender is banned from any room.
    pub banned_somewhere: bool,
    /// Time of the message, Unix seconds.
    pub now: f64,
}

/// Decision about a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyDecision {
    /// Store and show it.
    Accept,
    /// Store it as filtered: the author gets a success, and nobody sees it.
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
pub struct Policy {
    store: DynStore,
    hub: Arc<Hub>,
    book: RwLock<Arc<RuleSet>>,
    /// Held from the reading of rules until they are in force: rules that were read earlier never replace later ones.
    reloading: tokio::sync::Mutex<()>,
    watches: Mutex<HashMap<Id, TripWatch>>,
    pace: Pace,
}

impl Policy {
    /// Reads all rules.
    pub async fn load(store: DynStore, hub: Arc<Hub>) -> StoreResult<Self> {
        let book = RuleSet::load(&store).await?;
        Ok(Self {
            store,
            hub,
            book: RwLock::new(Arc::new(book)),
            reloading: tokio::sync::Mutex::default(),
            watches: Mutex::default(),
            pace: Pace::default(),
        })
    }

    /// Reads all rules again.
    pub async fn reload(&self) -> StoreResult<()> {
        let _one_at_a_time = self.reloading.lock().await;
        let book = Arc::new(RuleSet::load(&self.store).await?);
        *self.book.write().unwrap_or_else(PoisonError::into_inner) = book;
        Ok(())
    }

    /// The rules as they are now.
    pub fn book(&self) -> Arc<RuleSet> {
        Arc::clone(&self.book.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the hub to which plugins are connected.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Sends an event to the plugins; never waits.
    pub fn tell(&self, event: &PluginEvent) {
        self.hub.tell(event);
    }

    /// Rate limits and sizes of a room.
    pub fn limits(&self, room_id: Id) -> Arc<Limits> {
        Arc::clone(&self.book().room(room_id).limits)
    }

    /// Returns true if the page of a room has a search.
    pub fn has_search(&self, room_id: Id) -> bool {
        self.book().room(room_id).rules.has_search()
    }

    /// Returns the part of a room that browsers may see.
    pub fn web_view(&self, room_id: Id) -> WebView {
        self.book().room(room_id).rules.web_view()
    }

    /// Returns true if no rule of a room depends on who posts or since when they are known.
    pub(crate) fn treats_all_alike(&self, room_id: Id) -> bool {
        let book = self.book();
        let room = book.room(room_id);
        let is_calm = book.raid_everywhere.is_none() && room.raid.is_none();
        is_calm && !room.watches_raids() && !room.has_gates() && !self.hub.decides()
    }

    /// Decides about a post (or an edit) before it is stored.
    pub async fn before_post(&self, facts: PostFacts<'_>) -> StoreResult<PolicyDecision> {
        let book = self.book();
        let room = book.room(facts.room_id);
        if let Some(limit) = room.limits.message_bytes
            && facts.size > limit
            && !facts.rights.admin
        {
            return Ok(PolicyDecision::Reject {
                status: 413,
                text: format!("Messages in this room are at most {limit} bytes"),
            });
        }
        if facts.rights.admin {
            return Ok(PolicyDecision::Accept);
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
            // A person who may not post may not put another text into a post either.
            if let Some(text) = closed(&book, room, &arrival) {
                return Ok(PolicyDecision::Reject { status: 403, text });
            }
            return self.filtered(room, &facts).await;
        }
        if self.raid(&book, room, &arrival, false).await? {
            return Ok(PolicyDecision::Reject {
                status: 403,
                text: RAID_TEXT.to_owned(),
            });
        }
        match self.gates(room, &facts).await? {
            GateResult::Open => self.filtered(room, &facts).await,
            GateResult::Hold => self
                .filtered(room, &facts)
                .await
                .map(|judgement| match judgement {
                    PolicyDecision::Accept => {
                        PolicyDecision::Hold("first posts are approved by a moderator".to_owned())
                    }
                    stricter => stricter,
                }),
            GateResult::Closed(text) => Ok(PolicyDecision::Reject { status: 403, text }),
        }
    }

    /// Notes a post that was stored, which may switch raid mode on. Posts that a rate limit refused do not count.
    pub async fn after_post(&self, who: Newcomer<'_>) -> StoreResult<()> {
        let book = self.book();
        let room = book.room(who.room_id);
        if who.rights.admin || !room.watches_raids() {
            return Ok(());
        }
        self.raid(&book, room, &Arrival::of(&who), true).await.map(drop)
    }

    /// Returns true if posts in a room are examined by more than their rate: filters, plugins, gates or raid mode.
    pub fn examines_posts(&self, room_id: Id) -> bool {
        let book = self.book();
        let room = book.room(room_id);
        !room.filters.is_empty() || room.watches_raids() || room.has_gates() || self.hub.decides()
    }

    /// The limit of direct messages that a person may start within an hour, if there is one.
    pub fn dms_per_hour(&self, is_moderator: bool) -> Option<u32> {
        let limit = self.book().server.dm_per_hour;
        limit.filter(|limit| *limit > 0 && !is_moderator)
    }

    /// Decides about a reaction before it is stored: `None` allows it; otherwise status and text.
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

    /// Returns true if raid mode stops this person.
    ///
    /// The arrival is noted, which may switch raid mode on.
    async fn raid(
        &self,
        book: &RuleSet,
        room: &RoomBook,
        who: &Arrival<'_>,
        post: bool,
    ) -> StoreResult<bool> {
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
        let entry = LogEntry::new("server", "raid_on", who.now)
            .room(who.token)
            .detail(reason.clone())
            .undo(serde_json::json!({ "kind": "raid_on", "room_id": who.room_id }));
        let set = self.store.set_raid(who.room_id, Some(raid));
        with_entries(set, move |()| vec![entry.clone()]).await?;
        self.reload().await?;
        self.tell(&PluginEvent::Raid {
            room: Some(who.token.to_owned()),
            on: true,
            reason,
        });
        Ok(stops)
    }

    async fn gates(&self, room: &RoomBook, facts: &PostFacts<'_>) -> StoreResult<GateResult> {
        if !room.has_gates() || facts.rights.moderator || facts.rights.trusted {
            return Ok(GateResult::Open);
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

    async fn filtered(&self, room: &RoomBook, facts: &PostFacts<'_>) -> StoreResult<PolicyDecision> {
        let exempt = facts.rights.moderator && room.rules.filter_moderators != Some(true);
        let asks = self.hub.decides();
        if (room.filters.is_empty() || exempt) && !asks {
            return Ok(PolicyDecision::Accept);
        }
        let message = inspect(facts.data);
        if !exempt && let Some(hit) = filter::judge(room.filters.iter().map(AsRef::as_ref), &message) {
            return Ok(match hit.action {
                FilterAction::Hide => PolicyDecision::Hide,
                FilterAction::Reject => PolicyDecision::Reject {
                    status: 429,
                    text: hit.reply.clone(),
                },
            });
        }
        if asks {
            Ok(self.ask(facts, message).await)
        } else {
            Ok(PolicyDecision::Accept)
        }
    }

    async fn ask(&self, facts: &PostFacts<'_>, message: Inspected) -> PolicyDecision {
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
            Decision::Accept => PolicyDecision::Accept,
            // An edit cannot wait for approval: the post is stored already.
            Decision::Hold if facts.edit => PolicyDecision::Hide,
            Decision::Hold => PolicyDecision::Hold(format!("held by {}", verdict.plugin)),
            Decision::Hide => PolicyDecision::Hide,
            Decision::Reject => {
                let text = verdict
                    .text
                    .unwrap_or_else(|| "This message is not allowed here".to_owned());
                PolicyDecision::Reject {
                    status: 429,
                    text: text.chars().take(500).collect(),
                }
            }
        }
    }

    /// Decides about a direct message before it is stored: `None` allows it; otherwise status and text.
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
        if let GateResult::Closed(text) = gate::direct_message(rules, &member, facts.now) {
            return Ok(Some((403, text)));
        }
        if let Some(limit) = rules.dm_per_hour.filter(|limit| *limit > 0)
            && self.store.count_dms(facts.user_id, facts.now - 3600.0).await? >= i64::from(limit)
        {
            return Ok(Some((429, MANY_DMS.to_owned())));
        }
        Ok(None)
    }

    /// Decides about an upload before it is read: `None` allows it; otherwise status and text.
    pub fn before_upload(&self, who: Newcomer<'_>) -> Option<(u16, String)> {
        let book = self.book();
        closed(&book, book.room(who.room_id), &Arrival::of(&who)).map(|text| (403, text))
    }

    /// Tells plugins what moderators decided about a held post or a reported message.
    pub(crate) fn tell_settled(&self, entry: &LogEntry, shown: Option<&HeldRow>) {
        self.tell(&PluginEvent::Moderated {
            room: entry.room.clone(),
            action: entry.action.clone(),
            target: entry.target.clone().unwrap_or_default(),
        });
        if let Some(row) = shown {
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

    /// Returns the reason why a member may not report anything now; `None` allows it. Only raid mode stops reports.
    pub fn before_report(&self, who: Newcomer<'_>) -> Option<&'static str> {
        let book = self.book();
        Arrival::of(&who)
            .is_stopped(&book, book.room(who.room_id))
            .then_some(RAID_TEXT)
    }

    /// Carries out an act of a moderator and tells it to plugins. Its entries of the audit log, whose actor is a session id,
    /// follow from the result and are part of its transaction.
    pub async fn audited<T: 'static>(
        &self,
        act: impl Future<Output = StoreResult<T>>,
        entries: impl Fn(&T) -> Vec<LogEntry> + Send + Sync + 'static,
    ) -> StoreResult<T> {
        let (result, written) = with_entries(act, entries).await?;
        for (entry, id) in written {
            let event = PluginEvent::Moderated {
                room: entry.room.clone(),
                action: entry.action.clone(),
                target: entry.target.clone().unwrap_or_default(),
            };
            if id.is_none() {
                self.store.add_log(entry).await?;
            }
            self.tell(&event);
        }
        Ok(result)
    }
}

/// Refusal of a direct message beyond the limit.
pub const MANY_DMS: &str = "Too many direct messages; try again later";
const RAID_TEXT: &str = "New members can only read at the moment; please try again later";

/// A person who is about to write something in a room.
struct Arrival<'a> {
    room_id: Id,
    token: &'a str,
    user_id: Id,
    first_seen: f64,
    /// True for moderators and trusted people.
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

    fn is_stopped(&self, book: &RuleSet, room: &RoomBook) -> bool {
        let stopped = |raid: &RaidRow| raid.raid.stops(self.first_seen, self.exempt, self.now);
        book.raid_everywhere.as_ref().is_some_and(stopped) || room.raid.as_ref().is_some_and(stopped)
    }
}

/// Returns the reason why a person may only read here now: raid mode, or the minimum age of members.
fn closed(book: &RuleSet, room: &RoomBook, who: &Arrival<'_>) -> Option<String> {
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
        GateResult::Closed(text) => Some(text),
        _ => None,
    }
}

fn has_dm_gates(rules: &Rules) -> bool {
    rules.dm_age_seconds.is_some()
        || rules.dm_posts.is_some()
        || rules.dm_block_banned.is_some()
        || rules.dm_per_hour.is_some()
}
