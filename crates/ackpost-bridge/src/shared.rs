//! The state that the parts of a running bridge share.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ackpost_xmpp::{Jid, RoomTarget, Session};
use session_protocol::auth::Signer;
use sha2::{Digest as _, Sha256};
use sogs_client::{Room, SessionId};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::clock::now_ms;
use crate::config::Options;
use crate::job::Job;
use crate::limits::{Limits, millis, spoken};
use crate::people::People;
use crate::store::{Most, NewEntry, Side, Store, StoreError};
use crate::text;

/// Maximum number of people of one side that are remembered.
const PEOPLE_MAX: usize = 5_000;
/// Time for which a name is remembered.
const NAME_KEPT: Duration = Duration::from_hours(24);
/// Time for which a text that crossed is compared with incoming messages.
const ECHO_KEPT: Duration = Duration::from_mins(10);
/// Maximum number of texts that are compared.
const ECHOES_MAX: usize = 300;
/// Maximum number of places in a text at which the name in front of an echo may end.
const NAME_ENDS: usize = 4;
/// Number of echoes of one author within [`ECHO_KEPT`] from which the author is ignored.
const ECHOES_ALLOWED: usize = 3;
/// Time for which that author is ignored.
const IGNORED_FOR: Duration = Duration::from_mins(10);
/// Longest time between a message and a change to it, if the bridge did not see who had the nick in between.
const UNSEEN_CHANGE: Duration = Duration::from_mins(10);
/// Minimum time between two answers to `!bridge` on one side.
const ANSWER_EVERY: Duration = Duration::from_secs(10);
/// Text that the identity of the bridge signs; the signature makes the ids of its messages.
const IDS_LABEL: &[u8] = b"ackpost bridge: the ids of messages";

/// Hash of a text that crossed. The texts themselves may be large.
type Digest = [u8; 32];

/// One bridge at work.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) options: Options,
    pub(crate) limits: Limits,
    pub(crate) store: Store,
    pub(crate) room: Room,
    /// Certificates that are trusted where files may come from everywhere, in a closed network.
    pub(crate) private: Option<ackpost_tls::Verify>,
    /// The people of the XMPP room in the community.
    pub(crate) people: People,
    /// All ids under which the bridge itself is shown in the community.
    pub(crate) own_ids: Vec<SessionId>,
    pub(crate) xmpp: Session,
    pub(crate) place: RoomTarget,
    /// Secret that makes the ids of our messages, so that nobody can send a message under an id before we do.
    ids_secret: [u8; 32],
    /// True if the bridge has read the whole archive and is in the room.
    pub(crate) caught_up: watch::Sender<bool>,
    /// True if the archive of the XMPP room could not be read, so that nobody knows which of our last messages arrived.
    pub(crate) archive_unread: AtomicBool,
    /// True if the room shows our messages without ids of its own, so that there is none to wait for.
    pub(crate) gives_no_ids: AtomicBool,
    /// Wakes the reader of the XMPP room, which then starts again.
    pub(crate) behind: Notify,
    pub(crate) paused: watch::Sender<bool>,
    pub(crate) to_session: Notify,
    pub(crate) to_xmpp: Notify,
    live: Mutex<Live>,
}

/// The state that is only known while the bridge runs.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) nick: String,
    pub(crate) occupant_id: Option<String>,
    /// Time when the bridge entered the XMPP room, milliseconds since 1970; `None` while it is not there.
    pub(crate) entered: Option<i64>,
    /// The people in the XMPP room, by nick.
    occupants: HashMap<String, Occupant>,
    /// Number of people in the XMPP room whose nicks look like this.
    nicks: HashMap<String, usize>,
    /// The name and the time of the last message of each author, by id.
    speakers: HashMap<SessionId, (String, Instant)>,
    /// Admins are not held to the rate limit of the community.
    pub(crate) admin: bool,
    pub(crate) subject: Option<String>,
    echoes: VecDeque<(Instant, Digest)>,
    /// Times of the echoes of each author.
    loops: HashMap<String, VecDeque<Instant>>,
    /// Authors who are ignored, and since when.
    ignored: HashMap<String, Instant>,
    /// Time when the author of a message that did not cross was last told.
    told: HashMap<String, Instant>,
    /// Time of the last answer to `!bridge` on either side.
    answered: [Option<Instant>; 2],
}

/// Somebody in the XMPP room.
#[derive(Clone, Debug)]
pub(crate) struct Occupant {
    pub(crate) jid: Option<Jid>,
    pub(crate) moderator: bool,
    /// Time since when they have this nick without a break, milliseconds since 1970.
    pub(crate) since: i64,
    /// The identity under which they wrote since they entered with this nick. The first presences may lack the
    /// permanent id.
    pub(crate) spoke_as: Option<String>,
}

impl Shared {
    #[expect(clippy::too_many_arguments, reason = "the parts of a bridge")]
    pub(crate) fn new(
        name: String,
        options: Options,
        limits: Limits,
        store: Store,
        room: Room,
        people: People,
        own_ids: Vec<SessionId>,
        xmpp: Session,
        place: RoomTarget,
        paused: bool,
        private: Option<ackpost_tls::Verify>,
    ) -> Self {
        Self {
            ids_secret: ids_secret(&room),
            private,
            name,
            options,
            limits,
            store,
            room,
            people,
            own_ids,
            xmpp,
            place,
            caught_up: watch::Sender::new(false),
            archive_unread: AtomicBool::new(false),
            gives_no_ids: AtomicBool::new(false),
            behind: Notify::new(),
            paused: watch::Sender::new(paused),
            to_session: Notify::new(),
            to_xmpp: Notify::new(),
            live: Mutex::default(),
        }
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores entries with the places up to which a side was read, and wakes the task that carries them.
    pub(crate) async fn take(
        &self,
        entries: &[NewEntry],
        places: &[(&str, String)],
    ) -> Result<u64, StoreError> {
        let most = Most {
            all: self.limits.waiting,
            each: self.limits.waiting_each,
        };
        let new = self.store.take(&self.name, entries, places, most).await?;
        if new > 0 {
            self.to_session.notify_one();
            self.to_xmpp.notify_one();
        }
        Ok(new)
    }

    /// Wakes the direction that carries to a side.
    pub(crate) fn woken(&self, side: Side) -> &Notify {
        match side {
            Side::Xmpp => &self.to_xmpp,
            Side::Session => &self.to_session,
        }
    }

    /// A line of the bridge itself for one side; said once for each `key`.
    pub(crate) async fn tell(&self, side: Side, key: &str, text: String) -> Result<(), StoreError> {
        self.take(&[notice(side, key, text)], &[]).await.map(drop)
    }

    /// Notes that an author brought back a message that crossed. One who does that often is ignored for a while, and both rooms are
    /// told. The others go on: anybody can repeat three lines, and must not stop the bridge.
    pub(crate) async fn note_loop(&self, author: &str, shown: &str) -> Result<(), StoreError> {
        if !self.live().note_loop(author) {
            return Ok(());
        }
        tracing::warn!(
            bridge = self.name,
            author = shown,
            "another bridge brings messages back"
        );
        let text = format!(
            "{shown} brings back messages that crossed, as another bridge does. This bridge ignores {shown} for {}.",
            spoken(IGNORED_FOR)
        );
        let key = format!("loop-{}", now_ms());
        let lines = [Side::Xmpp, Side::Session].map(|side| notice(side, &key, text.clone()));
        self.take(&lines, &[]).await.map(drop)
    }

    /// The archive of the XMPP room must be read before anything else is sent there: an attempt may have arrived. The bridge starts
    /// again for that.
    pub(crate) fn read_again(&self) {
        self.caught_up.send_replace(false);
        self.behind.notify_one();
    }

    /// Returns true for an id of the bridge, or of a person whom it carries.
    pub(crate) fn is_own(&self, id: &SessionId) -> bool {
        self.own_ids.contains(id) || self.people.is_one(id)
    }

    /// An id that is always the same for the same parts.
    pub(crate) fn origin(&self, parts: &[&str]) -> String {
        let mut hash = Sha256::new();
        hash.update(self.ids_secret);
        for part in std::iter::once(&self.name.as_str()).chain(parts) {
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        format!("ab-{}", hex::encode(&hash.finalize()[..16]))
    }

    /// Returns true if a name belongs to somebody in the XMPP room.
    fn is_nick(&self, folded: &str) -> bool {
        self.live().nicks.contains_key(folded)
    }

    /// Returns true if somebody in the community wrote under a name that looks like this one.
    fn is_speaker(&self, folded: &str) -> bool {
        self.live()
            .speakers
            .values()
            .any(|(name, _)| text::folded(name) == folded)
    }

    /// Returns the name of a person of the XMPP room who has an identity of their own in the community. It tells where they
    /// are if the name alone could be somebody else's.
    pub(crate) fn shown_as_person(&self, nick: &str) -> String {
        let name = text::name_of_nick(nick);
        if self.is_speaker(&text::folded(nick)) {
            text::from_xmpp(&name)
        } else {
            name
        }
    }

    /// Returns the name under which a person of the XMPP room is shown in the community.
    pub(crate) fn shown_in_session(&self, nick: &str) -> String {
        let name = text::name_of_nick(nick);
        let pings = self.options.no_ping && self.is_speaker(&text::folded(nick));
        if pings { text::unpinged(&name) } else { name }
    }

    /// Returns the name under which a person of the community is shown in the XMPP room.
    ///
    /// It has the end of the id if the name alone could be somebody else's.
    pub(crate) fn shown_in_xmpp(&self, id: &SessionId, name: Option<&str>) -> String {
        let full = id.to_string();
        let known = text::folded(name.unwrap_or_default());
        let twins = self.live().twins(id, &known);
        let end = distinct_end(&full, &twins);
        let Some(name) = name.map(text::clean_name).filter(|name| name != "?") else {
            return text::unnamed(&full, end);
        };
        let nick = self.is_nick(&known) || known == text::folded(&self.live().nick);
        let shown = if self.options.no_ping && nick {
            text::unpinged(&name)
        } else {
            name
        };
        if !twins.is_empty() || nick || text::is_tagged(&shown) {
            text::tagged(&shown, end)
        } else {
            shown
        }
    }
}

impl Live {
    /// Stores that a person is in the XMPP room, or left it.
    pub(crate) fn note_occupant(&mut self, nick: &str, occupant: Option<Occupant>) {
        let looks = text::folded(nick);
        match occupant {
            Some(mut occupant) => {
                if let Some(before) = self.occupants.get(nick) {
                    occupant.spoke_as.clone_from(&before.spoke_as);
                    occupant.since = before.since;
                } else if self.occupants.len() < PEOPLE_MAX {
                    *self.nicks.entry(looks).or_default() += 1;
                } else {
                    return;
                }
                self.occupants.insert(nick.to_owned(), occupant);
            }
            None if self.occupants.remove(nick).is_some() => {
                if let Some(count) = self.nicks.get_mut(&looks) {
                    *count -= 1;
                    if *count == 0 {
                        self.nicks.remove(&looks);
                    }
                }
            }
            None => {}
        }
    }

    /// Returns true if `!bridge` may be answered on a side, and notes that it is answered now: an answer to everybody who asks
    /// would hold up what crosses.
    pub(crate) fn may_answer(&mut self, side: Side) -> bool {
        let last = &mut self.answered[usize::from(side == Side::Session)];
        let now = Instant::now();
        if last.is_some_and(|at| now.duration_since(at) < ANSWER_EVERY) {
            return false;
        }
        *last = Some(now);
        true
    }

    /// Stores the author id of a person in the XMPP room who wrote.
    pub(crate) fn note_author(&mut self, nick: &str, author: &str) {
        if let Some(occupant) = self.occupants.get_mut(nick) {
            occupant.spoke_as = Some(author.to_owned());
        }
    }

    /// Returns true if a message of `made` and a change to it of `said_at` are of one person, who is known by a nick alone. A nick
    /// may change hands: its owner must have kept it in between. About times when the bridge was not in the room, only a change
    /// soon after the message is taken.
    pub(crate) fn kept_nick(&self, nick: &str, made: i64, said_at: i64, is_archived: bool) -> bool {
        if !is_archived && self.occupants.get(nick).is_some_and(|here| here.since <= made) {
            return true;
        }
        (is_archived || self.entered.is_none_or(|entered| made < entered))
            && said_at - made <= millis(UNSEEN_CHANGE)
    }

    pub(crate) fn occupant(&self, nick: &str) -> Option<Occupant> {
        self.occupants.get(nick).cloned()
    }

    pub(crate) fn forget_occupants(&mut self) {
        self.entered = None;
        self.occupants.clear();
        self.nicks.clear();
    }

    /// Stores the name of a person in the community who wrote.
    pub(crate) fn note_speaker(&mut self, id: SessionId, name: &str) {
        let now = Instant::now();
        if self.speakers.len() >= PEOPLE_MAX {
            self.speakers
                .retain(|_, (_, at)| now.duration_since(*at) < NAME_KEPT);
        }
        if self.speakers.len() < PEOPLE_MAX || self.speakers.contains_key(&id) {
            self.speakers.insert(id, (text::clean_name(name), now));
        }
    }

    /// The ids of others in the community whose names look like this one.
    fn twins(&self, id: &SessionId, folded: &str) -> Vec<String> {
        self.speakers
            .iter()
            .filter(|(other, (name, _))| *other != id && text::folded(name) == folded)
            .map(|(other, _)| other.to_string())
            .collect()
    }

    /// Returns true if an author was not told about a refusal within `every`, and notes that they are told now.
    pub(crate) fn may_be_told(&mut self, author: &str, every: Duration) -> bool {
        let now = Instant::now();
        self.told.retain(|_, at| now.duration_since(*at) < every);
        if self.told.contains_key(author) || self.told.len() >= PEOPLE_MAX {
            return false;
        }
        self.told.insert(author.to_owned(), now);
        true
    }

    /// A text crossed: a sender that repeats it is another bridge.
    pub(crate) fn note_carried(&mut self, text: &str) {
        if text.chars().count() < 4 {
            return;
        }
        self.echoes.push_back((Instant::now(), digest(text)));
        if self.echoes.len() > ECHOES_MAX {
            self.echoes.pop_front();
        }
    }

    /// Returns true if a text is one that crossed a short while ago, as it stood there or behind a name.
    pub(crate) fn is_echo(&mut self, text: &str) -> bool {
        let now = Instant::now();
        while self
            .echoes
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > ECHO_KEPT)
        {
            self.echoes.pop_front();
        }
        let behind_names = text
            .match_indices(": ")
            .take(NAME_ENDS)
            .map(|(at, _)| &text[at + 2..]);
        std::iter::once(text).chain(behind_names).any(|text| {
            let digest = digest(text);
            self.echoes.iter().any(|(_, carried)| *carried == digest)
        })
    }

    /// Counts a message that came back. Returns true if that happened too often: the author is ignored from now on.
    fn note_loop(&mut self, author: &str) -> bool {
        let now = Instant::now();
        self.loops.retain(|_, times| {
            times.retain(|at| now.duration_since(*at) <= ECHO_KEPT);
            !times.is_empty()
        });
        if self.loops.len() >= PEOPLE_MAX && !self.loops.contains_key(author) {
            return false;
        }
        let times = self.loops.entry(author.to_owned()).or_default();
        times.push_back(now);
        if times.len() < ECHOES_ALLOWED {
            return false;
        }
        self.loops.remove(author);
        self.ignored.insert(author.to_owned(), now);
        true
    }

    /// Returns true if an author is ignored, because they brought messages back.
    pub(crate) fn is_ignored(&mut self, author: &str) -> bool {
        let now = Instant::now();
        self.ignored.retain(|_, at| now.duration_since(*at) < IGNORED_FOR);
        self.ignored.contains_key(author)
    }
}

fn digest(text: &str) -> Digest {
    Sha256::digest(text.as_bytes()).into()
}

/// The end of an id that no other of these ids has: four characters, more if somebody looked for an id with the same end.
fn distinct_end<'a>(id: &'a str, others: &[String]) -> &'a str {
    (4..id.len())
        .step_by(4)
        .filter_map(|count| id.get(id.len() - count..))
        .find(|end| !others.iter().any(|other| other.ends_with(end)))
        .unwrap_or(id)
}

/// Without an identity nothing can be posted, and ids need no secret.
fn ids_secret(room: &Room) -> [u8; 32] {
    let signature = room
        .server()
        .identity()
        .map(|identity| Signer::account(identity).sign_message(IDS_LABEL));
    let mut hash = Sha256::new();
    hash.update(IDS_LABEL);
    hash.update(signature.map(|signature| signature.to_vec()).unwrap_or_default());
    hash.finalize().into()
}

/// A line of the bridge itself.
pub(crate) fn notice(side: Side, key: &str, text: String) -> NewEntry {
    NewEntry {
        side,
        source: format!("notice:{key}"),
        native: String::new(),
        reference: String::new(),
        author: String::new(),
        job: Job::Notice { text },
        reacted: None,
        made: now_ms(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_is_flooded_with_people_does_not_fill_the_memory() {
        let mut live = Live::default();
        let somebody = || {
            Some(Occupant {
                jid: None,
                moderator: false,
                since: 0,
                spoke_as: None,
            })
        };
        for number in 0..2 * PEOPLE_MAX {
            live.note_occupant(&format!("guest {number}"), somebody());
        }
        assert_eq!(live.occupants.len(), PEOPLE_MAX);
        for number in 0..PEOPLE_MAX {
            live.note_occupant(&format!("guest {number}"), None);
        }
        assert!(live.occupants.is_empty() && live.nicks.is_empty());
    }

    #[test]
    fn an_id_that_ends_like_another_one_is_shown_with_more_of_its_end() {
        let others = ["15ab12345678".to_owned()];
        assert_eq!(distinct_end("15cd12340000", &others), "0000");
        assert_eq!(distinct_end("15cd99995678", &others), "99995678");
        assert_eq!(distinct_end("15ab12345678", &others), "15ab12345678");
    }

    #[test]
    fn a_nick_that_looks_like_another_one_changes_nothing_about_its_owner() {
        let mut live = Live::default();
        let somebody = |moderator, since| {
            Some(Occupant {
                jid: None,
                moderator,
                since,
                spoke_as: None,
            })
        };
        live.note_occupant("bob", somebody(true, 1));
        live.note_occupant("BOB", somebody(false, 2));
        assert!(live.occupant("bob").is_some_and(|bob| bob.moderator));
        assert!(live.occupant("BOB").is_some_and(|other| !other.moderator));
        live.note_occupant("BOB", None);
        assert!(live.nicks.contains_key("bob"), "bob is still there");
        // A presence about a change keeps the time since when the nick has its owner.
        live.note_occupant("bob", somebody(false, 9));
        assert_eq!(live.occupant("bob").map(|bob| bob.since), Some(1));
        live.note_occupant("bob", None);
        live.note_occupant("bob", somebody(false, 20));
        assert_eq!(live.occupant("bob").map(|bob| bob.since), Some(20), "a new owner");
    }

    #[test]
    fn a_nick_that_changed_hands_does_not_bring_the_messages_of_its_former_owner_along() {
        let mut live = Live::default();
        let hour = millis(Duration::from_hours(1));
        live.entered = Some(10 * hour);
        let since = |since| {
            Some(Occupant {
                jid: None,
                moderator: false,
                since,
                spoke_as: None,
            })
        };
        live.note_occupant("alice", since(11 * hour));
        // She wrote, and changes it later.
        assert!(live.kept_nick("alice", 12 * hour, 14 * hour, false));
        // Somebody else had the nick when the message was written.
        assert!(!live.kept_nick("alice", 11 * hour - 1_000, 11 * hour + 1_000, false));
        // The bridge did not see who had it: soon after the message, or not at all.
        assert!(live.kept_nick("alice", 9 * hour, 9 * hour + 60_000, true));
        assert!(!live.kept_nick("alice", 8 * hour, 9 * hour, true));
        assert!(!live.kept_nick("alice", 8 * hour, 12 * hour, false));
        assert!(live.kept_nick("alice", 10 * hour - 60_000, 10 * hour + 60_000, false));
    }

    #[test]
    fn one_author_who_brings_messages_back_is_ignored_and_no_other() {
        let mut live = Live::default();
        live.note_carried("alice: hello");
        for echo in ["alice: hello", "relay: alice: hello", "a: b: alice: hello"] {
            assert!(live.is_echo(echo), "{echo}");
        }
        assert!(!live.is_echo("hello") && !live.is_echo("alice: hello you"));
        assert!(!live.note_loop("nick:mallory") && !live.note_loop("nick:mallory"));
        assert!(
            !live.note_loop("nick:bob"),
            "each author has a count of their own"
        );
        assert!(live.note_loop("nick:mallory"));
        assert!(live.is_ignored("nick:mallory") && !live.is_ignored("nick:bob"));
    }

    #[test]
    fn a_question_about_the_bridge_is_answered_once_in_a_while() {
        let mut live = Live::default();
        assert!(live.may_answer(Side::Xmpp));
        assert!(!live.may_answer(Side::Xmpp));
        assert!(live.may_answer(Side::Session), "the sides are independent");
    }

    #[test]
    fn an_author_is_told_once_in_a_while() {
        let mut live = Live::default();
        let every = Duration::from_secs(600);
        assert!(live.may_be_told("nick:alice", every));
        assert!(!live.may_be_told("nick:alice", every));
        assert!(live.may_be_told("nick:bob", every));
        for number in 0..2 * PEOPLE_MAX {
            live.may_be_told(&format!("nick:{number}"), every);
        }
        assert_eq!(live.told.len(), PEOPLE_MAX);
        assert!(live.may_be_told("nick:alice", Duration::ZERO));
    }
}
