//! Time to find a person in the database, as it was (by the shown id) and as it is (by a key of the account).
//!
//!     cargo run --release --example lookups -- [PEOPLE] [postgres://…]
//!
//! A server asks the database only for people whom it has not in memory.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a measurement may end by panicking"
)]

use std::sync::Arc;
use std::time::Instant;

use session_protocol::blind::Blinder;
use session_protocol::{Identity, ServerKey};
use sogs_server::store::{DynStore, Person, StoreOptions, open};
use sqlx::Connection as _;

const ROUNDS: usize = 5;
const LOOKUPS: u32 = 5_000;

/// The statement of the version before accounts.
const BEFORE: &str = "SELECT id, session_id, created, last_active, banned, moderator, admin, visible_mod FROM users WHERE session_id = $1";
/// The statement of the current version.
const NOW: &str = "SELECT u.id, u.session_id, u.created, u.last_active, u.banned, u.moderator, u.admin, u.visible_mod, u.visited \
                   FROM account_ids a JOIN users u ON u.id = a.user_id WHERE a.key = $1";

/// The best time of a lookup by each of the statements, in seconds.
macro_rules! measure {
    ($conn:expr, $ids:expr) => {{
        let mut best = [f64::MAX; 2];
        for _ in 0..ROUNDS {
            for (sql, best) in [BEFORE, NOW].into_iter().zip(&mut best) {
                let began = Instant::now();
                for n in 0..LOOKUPS {
                    let id = &$ids[n as usize * 7919 % $ids.len()];
                    let found = sqlx::query(sql)
                        .bind(id.as_str())
                        .fetch_optional(&mut $conn)
                        .await
                        .unwrap();
                    assert!(found.is_some());
                }
                *best = best.min(began.elapsed().as_secs_f64() / f64::from(LOOKUPS));
            }
        }
        best
    }};
}

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let people: u32 = words.next().map_or(20_000, |word| word.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let url = words
        .next()
        .unwrap_or_else(|| format!("sqlite:{}", folder.path().join("lookups.db").display()));
    let options = StoreOptions {
        url: url.clone(),
        readers: 2,
        migrate: true,
    };
    let store: DynStore = open(&options, Arc::new(|_| {})).await.unwrap();
    let ids: Vec<String> = (0..people).map(|n| format!("15{n:062x}00")).collect();
    for part in ids.chunks(256) {
        let made = part
            .iter()
            .map(|id| store.ensure_user(Person::named(id.clone()), 1.0));
        futures_util::future::try_join_all(made).await.unwrap();
    }
    let best = if url.starts_with("postgres") {
        let mut conn = sqlx::PgConnection::connect(&url).await.unwrap();
        measure!(conn, ids)
    } else {
        let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
        measure!(conn, ids)
    };
    println!(
        "lookup before {:.1} us, now {:.1} us, ratio {:.2}",
        best[0] * 1e6,
        best[1] * 1e6,
        best[1] / best[0]
    );
    let began = Instant::now();
    for n in 0..500 {
        let new = Person::named(format!("15{n:064x}"));
        store.ensure_user(new, 1.0).await.unwrap();
    }
    println!(
        "a row for somebody new: {:.0} us, with its transaction",
        began.elapsed().as_secs_f64() / 500.0 * 1e6
    );
    let blinder = Blinder::new(&ServerKey::from_bytes([9; 32]));
    let began = Instant::now();
    for n in 0..200_u8 {
        let id = Identity::from_seed([n; 32]).session_id();
        assert_eq!(sogs_server::account::person(&blinder, &id, true).keys.len(), 2);
    }
    println!(
        "all ids of somebody new: {:.0} us, once",
        began.elapsed().as_secs_f64() / 200.0 * 1e6
    );
    store.close().await.unwrap();
}
