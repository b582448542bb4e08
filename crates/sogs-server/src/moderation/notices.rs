//! Job that posts to the moderators' room which cases wait and how they were decided.

use std::sync::Arc;
use std::time::Duration;

use session_protocol::content::Quote;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{account_user, room, text};
use crate::app::App;
use crate::cache::{Room, User};
use crate::clock::unix_now;
use crate::store::StoreResult;
use crate::store::cases::{CaseKind, Notice, ShowNotice, Shown};

/// Longest time until a change by another process or a command is noticed.
const EVERY: Duration = Duration::from_secs(2);
/// Shortest time between two rounds.
const PAUSE: Duration = Duration::from_millis(100);
/// Shortest time between two changes of the notice that counts further posts, in seconds.
const COUNT_EVERY: f64 = 10.0;
/// Rows read at a time, and number of times in one round.
const ROWS: i64 = 64;
const GOES: usize = 64;

/// Runs until `stopped` says so.
pub(crate) async fn post_notices(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = app.moderation.wake.notified() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        if let Err(error) = round(&app).await {
            tracing::warn!(%error, "the moderators' room was not brought up to date; it is tried again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn round(app: &App) -> StoreResult<()> {
    let Some(room) = room(app).await? else {
        return Ok(());
    };
    let store = &app.store;
    for _ in 0..GOES {
        let mut new = store.held_without_case(ROWS).await?;
        let is_last = new.len() < usize::try_from(ROWS).unwrap_or(usize::MAX);
        if !new.is_empty() {
            for row in &mut new {
                row.excerpt = text::excerpt(&std::mem::take(&mut row.data));
            }
            store.open_held(new).await?;
        }
        if is_last {
            break;
        }
    }
    store.settle_cases(unix_now()).await?;
    if !store.stale_notices(1).await?.is_empty() {
        let user = account_user(app).await?;
        bring_up(app, &room, &user).await?;
    }
    store.count_waiting(unix_now(), COUNT_EVERY).await?;
    let counts = store.stale_notices(ROWS).await?;
    let counts = counts.iter().filter(|notice| notice.case.kind == CaseKind::More);
    let user = account_user(app).await?;
    for notice in counts {
        show(app, &room, &user, notice).await?;
    }
    Ok(())
}

/// Posts and changes notices until nothing differs or a minute has as many as it may have.
async fn bring_up(app: &App, room: &Room, user: &User) -> StoreResult<()> {
    for _ in 0..GOES {
        let stale = app.store.stale_notices(ROWS).await?;
        let mut shown = 0;
        for notice in &stale {
            match show(app, room, user, notice).await? {
                Shown::Done | Shown::Again => shown += 1,
                Shown::NotNeeded => {}
                Shown::Later => return Ok(()),
            }
        }
        if shown == 0 {
            return Ok(());
        }
    }
    Ok(())
}

async fn show(app: &App, room: &Room, user: &User, notice: &Notice) -> StoreResult<Shown> {
    let case = &notice.case;
    let reports = match case.kind {
        CaseKind::Report => app.store.reports_of(case.id, text::REPORTS).await?,
        _ => Vec::new(),
    };
    let files = match &notice.data {
        Some(data) => text::files(data, &app.base_url(), room.token()),
        None => Vec::new(),
    };
    let account = &app.moderation.account;
    // Apps take two posts with the same time for one, so the next post waits a moment.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let post = account.post(text::notice(notice, &reports), files, None);
    let reply = text::reply(case).map(|text| {
        let author = notice.signed_by.as_deref().unwrap_or(&user.name);
        let quote = notice.posted.map(|posted| quote(posted, author));
        account.post(text, Vec::new(), quote)
    });
    let per_minute = app.guard.book().server.notices_per_minute.unwrap_or(PER_MINUTE);
    app.store
        .show_notice(ShowNotice {
            case_id: case.id,
            revision: notice.revision,
            room_id: room.id(),
            user_id: user.row.id,
            posted_as: user.name.clone(),
            now: unix_now(),
            post,
            mark: text::mark(case),
            reply,
            per_minute: i64::from(per_minute),
        })
        .await
}

/// Notices per minute, if no rule sets another number.
const PER_MINUTE: u32 = 20;

fn quote(posted: f64, author: &str) -> Quote {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "milliseconds since 1970 fit"
    )]
    let id = (posted * 1000.0).round() as u64;
    Quote {
        id: Some(id),
        author: Some(author.to_owned()),
        ..Quote::default()
    }
}
