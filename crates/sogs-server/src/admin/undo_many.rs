//! Undo of several entries of the log: ranges of numbers, or everything that one person did.

use super::context::{Done, OperationContext};
use super::later::Later;
use super::log::ids_of_actor;
use super::operation::{AdminError, Answer};
use super::undo::take_back;
use super::words::count;
use crate::store::Id;
use crate::store::operation::{LogQuery, LogRow};

/// The most entries of one command.
const MAX_ENTRIES: i64 = 10_000;

/// Undoes the entries of these ranges that match the query, the latest first.
pub(super) async fn undo(
    act: &OperationContext<'_>,
    ranges: &[(Id, Id)],
    query: LogQuery,
    actor: Option<&str>,
) -> Done {
    let entries = chosen(act, ranges, query, actor).await?;
    let (can, cannot): (Vec<LogRow>, Vec<LogRow>) = entries.into_iter().partition(|row| row.undo.is_some());
    if can.is_empty() {
        return Err(AdminError::not_found(
            "none of these entries can be undone",
            "`ackpost server log` shows what was done and what can be undone",
        ));
    }
    let (mut lines, mut undone, mut left) = (Vec::new(), Vec::new(), Vec::new());
    let mut later = Later::new(act).await?;
    for row in &can {
        let title = format!("undo of entry {}: {} {}", row.id, row.action, row.detail);
        later.look_behind(act, row.id).await?;
        let outcome = take_back(act, row, &later).await;
        later.note(row, outcome.is_ok());
        match outcome {
            Ok(more) => {
                lines.push(title);
                lines.extend(more.into_iter().map(|line| format!("  {line}")));
                undone.push(row.id);
            }
            // An entry that something else depends on does not stop the others.
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

/// The entries of these ranges that match the query and are not undone yet, the latest first.
async fn chosen(
    act: &OperationContext<'_>,
    ranges: &[(Id, Id)],
    mut query: LogQuery,
    actor: Option<&str>,
) -> Result<Vec<LogRow>, AdminError> {
    if ranges.is_empty() && actor.is_none() && query.since.is_none() {
        return Err(AdminError::usage(
            "this would revert everything in the log",
            "give entries, an --actor or a time with --since",
        ));
    }
    query.actors = match actor {
        Some(actor) => Some(ids_of_actor(act, actor).await?),
        None => None,
    };
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
            "choose a shorter time or smaller ranges",
        ));
    }
    Ok(entries)
}
