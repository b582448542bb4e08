//! Mapping of the messages of one side to those of the other.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::entry::{end, prepare};
use super::{State, Store, StoreError, Tx};

/// One part of a message that crossed, on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The id that the XMPP room gave; empty while it is not known.
    pub(crate) xmpp: String,
    /// The id that its author gave, in XMPP.
    pub(crate) origin: String,
    /// The nick of its author in the XMPP room.
    pub(crate) nick: String,
    /// Its number in the community.
    pub(crate) session: i64,
    /// Time by which it is quoted in the community, milliseconds since 1970.
    pub(crate) quote_at: i64,
    /// Its author in the community.
    pub(crate) quote_author: String,
    /// Its first line.
    pub(crate) excerpt: String,
    /// It was written in the XMPP room.
    pub(crate) from_xmpp: bool,
    /// Number of the part, from 0.
    pub(crate) part: i64,
    /// Time when it was said, milliseconds since 1970.
    pub(crate) made: i64,
}

/// Number of the first part of a note about an edit. A note belongs to the message that was edited.
pub(crate) const NOTE: i64 = 1_000;

impl Peer {
    /// Returns true if it is a note about an edit, and not a part of the message.
    pub(crate) fn is_note(&self) -> bool {
        self.part >= NOTE
    }
}

/// Key by which a named message is looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Taken<'a> {
    /// By the id of the XMPP room.
    Xmpp(&'a str),
    /// By its number in the community.
    Session(i64),
    /// By time and author in the community.
    Quote(u64, &'a str),
    /// By the id that we gave it.
    Origin(&'a str),
}

const COLUMNS: &str = "xmpp, origin, nick, session, quote_at, quote_author, excerpt, from_xmpp, part, made";

pub(super) fn peer(row: &AnyRow) -> Result<Peer, StoreError> {
    Ok(Peer {
        xmpp: row.try_get("xmpp")?,
        origin: row.try_get("origin")?,
        nick: row.try_get("nick")?,
        session: row.try_get("session")?,
        quote_at: row.try_get("quote_at")?,
        quote_author: row.try_get("quote_author")?,
        excerpt: row.try_get("excerpt")?,
        from_xmpp: row.try_get::<i64, _>("from_xmpp")? != 0,
        part: row.try_get("part")?,
        made: row.try_get("made")?,
    })
}

impl Store {
    /// The parts of a message that crossed.
    pub(crate) async fn peers(&self, bridge: &str, message: Taken<'_>) -> Result<Vec<Peer>, StoreError> {
        let select = |condition: &str| {
            sqlx::AssertSqlSafe(format!(
                "SELECT {COLUMNS} FROM bridge_map WHERE bridge = $1 AND {condition} ORDER BY part, id LIMIT 64"
            ))
        };
        let rows = match message {
            Taken::Xmpp("") | Taken::Origin("") => return Ok(Vec::new()),
            Taken::Xmpp(id) => {
                sqlx::query(select("xmpp = $2"))
                    .bind(bridge.to_owned())
                    .bind(id.to_owned())
                    .fetch_all(&self.pool)
                    .await?
            }
            Taken::Origin(id) => {
                sqlx::query(select("origin = $2"))
                    .bind(bridge.to_owned())
                    .bind(id.to_owned())
                    .fetch_all(&self.pool)
                    .await?
            }
            Taken::Session(id) => {
                sqlx::query(select("session = $2"))
                    .bind(bridge.to_owned())
                    .bind(id)
                    .fetch_all(&self.pool)
                    .await?
            }
            Taken::Quote(at, author) => {
                sqlx::query(select(
                    "quote_author = $3 AND (quote_at = $2 OR session IN \
                     (SELECT session FROM bridge_earlier_quote WHERE bridge = $1 AND quote_at = $2))",
                ))
                .bind(bridge.to_owned())
                .bind(i64::try_from(at).unwrap_or(i64::MAX))
                .bind(author.to_owned())
                .fetch_all(&self.pool)
                .await?
            }
        };
        rows.iter().map(peer).collect()
    }

    /// Stores parts that are about to be sent, together with their prepared form. Returns false, and stores nothing, if the message
    /// was retracted in the meantime.
    pub(crate) async fn prepare_with(
        &self,
        bridge: &str,
        id: i64,
        prepared: &str,
        peers: &[Peer],
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        if !prepare(&mut tx, id, prepared).await? {
            return Ok(false);
        }
        for peer in peers {
            insert(&mut tx, bridge, peer).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Stores that a part arrived; with `done`, the entry is finished.
    pub(crate) async fn arrived(
        &self,
        bridge: &str,
        id: i64,
        prepared: &str,
        peer: &Peer,
        done: bool,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        insert(&mut tx, bridge, peer).await?;
        if done {
            end(&mut tx, id, State::Done, "").await?;
        } else {
            sqlx::query("UPDATE bridge_entry SET prepared = $2 WHERE id = $1")
                .bind(id)
                .bind(prepared.to_owned())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Stores the id that the room gave to a message of ours. Returns true if we sent such a message and its id was not known,
    /// or is this one: nobody else's message can take the place of ours later.
    pub(crate) async fn shown(&self, bridge: &str, origin: &str, xmpp: &str) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE bridge_map SET xmpp = $3 WHERE bridge = $1 AND origin = $2 AND from_xmpp = 0 AND xmpp IN ('', $3)",
        )
        .bind(bridge.to_owned())
        .bind(origin.to_owned())
        .bind(xmpp.to_owned())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// A message of the community is quoted by another time from now on, milliseconds since 1970. Apps that have not seen the
    /// edit still quote it by the earlier one, which is found too.
    pub(crate) async fn set_quote(&self, bridge: &str, session: i64, at: u64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for statement in [
            "INSERT INTO bridge_earlier_quote (bridge, quote_at, session, made) \
             SELECT bridge, quote_at, session, made FROM bridge_map \
             WHERE bridge = $1 AND session = $2 AND quote_at <> $3 ON CONFLICT DO NOTHING",
            "UPDATE bridge_map SET quote_at = $3 WHERE bridge = $1 AND session = $2",
        ] {
            sqlx::query(statement)
                .bind(bridge.to_owned())
                .bind(session)
                .bind(i64::try_from(at).unwrap_or(i64::MAX))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The ids under which people of the XMPP room ever spoke in the community.
    pub(crate) async fn people(&self, bridge: &str) -> Result<Vec<String>, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT id FROM bridge_person WHERE bridge = $1 LIMIT 100000")
                .bind(bridge.to_owned())
                .fetch_all(&self.pool)
                .await?,
        )
    }

    /// Stores ids under which a person of the XMPP room writes in the community.
    pub(crate) async fn add_people(&self, bridge: &str, ids: &[String]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for id in ids {
            sqlx::query(
                "INSERT INTO bridge_person (bridge, id) VALUES ($1, $2) ON CONFLICT (bridge, id) DO NOTHING",
            )
            .bind(bridge.to_owned())
            .bind(id.clone())
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

async fn insert(tx: &mut Tx, bridge: &str, peer: &Peer) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO bridge_map (bridge, xmpp, origin, nick, session, quote_at, quote_author, excerpt, from_xmpp, part, made) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(bridge.to_owned())
    .bind(peer.xmpp.clone())
    .bind(peer.origin.clone())
    .bind(peer.nick.clone())
    .bind(peer.session)
    .bind(peer.quote_at)
    .bind(peer.quote_author.clone())
    .bind(peer.excerpt.clone())
    .bind(i64::from(peer.from_xmpp))
    .bind(peer.part)
    .bind(peer.made)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
