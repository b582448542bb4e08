//! Sweep after a raid: removes everything that accounts first seen since a time wrote; one undo restores it.

use super::context::{Done, OperationContext};
use super::gone::{self, Extent};
use super::names;
use super::operation::{AdminError, Answer};
use super::undo_entry::Undo;
use super::words::{count, time};
use crate::store::Id;
use crate::store::operation::{Erase, KeptBan, Newcomer};

/// The most accounts of one sweep.
const MAX_ACCOUNTS: usize = 50_000;
/// Number of accounts that the answer names, those with most posts first.
const SHOWN: usize = 20;

/// Accounts whose posts are removed, and whether they are banned.
pub(super) struct Wave {
    /// First seen at or after this time (Unix seconds).
    pub(super) since: f64,
    /// First seen before this time (Unix seconds).
    pub(super) until: Option<f64>,
    /// Ban them too.
    pub(super) ban: bool,
    /// Seconds until the bans end.
    pub(super) seconds: Option<f64>,
}

pub(super) async fn sweep(act: &OperationContext<'_>, room: Option<&str>, wave: Wave) -> Done {
    checked(act, &wave)?;
    let room = act.maybe_room(room).await?;
    let newcomers = accounts(act, &wave).await?;
    let ids: Vec<Id> = newcomers.iter().map(|row| row.id).collect();
    let extent = Extent {
        rooms: room.as_ref().map(|room| vec![room.id]),
        since: f64::MIN,
        until: f64::MAX,
    };
    let mut trace = gone::trace(act.admin.keeper(), &ids, &extent, true, act.dry_run).await?;
    let room_id = room.as_ref().map(|room| room.id);
    let already = banned_there(act, room.as_ref().map(|room| room.token.as_str())).await?;
    let banned: Vec<Id> = newcomers
        .iter()
        .filter(|row| wave.ban && !row.banned && !already.contains(&row.session_id))
        .map(|row| row.id)
        .collect();
    trace.gone.bans = banned
        .iter()
        .map(|user_id| KeptBan {
            user_id: *user_id,
            room_id,
        })
        .collect();
    let (posts, letters) = (trace.gone.messages.len() as u64, trace.gone.letters.len() as u64);
    let counts = [
        (posts, "post"),
        (trace.given, "reaction"),
        (trace.files, "file"),
        (letters, "direct message"),
        (banned.len() as u64, "ban"),
    ];
    let changed: u64 = counts.iter().map(|(number, _)| number).sum();
    let words: Vec<String> = counts
        .iter()
        .map(|(number, thing)| count(*number, thing))
        .collect();
    let detail = format!(
        "{} first seen since {}: {}",
        count(newcomers.len() as u64, "account"),
        time(wave.since),
        words.join(", ")
    );
    let mut lines = most_active(act, &newcomers, &trace.posts).await?;
    lines.push(detail.clone());
    let data = serde_json::json!({
        "since": wave.since, "accounts": newcomers.len(), "posts": posts, "reactions": trace.given, "files": trace.files,
        "direct_messages": letters, "bans": banned.len(), "room": room.as_ref().map(|room| &room.token),
    });
    let mut undo = None;
    if changed > 0 && !act.dry_run {
        let token = room.as_ref().map(|room| room.token.as_str());
        let target = count(newcomers.len() as u64, "account");
        let plan = Undo::Messages { gone: trace.gone };
        let erase = Erase {
            now: act.now,
            bans: banned.iter().map(|user_id| (*user_id, room_id)).collect(),
            until: wave.seconds.map(|seconds| act.now + seconds),
            log: Some(act.entry("raid_sweep", token, &target, detail, Some(&plan))),
            ..trace.erase
        };
        undo = act.erase(erase).await?.log;
    }
    Ok(Answer {
        changed,
        undo,
        ..Answer::show(data, lines)
    })
}

fn checked(act: &OperationContext<'_>, wave: &Wave) -> Result<(), AdminError> {
    let valid = |seconds: f64| seconds > 0.0 && seconds <= 1e9;
    if wave.seconds.is_some_and(|seconds| !valid(seconds) || !wave.ban) {
        return Err(AdminError::usage(
            "the time of a ban must be from one second to thirty years, together with --ban",
            "give another time, or none for a permanent ban",
        ));
    }
    if !(wave.since > 0.0 && wave.since <= act.now) {
        return Err(AdminError::usage(
            "the time is in the future",
            "write the time as a length before now (2h) or as 2026-11-29T18:00:00Z",
        ));
    }
    Ok(())
}

/// The accounts of a wave.
async fn accounts(act: &OperationContext<'_>, wave: &Wave) -> Result<Vec<Newcomer>, AdminError> {
    let most = i64::try_from(MAX_ACCOUNTS + 2).unwrap_or(i64::MAX);
    let mut newcomers = act
        .admin
        .store
        .newcomers(wave.since, wave.until.unwrap_or(f64::MAX), most)
        .await?;
    // Its notices are not posts of a raid, however new it is.
    newcomers.retain(|row| !act.admin.is_own_account(&row.session_id));
    if newcomers.len() > MAX_ACCOUNTS {
        return Err(AdminError::usage(
            format!("more than {MAX_ACCOUNTS} accounts were first seen since then"),
            "choose a shorter time with --since and --until",
        ));
    }
    Ok(newcomers)
}

/// Returns the people who are already banned from the whole server or from this room.
async fn banned_there(
    act: &OperationContext<'_>,
    token: Option<&str>,
) -> Result<std::collections::HashSet<String>, AdminError> {
    Ok(act
        .admin
        .store
        .bans()
        .await?
        .into_iter()
        .filter(|ban| ban.room.as_deref() == token)
        .map(|ban| ban.session_id)
        .collect())
}

/// Names the accounts with most posts, for a check before anything is done.
async fn most_active(
    act: &OperationContext<'_>,
    newcomers: &[Newcomer],
    posts: &std::collections::HashMap<Id, u64>,
) -> Result<Vec<String>, AdminError> {
    let number = |row: &Newcomer| posts.get(&row.id).copied().unwrap_or(0);
    let mut order: Vec<&Newcomer> = newcomers.iter().collect();
    order.sort_by_key(|row| (std::cmp::Reverse(number(row)), row.id));
    order.truncate(SHOWN);
    let names = names::by_number(&act.admin.store, order.iter().map(|row| row.id).collect()).await?;
    let mut lines: Vec<String> = order
        .iter()
        .map(|row| {
            format!(
                "{}  {}  {}  {}",
                row.session_id,
                time(row.created),
                count(number(row), "post"),
                names.get(&row.id).map_or("-", String::as_str)
            )
        })
        .collect();
    if newcomers.len() > SHOWN {
        lines.push(format!("and {} more", newcomers.len() - SHOWN));
    }
    Ok(lines)
}
