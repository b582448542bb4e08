//! A running bridge: its parts, its start, and its work besides carrying messages.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use ackpost_xmpp::{Account, Events, RoomTarget, Session, SessionOptions};
use sogs_client::Room;
use tokio::sync::watch;

use crate::clock::now_ms;
use crate::config::Options;
use crate::error::BridgeError;
use crate::from_session::FromSession;
use crate::from_xmpp::FromXmpp;
use crate::lane;
use crate::limits::{Limits, millis};
use crate::people::People;
use crate::shared::{Shared, notice};
use crate::store::{Side, Store, StoreError};
use crate::to_session::ToSession;
use crate::to_xmpp::ToXmpp;

/// Interval between two checks of the bridge's own state.
const LOOK: Duration = Duration::from_secs(2);
/// Time for which messages that crossed are remembered, milliseconds.
const KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Pauses before a new start after a failure.
const RESTART: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));
/// Interval between two checks that the bridge is still in the room (XEP-0410).
const SELF_PING: Duration = Duration::from_secs(60);

/// The parts from which a bridge is made.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Its name.
    pub name: String,
    /// The XMPP account.
    pub account: Account,
    /// The XMPP room.
    pub place: RoomTarget,
    /// The room of the community; its server has an identity.
    pub room: Room,
    /// Options for carrying messages.
    pub options: Options,
    /// Limits and pauses.
    pub limits: Limits,
}

/// Carries messages until `stop` is true. After a temporary failure the bridge tries again; the first start must
/// succeed.
///
/// # Errors
/// Permanent failures only: a wrong password, a database of a later version; at the first start also a community that does not answer
/// as one.
pub async fn run(parts: Parts, store: Store, mut stop: watch::Receiver<bool>) -> Result<(), BridgeError> {
    let mut pause = RESTART.0;
    let mut has_carried = false;
    let archive_failures = AtomicU32::new(0);
    loop {
        let began = tokio::time::Instant::now();
        let opened = tokio::select! {
            opened = open(&parts, &store) => opened,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let ended = match opened {
            Ok(opened) => {
                has_carried = true;
                Box::pin(opened.carry_until(&mut stop, &archive_failures)).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return Ok(()) };
        let is_end = if has_carried {
            error.ends_a_running_bridge()
        } else {
            error.is_permanent()
        };
        if is_end {
            return Err(error);
        }
        if began.elapsed() > RESTART.1 {
            pause = RESTART.0;
        }
        tracing::warn!(bridge = parts.name, %error, ?pause, "the bridge starts again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        pause = (pause * 2).min(RESTART.1);
    }
}

/// A bridge that is connected on both sides.
struct Opened {
    shared: Shared,
    events: Events,
    /// The last event of the community that was taken.
    cursor: Option<String>,
    /// It carried before, so that the history since then is read.
    known: bool,
}

async fn open(parts: &Parts, store: &Store) -> Result<Opened, BridgeError> {
    let name = &parts.name;
    let after = store.meta(name, "xmpp.after").await?;
    let cursor = store.meta(name, "session.cursor").await?;
    let paused = store.paused(name).await?.is_some();
    let server = parts.room.server();
    // Asked first, so that all ids under which we are shown are known before anything is read.
    server.my_id().await.map_err(BridgeError::Session)?;
    let key = server.key();
    let own_ids = server
        .identity()
        .map(|me| vec![me.session_id(), me.blind15(&key).id(), me.blind25(&key).id()])
        .unwrap_or_default();
    let each = parts.options.people == crate::config::People::Each;
    let people = People::load(store, name, &parts.room, each).await?;
    let mut place = parts.place.clone();
    place.nick = Some(parts.options.nick.clone());
    let mut options = SessionOptions::default();
    options.rooms = vec![place.clone()];
    options.catch_up = vec![(place.room.to_bare(), after.clone())];
    options.ping_after = SELF_PING;
    let (xmpp, events) = Session::open(&parts.account, options)
        .await
        .map_err(BridgeError::Xmpp)?;
    let shared = Shared::new(
        name.clone(),
        parts.options.clone(),
        parts.limits.clone(),
        store.clone(),
        parts.room.clone(),
        people,
        own_ids,
        xmpp.clone(),
        place,
        paused,
        parts
            .options
            .private_addresses
            .then(|| parts.account.trust().clone()),
    );
    Ok(Opened {
        shared,
        events,
        cursor,
        known: after.is_some(),
    })
}

impl Opened {
    /// Carries until `stop` is true, and ends the session in order: a server would keep the place of a lost one for minutes.
    async fn carry_until(
        self,
        stop: &mut watch::Receiver<bool>,
        archive_failures: &AtomicU32,
    ) -> Result<(), BridgeError> {
        let session = self.shared.xmpp.clone();
        let ended = tokio::select! {
            ended = self.carry(archive_failures) => ended,
            _ = stop.wait_for(|stop| *stop) => Ok(()),
        };
        session.close().await;
        ended
    }

    async fn carry(self, archive_failures: &AtomicU32) -> Result<(), BridgeError> {
        let shared = &self.shared;
        note_rank(shared).await;
        announce(shared).await?;
        let from_xmpp = FromXmpp::new(shared, self.known, archive_failures);
        let from_session = FromSession::new(shared, self.cursor.as_deref());
        let carried = async {
            tokio::try_join!(
                async { Ok(lane::run(shared, ToSession::new(shared)).await?) },
                async { Ok(lane::run(shared, ToXmpp::new(shared)).await?) },
                look_after(shared),
            )
            .map(drop)
        };
        tokio::select! {
            ended = from_xmpp.run(self.events) => ended,
            ended = from_session.run() => ended,
            ended = carried => ended,
        }
    }
}

/// Asks the community whether the bridge is an admin there. The poll tells about changes of the room alone, not of ranks.
async fn note_rank(shared: &Shared) {
    if let Ok(info) = shared.room.info().await {
        shared.live().admin = info.admin || info.global_admin;
    }
}

/// The line that tells the XMPP room about the bridge, once for each text.
async fn announce(shared: &Shared) -> Result<(), StoreError> {
    let text = shared.options.announce.clone();
    if text.is_empty()
        || shared
            .store
            .meta(&shared.name, "announced")
            .await?
            .is_some_and(|said| said == text)
    {
        return Ok(());
    }
    let key = format!("announce-{}", now_ms());
    let entry = notice(Side::Xmpp, &key, text.clone());
    shared.take(&[entry], &[("announced", text)]).await.map(drop)
}

/// Reads commands, reports delays and full queues, and removes old data.
async fn look_after(shared: &Shared) -> Result<(), BridgeError> {
    let mut states = [Told::load(shared, true).await?, Told::load(shared, false).await?];
    let mut tidied = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let paused = shared.store.is_paused_at(&shared.name, now_ms()).await?;
        shared
            .paused
            .send_if_modified(|now| std::mem::replace(now, paused) != paused);
        for state in &mut states {
            state.look(shared, paused).await?;
        }
        if now_ms() - tidied > 60 * 60 * 1000 {
            tidied = now_ms();
            note_rank(shared).await;
            shared.store.tidy(tidied - KEPT_MS).await?;
        }
    }
}

/// State already reported in the room from which one direction comes.
struct Told {
    to_session: bool,
    late: bool,
    /// Number of messages that were refused because the queue was full.
    lost: u64,
}

impl Told {
    async fn load(shared: &Shared, to_session: bool) -> Result<Self, StoreError> {
        let told = shared.store.meta(&shared.name, Self::key(to_session)).await?;
        Ok(Self {
            to_session,
            late: false,
            lost: told.and_then(|text| text.parse().ok()).unwrap_or_default(),
        })
    }

    /// The name under which the number of lost messages that were told is remembered.
    fn key(to_session: bool) -> &'static str {
        if to_session { "lost.session" } else { "lost.xmpp" }
    }

    async fn look(&mut self, shared: &Shared, paused: bool) -> Result<(), StoreError> {
        let (side, other, to) = if self.to_session {
            (Side::Xmpp, "the community", Side::Session)
        } else {
            (Side::Session, "the XMPP room", Side::Xmpp)
        };
        let (waiting, oldest) = shared.store.waiting(&shared.name, to).await?;
        let delay = oldest.map_or(0, |oldest| now_ms() - oldest);
        let late = delay > millis(shared.limits.delay_told);
        if late != self.late && !paused {
            self.late = late;
            let text = if late {
                format!("Messages to {other} are delayed; {waiting} wait.")
            } else {
                format!("Messages to {other} are no longer delayed.")
            };
            shared.tell(side, &format!("delay-{}", now_ms()), text).await?;
        }
        self.tell_lost(shared, side, other, waiting).await
    }

    /// Tells how many messages a full queue refused, once there is room again: a line for each would be a flood.
    async fn tell_lost(
        &mut self,
        shared: &Shared,
        side: Side,
        other: &str,
        waiting: u64,
    ) -> Result<(), StoreError> {
        let lost = shared.store.lost(&shared.name, self.to_session).await?;
        // Entries of long ago are forgotten.
        self.lost = self.lost.min(lost);
        let has_room = waiting * 2 <= u64::from(shared.limits.waiting);
        if lost == self.lost || !has_room {
            return Ok(());
        }
        let text = match lost - self.lost {
            1 => format!("1 message did not reach {other}, because the queue was full."),
            new => format!("{new} messages did not reach {other}, because the queue was full."),
        };
        self.lost = lost;
        let entry = notice(side, &format!("full-{}", now_ms()), text);
        let told = [(Self::key(self.to_session), lost.to_string())];
        shared.take(&[entry], &told).await.map(drop)
    }
}
