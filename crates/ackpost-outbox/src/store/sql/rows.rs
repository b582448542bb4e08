//! Rows that several steps read or write.

use super::{LOCK, Tx};

/// Returns the owner of a lane; on PostgreSQL its row is locked until the end of the transaction.
pub(super) async fn lock(tx: &mut Tx, lane: &[u8]) -> Result<Option<String>, sqlx::Error> {
    let owner: Option<Option<String>> = sqlx::query_scalar(LOCK)
        .bind(lane)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(owner.flatten())
}

pub(super) async fn set_window(
    tx: &mut Tx,
    lane: &[u8],
    key: &[u8],
    until: i64,
    entry: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO outbox_window (lane, fold_key, until_at, entry) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (lane, fold_key) DO UPDATE SET until_at = excluded.until_at, entry = excluded.entry",
    )
    .bind(lane)
    .bind(key)
    .bind(until)
    .bind(entry)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn event(tx: &mut Tx, now: i64, entry: &str, kind: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO outbox_event (at, entry, kind) VALUES ($1, $2, $3)")
        .bind(now)
        .bind(entry)
        .bind(kind)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
