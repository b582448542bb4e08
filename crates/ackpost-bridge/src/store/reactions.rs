//! Reactions of people to messages that crossed.

use std::collections::BTreeSet;

use super::{Store, StoreError, Tx};

/// All reactions of a person to a message.
#[derive(Clone, Debug)]
pub(crate) struct Reacted {
    /// The side of the person, as the table of reactions names it.
    pub(crate) side: &'static str,
    pub(crate) target: String,
    pub(crate) person: String,
    pub(crate) emoji: Vec<String>,
}

impl Store {
    /// Stores a person's reactions.
    pub(crate) async fn react(&self, bridge: &str, reacted: &Reacted, made: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        set_reactions(&mut tx, bridge, reacted, made).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The emoji that people of a side react with to a message: all of them, or one `person`.
    pub(crate) async fn reactions(
        &self,
        bridge: &str,
        side: &str,
        target: &str,
        person: Option<&str>,
    ) -> Result<BTreeSet<String>, StoreError> {
        let only = if person.is_some() { "AND person = $4" } else { "" };
        let sql = format!(
            "SELECT emoji FROM bridge_reaction WHERE bridge = $1 AND side = $2 AND target = $3 {only} LIMIT 1000"
        );
        let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .bind(bridge.to_owned())
            .bind(side.to_owned())
            .bind(target.to_owned());
        if let Some(person) = person {
            query = query.bind(person.to_owned());
        }
        let all: Vec<String> = query.fetch_all(&self.pool).await?;
        Ok(all
            .iter()
            .flat_map(|emoji| emoji.split('\n'))
            .filter(|emoji| !emoji.is_empty())
            .map(ToOwned::to_owned)
            .collect())
    }
}

/// Returns true if a person reacted otherwise before.
pub(super) async fn is_change(tx: &mut Tx, bridge: &str, reacted: &Reacted) -> Result<bool, StoreError> {
    let before: Option<String> = sqlx::query_scalar(
        "SELECT emoji FROM bridge_reaction WHERE bridge = $1 AND side = $2 AND target = $3 AND person = $4",
    )
    .bind(bridge.to_owned())
    .bind(reacted.side)
    .bind(reacted.target.clone())
    .bind(reacted.person.clone())
    .fetch_optional(&mut **tx)
    .await?;
    Ok(before.unwrap_or_default() != reacted.emoji.join("\n"))
}

/// Stores a person's reactions.
pub(super) async fn set_reactions(
    tx: &mut Tx,
    bridge: &str,
    reacted: &Reacted,
    made: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO bridge_reaction (bridge, side, target, person, emoji, made) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (bridge, side, target, person) DO UPDATE SET emoji = excluded.emoji",
    )
    .bind(bridge.to_owned())
    .bind(reacted.side)
    .bind(reacted.target.clone())
    .bind(reacted.person.clone())
    .bind(reacted.emoji.join("\n"))
    .bind(made)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
