//! Background jobs of the server: activity and nonces are written every few seconds, cleanup runs every ten, and
//! files without a row are looked for every few hours.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::app::App;
use crate::clock::unix_now;
use crate::store::CleanupPlan;

/// Seconds between two rounds of cleanup.
const CLEANUP: Duration = Duration::from_secs(10);
/// Seconds between two writings of nonces.
const NONCES: Duration = Duration::from_secs(1);
/// Rounds of cleanup between two searches for messages that are too old.
const RETENTION_ROUNDS: u32 = 30;

/// Time until the first search for files without a row, and between two searches.
const FIRST_SWEEP: Duration = Duration::from_secs(3600);
const SWEEP: Duration = Duration::from_secs(6 * 3600);
/// Age from which a file without a row is removed.
const ORPHAN_AGE: Duration = Duration::from_secs(86_400);

/// Starts the jobs; they end when `stopped` says so.
pub(crate) fn start(app: Arc<App>, stopped: watch::Receiver<bool>) -> [tokio::task::JoinHandle<()>; 6] {
    let [index, thumbnails] = crate::web::start_upkeep(&app, &stopped);
    [
        index,
        thumbnails,
        tokio::spawn(keep_nonces(Arc::clone(&app), stopped.clone())),
        tokio::spawn(crate::moderation::post_notices(Arc::clone(&app), stopped.clone())),
        tokio::spawn(cleanup(Arc::clone(&app), stopped.clone())),
        tokio::spawn(sweep_files(app, stopped)),
    ]
}

fn ticks(period: Duration) -> tokio::time::Interval {
    // Cleanup does not start at once: items due since the last run get one round's time, as on the reference server.
    let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn keep_nonces(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = ticks(NONCES);
    loop {
        let stop = tokio::select! {
            _ = ticks.tick() => false,
            _ = stopped.wait_for(|stop| *stop) => true,
        };
        let nonces = app.take_backlog();
        // If several processes share the database, the nonces are written already.
        if !nonces.is_empty()
            && !app.store.is_shared()
            && let Err(error) = app.store.keep_nonces(nonces, unix_now()).await
        {
            tracing::warn!(%error, "nonces were not written; they are kept in memory");
        }
        if stop {
            return;
        }
    }
}

async fn cleanup(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = ticks(CLEANUP);
    let mut round = 0_u32;
    loop {
        let stop = tokio::select! {
            _ = ticks.tick() => false,
            _ = stopped.wait_for(|stop| *stop) => true,
        };
        if let Err(error) = stayed(&app).await {
            tracing::warn!(%error, "new readers were not stored");
        }
        let seen = app.activity.take();
        if !seen.is_empty()
            && let Err(error) = app.store.touch(seen).await
        {
            tracing::warn!(%error, "activity was not written");
        }
        if stop {
            return;
        }
        if let Err(error) = clean_once(&app).await {
            tracing::warn!(%error, "cleanup did not finish");
        }
        round = round.wrapping_add(1);
        if round % RETENTION_ROUNDS == 1
            && let Err(error) = retention(&app).await
        {
            tracing::warn!(%error, "old messages were not removed");
        }
    }
}

/// Removes files that nothing refers to, as a crash between bytes and row leaves them.
async fn sweep_files(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval_at(tokio::time::Instant::now() + FIRST_SWEEP, SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let community = app.public_key().to_string();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let swept = tokio::select! {
            swept = app.contents.sweep_orphans(&app.store, &community, ORPHAN_AGE) => swept,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match swept {
            Ok(swept) if swept.removed > 0 => tracing::info!(?swept, "removed files without a row"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot look for files without a row"),
        }
    }
}

/// Gives a row to people who have read here for a while, so that they count as active.
async fn stayed(app: &App) -> crate::store::StoreResult<()> {
    for visitor in app.activity.stayed(unix_now()) {
        let Ok(id) = visitor.name.parse() else { continue };
        let user = match app.user(&id).await? {
            Some(user) => user,
            None => app.enter(&id, visitor.since).await?,
        };
        app.activity.note(user.row.id, None, visitor.seen);
        if visitor.room.is_some() {
            app.activity.note(user.row.id, visitor.room, visitor.seen);
        }
    }
    Ok(())
}

/// One round of cleanup. Several processes may do it at once: the writer lock makes them take turns, and the
/// second finds nothing left to do.
pub(crate) async fn clean_once(app: &App) -> crate::store::StoreResult<()> {
    let config = app.config();
    let now = unix_now();
    let day = 86_400.0;
    let (nonce_clock, forgets) = app.keep_clock(now);
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
    let plan = CleanupPlan {
        now,
        history_before: now - config.messages.history_days * day,
        activity_before: now - config.rooms.active_prune_days * day,
        nonces_before: forgets as i64,
        nonce_clock,
        active_since: now - config.rooms.active_days * day,
    };
    let done = app.store.cleanup(plan).await?;
    if let Some(oldest) = app.store.nonce_marks().await?.oldest {
        app.nonces.refuse_before(oldest);
    }
    app.contents.remove_unused(&app.store, &done.contents).await?;
    if done != crate::store::Cleaned::default() {
        tracing::debug!(?done, "cleaned up");
    }
    Ok(())
}

/// Removes messages that are older than a room keeps them.
async fn retention(app: &App) -> crate::store::StoreResult<()> {
    app.contents.sweep().await;
    for room in app.rooms().await? {
        let days = app
            .guard
            .book()
            .room(room.id())
            .rules
            .retention_days
            .filter(|days| *days > 0.0);
        if let Some(days) = days {
            let gone = app
                .store
                .prune_messages(room.id(), unix_now() - days * 86_400.0)
                .await?;
            if gone > 0 {
                tracing::info!(room = room.token(), gone, "removed old messages");
            }
        }
    }
    Ok(())
}
