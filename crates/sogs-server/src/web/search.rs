//! Search for messages of a room by their words.

use std::sync::Arc;

use super::page::Found;
use super::room::{MANY_BYTES, MESSAGES, complete};
use crate::app::App;
use crate::cache::Room;
use crate::search::{MAX_SEARCH, Words};
use crate::store::{Id, Portion, StoreResult, Visible};

/// More messages than these wait to be indexed while the index is built; fewer wait between two rounds.
const BACKLOG: i64 = 1000;

/// Finds messages of a room, newest first; `None` when there are too many searches at the moment.
pub(super) async fn find(
    app: &Arc<App>,
    room: &Room,
    query: &str,
    before: Option<Id>,
) -> StoreResult<Option<Found>> {
    let mut found = Found {
        query: query.chars().take(MAX_SEARCH).collect(),
        ..Found::default()
    };
    let words = Words::parse(query);
    if words.is_empty() {
        found.is_empty_query = true;
        return Ok(Some(found));
    }
    let Some(_turn) = app.searches.turn().await else {
        return Ok(None);
    };
    let ids = app
        .store
        .find_words(room.id(), words, before.unwrap_or(Id::MAX), MESSAGES + 1)
        .await?;
    let Some(mut ids) = ids else {
        found.took_too_long = true;
        return Ok(Some(found));
    };
    let most = usize::try_from(MESSAGES).unwrap_or(usize::MAX);
    let has_more = ids.len() > most;
    ids.truncate(most);
    found.more = ids.last().copied().filter(|_| has_more);
    // Only so many searches run at a time: their memory is bounded without the common budget.
    let Portion { rows, is_cut } = app
        .store
        .visible(room.id(), Visible::These(ids), MESSAGES, MANY_BYTES)
        .await?;
    if is_cut {
        found.more = rows.last().map(|row| row.id);
    }
    found.list = complete(app, room, rows).await?;
    found.is_indexing = app.store.unindexed(BACKLOG + 1).await? > BACKLOG;
    Ok(Some(found))
}
