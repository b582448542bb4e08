//! Taking back several entries of the log: ranges of numbers, or everything that somebody did.

use super::exec::{Done, OperationContext, count};
use super::operation::{AdminError, Answer};
use super::rules::known_actor;
use super::undo::take_back;
use crate::store::Id;
use crate::store::operation::{LogQuery, LogRow};

/// The most entries of one command.
const MAX_ENTRIES: i64 = 10_000;

/// Takes back the entries of these ranges that fit the query, the latest first.
pub(super) async fn undo(act: &OperationContext<'_>, ranges: &[(Id, Id)], mut query: LogQuery) -> Done {
    if ranges.is_empty() && query.actor.is_none() && query.since.is_none() {
        return Err(AdminError::usage(
            "this would take back everything in the log",
            "name the entries, an --actor or a time with --since",
        ));
    }
    query.actor = known_actor(act, query.actor).await?;
    query.limit = MAX_ENTRIES + 1;
    let mut entries: Vec<LogRow> = Vec::new();
    let everything = [(0, Id::MAX)];
    for (first, last) in if ranges.is_empty() {
        &everything[..]
    } else {
        ranges
    } {
        let part = LogQuery {
            ids: Some((*first, *last)),
            ..query.clone()
        };
        entries.extend(act.admin.store.log(part).await?);
    }
    entries.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
    entries.dedup_by_key(|row| row.id);
    entries.retain(|row| row.undone_at.is_none() && row.action != "undo");
    if entries.len() > usize::try_from(MAX_ENTRIES).unwrap_or(usize::MAX) {
        return Err(AdminError::usage(
            format!("these are more than {MAX_ENTRIES} entries"),
            "take a shorter span of time or smaller ranges",
        ));
    }
    let (can, cannot): (Vec<LogRow>, Vec<LogRow>) = entries.into_iter().partition(|row| row.undo.is_some());
    if can.is_empty() {
        return Err(AdminError::not_found(
            "none of these entries can be undone",
            "`ackpost server log` shows what was done and what can be undone",
        ));
    }
    let (mut lines, mut undone, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for row in &can {
        let title = format!("undo of entry {}: {} {}", row.id, row.action, row.detail);
        if act.dry_run {
            lines.push(title);
            undone.push(row.id);
            continue;
        }
        match take_back(act, row).await {
            Ok(more) => {
                lines.push(title);
                lines.extend(more.into_iter().map(|line| format!("  {line}")));
                undone.push(row.id);
            }
            // One entry that something else depends on does not hold up the others.
            Err(error) => {
                lines.push(format!("entry {} stays: {}", row.id, error.cause));
                left.push(row.id);
            }
        }
    }
    for row in &cannot {
        lines.push(format!("entry {} stays: {} cannot be undone", row.id, row.action));
        left.push(row.id);
    }
    act.rules_changed().await?;
    let number = undone.len() as u64;
    let verb = if act.dry_run { "would be undone" } else { "undone" };
    let entries = count(number, "entry").replace("entrys", "entries");
    lines.push(format!("{entries} {verb}, {} left as they are", left.len()));
    let data = serde_json::json!({ "undone": undone, "left": left });
    Ok(Answer {
        changed: number,
        ..Answer::show(data, lines)
    })
}
