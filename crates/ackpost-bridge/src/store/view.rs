//! Counts of a bridge, and the parts of a message on both sides, for people who ask.

use sqlx::Row as _;

use super::{Side, Store, StoreError, Taken};

/// Counts of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries that have yet to cross.
    pub waiting: u64,
    /// Entries that crossed, of the last seven days.
    pub carried: u64,
    /// Entries that could not cross, of the last seven days.
    pub refused: u64,
    /// Time when the oldest that waits was said, milliseconds since 1970.
    pub oldest: Option<i64>,
    /// The last error.
    pub error: Option<String>,
}

/// A message on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The id that the XMPP room gave; empty while it is not known.
    pub xmpp: String,
    /// Number in the community.
    pub session: i64,
    /// Number of the part, from 0.
    pub part: i64,
    /// It was written in the XMPP room.
    pub from_xmpp: bool,
    /// Its first line.
    pub excerpt: String,
}

impl Store {
    /// The counts towards the community (`to_session`) or towards the XMPP room.
    pub async fn counts(&self, bridge: &str, to_session: bool) -> Result<Counts, StoreError> {
        let side = if to_session { Side::Session } else { Side::Xmpp };
        let rows = sqlx::query(
            "SELECT state, COUNT(*) AS count, MIN(made) AS oldest FROM bridge_entry WHERE bridge = $1 AND side = $2 \
             GROUP BY state",
        )
        .bind(bridge.to_owned())
        .bind(side.word())
        .fetch_all(&self.pool)
        .await?;
        let mut counts = Counts::default();
        for row in rows {
            let count = u64::try_from(row.try_get::<i64, _>("count")?).unwrap_or_default();
            let oldest: i64 = row.try_get("oldest")?;
            match row.try_get::<String, _>("state")?.as_str() {
                "waiting" | "prepared" => {
                    counts.waiting += count;
                    counts.oldest = Some(counts.oldest.map_or(oldest, |other| other.min(oldest)));
                }
                "done" => counts.carried += count,
                "refused" => counts.refused += count,
                _ => {}
            }
        }
        counts.error = sqlx::query_scalar(
            "SELECT error FROM bridge_entry WHERE bridge = $1 AND side = $2 AND error <> '' ORDER BY id DESC LIMIT 1",
        )
        .bind(bridge.to_owned())
        .bind(side.word())
        .fetch_optional(&self.pool)
        .await?;
        Ok(counts)
    }

    /// The parts of a message on both sides, by its number in the community or by its id in the XMPP room.
    pub async fn mapped(&self, bridge: &str, id: &str) -> Result<Vec<Mapped>, StoreError> {
        let mut found = Vec::new();
        if let Ok(number) = id.trim_start_matches('#').parse::<i64>() {
            found = self.peers(bridge, Taken::Session(number)).await?;
        }
        if found.is_empty() {
            found = self.peers(bridge, Taken::Xmpp(id)).await?;
        }
        if found.is_empty() {
            found = self.peers(bridge, Taken::Origin(id)).await?;
        }
        Ok(found
            .into_iter()
            .map(|peer| Mapped {
                xmpp: peer.xmpp,
                session: peer.session,
                part: peer.part,
                from_xmpp: peer.from_xmpp,
                excerpt: peer.excerpt,
            })
            .collect())
    }
}
