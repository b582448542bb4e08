//! Storing messages: all that wait at the moment in a handful of statements, however many they are.

use std::collections::{BTreeMap, HashMap};

use super::operation::hold;
use super::users::ensure;
use super::{Conn, SqlStore, Tx, lend, take_seqnos};
use crate::{Change, Id, NewPost, Numbered, Person, PostWindow, Posted, StoreResult, UserFull, Window};

impl SqlStore {
    pub(crate) async fn post_wait(
        &self,
        room_id: Id,
        user_id: Id,
        windows: Vec<PostWindow>,
        now: f64,
    ) -> StoreResult<Option<u64>> {
        let asked: Vec<Window> = windows
            .iter()
            .map(|window| Window {
                user_id,
                room_id,
                since: now - window.seconds,
                limit: i64::from(window.posts),
            })
            .collect();
        let mut conn = self.readers.acquire().await?;
        let counts = super::super::count_recent(&mut conn, &asked).await?;
        if asked
            .iter()
            .zip(counts)
            .all(|(window, count)| count < window.limit)
        {
            return Ok(None);
        }
        wait(&mut conn, &asked, &[]).await.map(Some)
    }

    pub(crate) async fn post(&self, new: NewPost) -> StoreResult<Posted> {
        self.writer.post(new).await
    }

    pub(crate) async fn join_and_post(
        &self,
        person: Person,
        new: NewPost,
    ) -> StoreResult<(UserFull, bool, Posted)> {
        self.write((person, new), |mut tx, (person, new)| {
            Box::pin(async move {
                let (full, is_new) = ensure(lend(&mut tx), person, new.now).await?;
                let post = NewPost {
                    user_id: full.user.id,
                    ..new.clone()
                };
                let posted = insert_all(tx.conn, tx.changes, &[&post]).await?.pop();
                Ok((full, is_new, posted.unwrap_or(Posted::NoRoom)))
            })
        })
        .await
    }
}

/// Stores messages in the order given, as if one after the other; what became of each.
pub(in super::super) async fn insert_all(
    conn: &mut Conn,
    changes: &mut Vec<Change>,
    posts: &[&NewPost],
) -> StoreResult<Vec<Posted>> {
    let mut tx = Tx { conn, changes };
    let mut outcomes = vec![Posted::NoRoom; posts.len()];
    let mut rooms: BTreeMap<Id, Vec<usize>> = BTreeMap::new();
    let passed = within_limits(&mut tx, posts).await?;
    for (place, new) in posts.iter().enumerate() {
        if passed.binary_search(&place).is_err() {
            let before: Vec<&NewPost> = passed
                .iter()
                .take_while(|earlier| **earlier < place)
                .map(|earlier| posts[*earlier])
                .collect();
            let asked: Vec<Window> = windows(new).collect();
            let wait = wait(tx.conn, &asked, &before).await?;
            outcomes[place] = Posted::RateLimited { wait };
        }
    }
    for place in passed {
        match held_already(&mut tx, posts[place]).await? {
            Some(stored) => outcomes[place] = stored,
            None => rooms.entry(posts[place].room_id).or_default().push(place),
        }
    }
    let mut numbered = Vec::with_capacity(posts.len());
    for (room_id, places) in rooms {
        let count = i64::try_from(places.len()).unwrap_or(i64::MAX);
        let last = take_seqnos(&mut tx, room_id, count).await?;
        for (seqno, place) in (1..=count).zip(places) {
            numbered.extend(last.map(|last| (place, last - count + seqno)));
        }
    }
    numbered.sort_unstable();
    let rows: Vec<Numbered<'_>> = numbered
        .iter()
        .map(|(place, seqno)| Numbered {
            new: posts[*place],
            seqno: *seqno,
        })
        .collect();
    let ids: HashMap<(Id, i64), Id> = super::super::insert_messages(tx.conn, &rows)
        .await?
        .into_iter()
        .map(|(id, room_id, seqno)| ((room_id, seqno), id))
        .collect();
    for (place, seqno) in numbered {
        let new = posts[place];
        let Some(id) = ids.get(&(new.room_id, seqno)).copied() else {
            continue;
        };
        outcomes[place] = Posted::Done { id, seqno };
        if let Some(reason) = &new.held {
            hold(&mut tx, id, new.room_id, reason, new.now).await?;
        }
        attach(
            &mut tx,
            new.room_id,
            id,
            new.user_id,
            &new.files,
            new.files_expire,
            new.now,
        )
        .await?;
    }
    Ok(outcomes)
}

/// Finds a post that is held already. Its author sees it nowhere, so that an author whose answer was lost sends it again.
async fn held_already(tx: &mut Tx<'_>, new: &NewPost) -> StoreResult<Option<Posted>> {
    if new.held.is_none() {
        return Ok(None);
    }
    let found: Option<(Id, i64)> = sqlx::query_as(
        "SELECT m.id, m.seqno FROM held_messages h JOIN messages m ON m.id = h.message_id \
         WHERE h.room_id = $1 AND m.user_id = $2 AND m.signature = $3 AND m.data = $4 ORDER BY m.id LIMIT 1",
    )
    .bind(new.room_id)
    .bind(new.user_id)
    .bind(&new.signature[..])
    .bind(&new.data[..])
    .fetch_optional(&mut *tx.conn)
    .await?;
    Ok(found.map(|(id, seqno)| Posted::Done { id, seqno }))
}

/// Indexes of the posts that no rate limit stops; posts earlier in the list count towards the limits.
async fn within_limits(tx: &mut Tx<'_>, posts: &[&NewPost]) -> StoreResult<Vec<usize>> {
    let asked: Vec<Window> = posts.iter().flat_map(|new| windows(new)).collect();
    let counts = super::super::count_recent(tx.conn, &asked).await?;
    let mut stored = counts.into_iter();
    let mut passed: Vec<usize> = Vec::with_capacity(posts.len());
    for (place, new) in posts.iter().enumerate() {
        let mut is_full = false;
        for window in windows(new) {
            let before = passed
                .iter()
                .map(|earlier| posts[*earlier])
                .filter(|earlier| window.counts(earlier))
                .count();
            let stored = stored.next().unwrap_or(0);
            is_full |= stored.saturating_add(i64::try_from(before).unwrap_or(i64::MAX)) >= window.limit;
        }
        if !is_full {
            passed.push(place);
        }
    }
    Ok(passed)
}

/// Whole seconds until every limit of one person lets another post through: until the post that fills its window leaves
/// it. `before` are the posts stored together with this one.
async fn wait(conn: &mut Conn, windows: &[Window], before: &[&NewPost]) -> StoreResult<u64> {
    let mut longest = 0.0_f64;
    for window in windows {
        let mut times: Vec<f64> = before
            .iter()
            .filter(|earlier| window.counts(earlier))
            .map(|earlier| earlier.now)
            .collect();
        let stored: Vec<(f64,)> = sqlx::query_as(
            "SELECT posted FROM messages WHERE user_id = $1 AND room_id = $2 AND posted >= $3 \
             ORDER BY posted DESC LIMIT $4",
        )
        .bind(window.user_id)
        .bind(window.room_id)
        .bind(window.since)
        .bind(window.limit)
        .fetch_all(&mut *conn)
        .await?;
        times.extend(stored.into_iter().map(|(posted,)| posted));
        times.sort_by(|one, other| other.total_cmp(one));
        let filling = usize::try_from(window.limit)
            .ok()
            .and_then(|limit| limit.checked_sub(1))
            .and_then(|place| times.get(place));
        if let Some(filling) = filling {
            longest = longest.max(filling - window.since);
        }
    }
    // A post exactly as old as the window is long still counts.
    Ok(std::time::Duration::try_from_secs_f64(longest).map_or(1, |wait| wait.as_secs() + 1))
}

/// The limits that apply to a message.
fn windows(new: &NewPost) -> impl Iterator<Item = Window> + '_ {
    new.windows.iter().map(|window| Window {
        user_id: new.user_id,
        room_id: new.room_id,
        since: new.now - window.seconds,
        limit: i64::from(window.posts),
    })
}

/// A file can be attached to a message once, while it waits for one, and only by its uploader.
pub(super) async fn attach(
    tx: &mut Tx<'_>,
    room_id: Id,
    message_id: Id,
    user_id: Id,
    files: &[Id],
    expire: Option<f64>,
    now: f64,
) -> StoreResult<()> {
    for file_id in files {
        sqlx::query(
            "UPDATE files SET message_id = $1, expiry = $2 WHERE id = $3 AND room_id = $4 AND uploader_id = $5 \
             AND message_id IS NULL AND expiry >= $6",
        )
        .bind(message_id)
        .bind(expire)
        .bind(file_id)
        .bind(room_id)
        .bind(user_id)
        .bind(now)
        .execute(&mut *tx.conn)
        .await?;
    }
    Ok(())
}
