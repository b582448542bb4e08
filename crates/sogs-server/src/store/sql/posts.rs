//! Storing messages: all that wait at the moment in a handful of statements, however many they are.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::operation::hold;
use super::{Conn, SqlStore, Tx, chunks, take_seqnos};
use crate::store::{Change, Id, NewPost, Posted, StoreResult};

impl SqlStore {
    pub(crate) async fn post(&self, new: NewPost) -> StoreResult<Posted> {
        self.writer.post(new).await
    }
}

/// Most rows of one statement; their numbers are powers of two, so that few texts need preparing.
const ROWS: usize = 32;
/// Values of a row.
const COLUMNS: usize = 12;

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
            let wait = wait(&mut tx, new, &before).await?;
            outcomes[place] = Posted::RateLimited { wait };
        }
    }
    for place in passed {
        rooms.entry(posts[place].room_id).or_default().push(place);
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
    let mut ids = HashMap::with_capacity(numbered.len());
    for rows in chunks(&numbered, ROWS) {
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(insert_text(rows.len())));
        for (place, seqno) in rows {
            let new = posts[*place];
            query = query
                .bind(new.room_id)
                .bind(new.user_id)
                .bind(new.now)
                .bind(seqno)
                .bind(&new.data[..])
                .bind(new.data_size)
                .bind(&new.signature[..])
                .bind(new.filtered)
                .bind(new.whisper_to)
                .bind(new.whisper_mods)
                .bind(new.posted_as.as_deref())
                .bind(new.for_moderators_of);
        }
        let stored: Vec<(Id, Id, i64)> = query.fetch_all(&mut *tx.conn).await?;
        ids.extend(
            stored
                .into_iter()
                .map(|(id, room_id, seqno)| ((room_id, seqno), id)),
        );
    }
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

fn insert_text(rows: usize) -> String {
    let mut text = String::from(
        "INSERT INTO messages (room_id, user_id, posted, seqno, seqno_data, seqno_creation, data, data_size, signature, \
         filtered, whisper_to, whisper_mods, posted_as, for_moderators_of) VALUES ",
    );
    for row in 0..rows {
        let at = |column: usize| row * COLUMNS + column;
        let _ = write!(
            text,
            "{}(${1}, COALESCE((SELECT user_id FROM joined_users WHERE id = ${2}), ${2}), ${3}, ${4}, ${4}, ${4}, ${5}, ${6}, \
             ${7}, ${8}, ${9}, ${10}, NULLIF(${11}, (SELECT session_id FROM users WHERE id = ${2})), ${12})",
            if row > 0 { ", " } else { "" },
            at(1),
            at(2),
            at(3),
            at(4),
            at(5),
            at(6),
            at(7),
            at(8),
            at(9),
            at(10),
            at(11),
            at(12),
        );
    }
    text.push_str(" RETURNING id, room_id, seqno");
    text
}

/// Which of the posts no rate limit stops; those before them in the list count.
async fn within_limits(tx: &mut Tx<'_>, posts: &[&NewPost]) -> StoreResult<Vec<usize>> {
    let asked: Vec<(usize, usize)> = posts
        .iter()
        .enumerate()
        .flat_map(|(place, new)| (0..new.windows.len()).map(move |window| (place, window)))
        .collect();
    let mut stored: HashMap<(usize, usize), i64> = HashMap::with_capacity(asked.len());
    for list in chunks(&asked, ROWS) {
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(count_text(list.len())));
        for (place, window) in list {
            let (new, window) = (posts[*place], new_window(posts[*place], *window));
            query = query
                .bind(new.user_id)
                .bind(new.room_id)
                .bind(window.0)
                .bind(window.1);
        }
        let counts: Vec<(i64, i64)> = query.fetch_all(&mut *tx.conn).await?;
        stored.extend(counts.into_iter().filter_map(|(row, count)| {
            let row = usize::try_from(row).ok()?;
            Some((*list.get(row)?, count))
        }));
    }
    let mut passed: Vec<usize> = Vec::with_capacity(posts.len());
    for (place, new) in posts.iter().enumerate() {
        let full = (0..new.windows.len()).any(|window| {
            let (since, limit) = new_window(new, window);
            let before = passed
                .iter()
                .map(|earlier| posts[*earlier])
                .filter(|earlier| {
                    (earlier.user_id, earlier.room_id) == (new.user_id, new.room_id) && earlier.now >= since
                })
                .count();
            let stored = stored.get(&(place, window)).copied().unwrap_or(0);
            stored.saturating_add(i64::try_from(before).unwrap_or(i64::MAX)) >= limit
        });
        if !full {
            passed.push(place);
        }
    }
    Ok(passed)
}

/// Whole seconds until every limit lets another post through: until the post that fills its window leaves it.
/// `before` are the posts stored together with this one.
async fn wait(tx: &mut Tx<'_>, new: &NewPost, before: &[&NewPost]) -> StoreResult<u64> {
    let mut longest = 0.0_f64;
    for window in 0..new.windows.len() {
        let (since, limit) = new_window(new, window);
        let mut times: Vec<f64> = before
            .iter()
            .filter(|earlier| (earlier.user_id, earlier.room_id) == (new.user_id, new.room_id))
            .map(|earlier| earlier.now)
            .filter(|posted| *posted >= since)
            .collect();
        let stored: Vec<(f64,)> = sqlx::query_as(
            "SELECT posted FROM messages WHERE user_id = $1 AND room_id = $2 AND posted >= $3 \
             ORDER BY posted DESC LIMIT $4",
        )
        .bind(new.user_id)
        .bind(new.room_id)
        .bind(since)
        .bind(limit)
        .fetch_all(&mut *tx.conn)
        .await?;
        times.extend(stored.into_iter().map(|(posted,)| posted));
        times.sort_by(|one, other| other.total_cmp(one));
        let filling = usize::try_from(limit)
            .ok()
            .and_then(|limit| limit.checked_sub(1))
            .and_then(|place| times.get(place));
        if let Some(filling) = filling {
            longest = longest.max(filling - since);
        }
    }
    // A post exactly as old as the window is long still counts.
    Ok(std::time::Duration::try_from_secs_f64(longest).map_or(1, |wait| wait.as_secs() + 1))
}

/// Since when posts count towards this limit, and how many it allows.
fn new_window(new: &NewPost, window: usize) -> (f64, i64) {
    let window = &new.windows[window];
    (new.now - window.seconds, i64::from(window.posts))
}

fn count_text(rows: usize) -> String {
    let mut text = String::new();
    for row in 0..rows {
        let _ = write!(
            text,
            "{}SELECT CAST({row} AS BIGINT) AS place, COUNT(*) AS recent FROM (SELECT 1 AS one FROM messages \
             WHERE user_id = ${} AND room_id = ${} AND posted >= ${} LIMIT ${}) AS recent{row}",
            if row > 0 { " UNION ALL " } else { "" },
            row * 4 + 1,
            row * 4 + 2,
            row * 4 + 3,
            row * 4 + 4,
        );
    }
    text
}

/// Files become part of a message once, while they wait for one, and only for who uploaded them.
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
