//! Undo of an entry of the log.

use super::context::{Done, OperationContext};
use super::keeper::KEEP_DAYS;
use super::later::Later;
use super::operation::{AdminError, Answer};
use super::restore::restore;
use super::undo_entry::Undo;
use super::words::time;
use crate::store::Id;
use crate::store::operation::LogRow;

/// Takes back an entry of the log.
pub(super) async fn undo(act: &OperationContext<'_>, id: Option<Id>) -> Done {
    let store = &act.admin.store;
    let Some(entry) = store.log_entry(id).await? else {
        return Err(match id {
            Some(id) => AdminError::not_found(
                format!("the log has no entry {id}"),
                "`ackpost server log` shows what was done",
            ),
            None => AdminError::not_found("nothing to undo", "`ackpost server log` shows what was done"),
        });
    };
    if let Some(at) = entry.undone_at {
        return Err(AdminError::conflict(
            format!("entry {} was already reverted at {}", entry.id, time(at)),
            "run its command again if you want the change",
        ));
    }
    if entry.undo.is_none() {
        let is_old = act.now - entry.at > KEEP_DAYS * 86_400.0;
        let why = if is_old {
            format!(": what an undo needs is kept for {KEEP_DAYS} days")
        } else {
            String::new()
        };
        return Err(AdminError::conflict(
            format!("entry {} ({}) cannot be undone{why}", entry.id, entry.action),
            "use the opposite command",
        ));
    }
    let mut lines = vec![format!(
        "undo of entry {}: {} {}",
        entry.id, entry.action, entry.detail
    )];
    let mut later = Later::new(act).await?;
    later.look_behind(act, entry.id).await?;
    lines.extend(take_back(act, &entry, &later).await?);
    if !act.dry_run {
        act.rules_changed().await?;
    }
    let data = serde_json::json!({ "undone": entry.id, "action": entry.action, "detail": entry.detail });
    Ok(Answer {
        changed: 1,
        ..Answer::show(data, lines)
    })
}

/// Undoes one entry, except for things that `later` entries decided about; returns the results in words. A dry run says
/// only what stays.
pub(super) async fn take_back(
    act: &OperationContext<'_>,
    entry: &LogRow,
    later: &Later,
) -> Result<Vec<String>, AdminError> {
    let text = entry.undo.as_deref().unwrap_or_default();
    let plan: Undo = serde_json::from_str(text)
        .map_err(|error| AdminError::failed(format!("entry {} cannot be read: {error}", entry.id)))?;
    let (plan, mut lines) = later.still_open(plan);
    let Some(plan) = plan else {
        return Err(AdminError::conflict(
            lines.join("; "),
            "undo that entry first, or use the opposite command",
        ));
    };
    if act.dry_run {
        return Ok(lines);
    }
    lines.extend(restore(act, plan, later).await?);
    // Files from an entry of an earlier version have no mark.
    let longest_wait = act.admin.config()?.files.longest_wait();
    act.admin.store.mark_imported_files(longest_wait).await?;
    let note = act.entry(
        "undo",
        entry.room.as_deref(),
        &entry.id.to_string(),
        format!("{} {}", entry.action, entry.detail),
        None,
    );
    let undone = act.admin.store.log_undone(entry.id, act.now);
    act.logged(undone, move |()| Some(note.clone())).await?;
    Ok(lines)
}
