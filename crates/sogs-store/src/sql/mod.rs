//! The one SQL text. This folder is compiled once per back end; `super` names the driver's types.

mod accounts;
mod cases;
mod decide;
mod erase;
mod files;
mod inbox;
mod jobs;
mod listing;
mod merge;
mod messages;
mod moderation;
mod names;
mod notices;
mod operation;
mod pages;
mod people;
mod posts;
mod reactions;
mod rooms;
mod rules;
mod undo;
mod users;
mod waiting;

use std::fs::File;
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use sqlx::Pool;

use super::{BOUND_SEARCH, CONTAINS, Conn, Db, FIND_WORDS, Tx, search_expression};
pub(super) use operation::add_logs;
pub(super) use posts::insert_all;

use crate::writer::Writer;
use crate::{Change, Id, NonceMarks, NonceRow, Passed, StoreResult};

/// A store on one kind of database.
pub struct SqlStore {
    pub(super) readers: Pool<Db>,
    writer: Writer<Conn>,
    /// Connections of the nonce gate, if several processes share the database.
    gate: Option<super::Gate>,
    /// Held until the store is closed, so that no second process writes.
    lock: Mutex<Option<File>>,
}

impl SqlStore {
    pub(super) fn assemble(
        readers: Pool<Db>,
        writer: Writer<Conn>,
        gate: Option<super::Gate>,
        lock: Option<File>,
    ) -> Self {
        Self {
            readers,
            writer,
            gate,
            lock: Mutex::new(lock),
        }
    }

    /// Runs `run` in the next transaction; see [`Writer::write`].
    pub(crate) async fn write<A, T, F>(&self, args: A, run: F) -> StoreResult<T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'c> Fn(Tx<'c>, &'c A) -> BoxFuture<'c, StoreResult<T>> + Send + Sync + 'static,
    {
        self.writer.write(args, run).await
    }

    pub(crate) async fn keep_nonces(&self, nonces: Vec<NonceRow>, now: f64) -> StoreResult<()> {
        self.write((nonces, now), |tx, (nonces, now)| {
            Box::pin(async move {
                super::insert_nonces(tx.conn, nonces).await?;
                sqlx::query("UPDATE community SET value = $1 WHERE name = 'running_at'")
                    .bind(now.to_string())
                    .execute(&mut *tx.conn)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn nonce_marks(&self) -> StoreResult<NonceMarks> {
        let mut conn = self.readers.acquire().await?;
        let clock = fact(&mut conn, "nonce_clock").await?;
        let oldest = fact(&mut conn, "nonces_from").await?;
        Ok(NonceMarks {
            clock: clock.and_then(|text| text.parse().ok()),
            oldest: oldest.and_then(|text| text.parse().ok()),
        })
    }

    pub(crate) async fn begin_run(&self, now: f64) -> StoreResult<Option<f64>> {
        self.write(now, |tx, now| {
            Box::pin(async move {
                let former = fact(tx.conn, "running_at").await?;
                set_fact(tx.conn, "running_at", &now.to_string()).await?;
                Ok(former.and_then(|text| text.parse().ok()))
            })
        })
        .await
    }

    pub(crate) async fn end_run(&self) -> StoreResult<()> {
        self.write((), |tx, ()| {
            Box::pin(async move {
                sqlx::query("DELETE FROM community WHERE name = 'running_at'")
                    .execute(&mut *tx.conn)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn nonce_used(&self, nonce: [u8; 16]) -> StoreResult<bool> {
        let row: Option<i64> = sqlx::query_scalar("SELECT stamp FROM nonces WHERE nonce = $1")
            .bind(&nonce[..])
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.is_some())
    }

    pub(crate) async fn last_nonce_stamp(&self) -> StoreResult<Option<i64>> {
        Ok(
            sqlx::query_scalar("SELECT stamp FROM nonces ORDER BY stamp DESC LIMIT 1")
                .fetch_optional(&self.readers)
                .await?,
        )
    }

    pub(crate) async fn pass(&self, nonces: Vec<NonceRow>) -> StoreResult<Passed> {
        match &self.gate {
            Some(gate) => super::pass(gate, &nonces).await,
            None => Ok(Passed {
                fresh: nonces.into_iter().map(|row| row.nonce).collect(),
                changes: 0,
            }),
        }
    }

    pub(crate) async fn ping(&self) -> StoreResult<()> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    pub(crate) async fn close(&self) -> StoreResult<()> {
        self.readers.close().await;
        self.writer.close().await;
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    }
}

/// A fact about the community as a whole.
async fn fact(conn: &mut Conn, name: &'static str) -> StoreResult<Option<String>> {
    Ok(sqlx::query_scalar("SELECT value FROM community WHERE name = $1")
        .bind(name)
        .fetch_optional(conn)
        .await?)
}

async fn set_fact(conn: &mut Conn, name: &'static str, value: &str) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO community (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name)
    .bind(value)
    .execute(conn)
    .await?;
    Ok(())
}

/// Cuts a list into pieces whose lengths are powers of two, so that few texts need preparing.
pub(super) fn chunks<T>(list: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let length = (1_usize << rest.len().checked_ilog2()?).min(most);
        let (now, later) = rest.split_at(length);
        rest = later;
        Some(now)
    })
}

/// Lengths of `IN` lists: a list is filled up to the next, so that few texts need preparing.
const LISTS: [usize; 4] = [1, 8, 64, 256];

/// Splits ids into lists of such lengths, each with its `$from, …` placeholders.
fn id_lists(ids: &[Id], from: usize) -> Vec<(Vec<Id>, String)> {
    ids.chunks(LISTS[LISTS.len() - 1])
        .map(|chunk| {
            let length = LISTS
                .into_iter()
                .find(|n| *n >= chunk.len())
                .unwrap_or(chunk.len());
            let mut list = chunk.to_vec();
            list.resize(length, chunk[0]);
            let marks: Vec<String> = (from..from + length).map(|n| format!("${n}")).collect();
            (list, marks.join(", "))
        })
        .collect()
}

/// Takes `count` sequence numbers of a room; returns the last, or `None` when the room no longer exists.
async fn take_seqnos(tx: &mut Tx<'_>, room_id: Id, count: i64) -> StoreResult<Option<i64>> {
    let last: Option<i64> = sqlx::query_scalar(
        "UPDATE rooms SET message_sequence = message_sequence + $2 WHERE id = $1 RETURNING message_sequence",
    )
    .bind(room_id)
    .bind(count)
    .fetch_optional(&mut *tx.conn)
    .await?;
    if let Some(seqno) = last {
        tx.changes.push(Change::Messages { room_id, seqno });
    }
    Ok(last)
}

/// Counts `count` changes of a room's description; returns the new `info_updates`.
async fn bump_info(tx: &mut Tx<'_>, room_id: Id, count: i64) -> StoreResult<i64> {
    tx.changes.push(Change::Room(room_id));
    let now: Option<i64> = sqlx::query_scalar(
        "UPDATE rooms SET info_updates = info_updates + $2 WHERE id = $1 RETURNING info_updates",
    )
    .bind(room_id)
    .bind(count)
    .fetch_optional(&mut *tx.conn)
    .await?;
    Ok(now.unwrap_or(0))
}

/// Counts a change in the description of every room.
async fn bump_all_info(tx: &mut Tx<'_>, count: i64) -> StoreResult<()> {
    sqlx::query("UPDATE rooms SET info_updates = info_updates + $1")
        .bind(count)
        .execute(&mut *tx.conn)
        .await?;
    tx.changes.push(Change::Everything);
    Ok(())
}

/// The same transaction for an operation that takes it by value.
fn lend<'s>(tx: &'s mut Tx<'_>) -> Tx<'s> {
    Tx {
        conn: &mut *tx.conn,
        changes: &mut *tx.changes,
    }
}
