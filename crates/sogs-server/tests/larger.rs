//! A community that has lived longer than the sample: every row that its own program may leave behind is taken over, and
//! its members see what they saw before.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use session_protocol::Identity;
use sogs_server::import::{ImportOptions, ImportReport, Origin, import, verify};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use support::{request, start, vectors};

#[path = "../examples/grow/rows.rs"]
mod rows;

/// Messages that are added; a thousand pages of them are measured with the example `grow`.
const MESSAGES: i64 = 3000;

async fn grown(folder: &Path) -> std::path::PathBuf {
    let source = folder.join("source");
    rows::copy_folder(&vectors().join("pysogs-sample"), &source).expect("a copy");
    rows::grow(&source, MESSAGES).await.expect("grown");
    source
}

fn options(source: &Path, target: &Path, database: Option<&str>) -> ImportOptions {
    ImportOptions {
        origin: Origin::Pysogs,
        source: source.to_path_buf(),
        target: target.to_path_buf(),
        database: database.map(str::to_owned),
        dry_run: false,
        replace: false,
    }
}

fn counts(report: &ImportReport) -> BTreeMap<&str, (u64, u64)> {
    report
        .tables
        .iter()
        .map(|count| (count.table.as_str(), (count.source, count.copied)))
        .collect()
}

/// People of the sample whose seeds are known, by the id that the community shows.
fn members(key: &session_protocol::ServerKey) -> Vec<(String, Identity)> {
    let text = std::fs::read(vectors().join("pysogs-sample/answers.json")).expect("answers");
    let answers: Vec<Value> = serde_json::from_slice(&text).expect("answers");
    let seeds: std::collections::BTreeSet<&str> = answers
        .iter()
        .filter_map(|answer| answer["seed"].as_str())
        .collect();
    seeds
        .into_iter()
        .map(|seed| {
            let who = Identity::from_seed_hex(seed).expect("seed");
            (support::shown(key, &who), who)
        })
        .collect()
}

/// Returns the rights of a person in a room by the view of the old program: read (moderators always), moderator.
///
/// Without a person, these are the defaults of the room.
async fn rights(conn: &mut SqliteConnection, room: i64, user: Option<i64>) -> (bool, bool) {
    let row = match user {
        Some(user) => sqlx::query(
            "SELECT moderator OR (read AND NOT banned), moderator FROM user_permissions WHERE room = ? AND \"user\" = ?",
        )
        .bind(room)
        .bind(user),
        None => sqlx::query("SELECT read, FALSE FROM rooms WHERE id = ?").bind(room),
    };
    let row = row.fetch_one(conn).await.expect("rights");
    (row.get(0), row.get(1))
}

/// Messages that a person sees in a room: number, sequence number, author, whether edited, reactions in all.
type Seen = Vec<(i64, i64, String, bool, i64)>;

/// Messages as the old program's rows show them.
async fn expected(conn: &mut SqliteConnection, room: i64, user: Option<i64>, moderator: bool) -> Seen {
    let rows = sqlx::query(
        "SELECT m.id, m.seqno, m.session_id, m.edited IS NOT NULL, \
         (SELECT COUNT(*) FROM reactions r JOIN user_reactions u ON u.reaction = r.id WHERE r.message = m.id) \
         FROM message_details m WHERE m.room = ?1 AND m.data IS NOT NULL AND NOT m.filtered AND CASE WHEN ?3 THEN \
         m.whisper_mods OR m.whisper IS NULL OR m.whisper = ?2 OR m.\"user\" = ?2 ELSE m.whisper = ?2 OR (m.whisper IS NULL AND NOT m.whisper_mods) END \
         ORDER BY m.id DESC",
    )
    .bind(room)
    .bind(user.unwrap_or(-1))
    .bind(moderator)
    .fetch_all(conn)
    .await
    .expect("messages");
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)))
        .collect()
}

/// Messages as the new server returns them, page by page.
async fn seen(
    address: std::net::SocketAddr,
    key: &session_protocol::ServerKey,
    room: &str,
    who: Option<&Identity>,
) -> Result<Seen, u16> {
    let mut all = Seen::new();
    loop {
        let path = match all.last() {
            None => format!("/room/{room}/messages/recent?limit=256"),
            Some(last) => format!("/room/{room}/messages/before/{}?limit=256", last.0),
        };
        let got = request(address, key, http::Method::GET, &path, who, None).await;
        if got.status != 200 {
            return Err(got.status.as_u16());
        }
        let page = got.json();
        let page = page.as_array().expect("a list");
        if page.is_empty() {
            return Ok(all);
        }
        for message in page {
            let reactions = message["reactions"].as_object().map_or(0, |reactions| {
                reactions
                    .values()
                    .filter_map(|given| given["count"].as_i64())
                    .sum()
            });
            all.push((
                message["id"].as_i64().expect("id"),
                message["seqno"].as_i64().expect("seqno"),
                message["session_id"].as_str().expect("author").to_owned(),
                message.get("edited").is_some_and(|at| !at.is_null()),
                reactions,
            ));
        }
    }
}

/// A query of the old database in which the numbers of people mean the rows that they have now.
fn as_now(sql: &str) -> String {
    let mut sql = sql.to_owned();
    for column in ["\"user\"", "whisper", "pinned_by", "recipient", "sender"] {
        for name in [column.to_owned(), format!("u.{column}")] {
            let now =
                format!(", COALESCE((SELECT user_id FROM ours.joined_users j WHERE j.id = {name}), {name}),");
            let (list, rest) = sql.split_once(" FROM ").expect("a list");
            let list = format!("{list},").replace(&format!(", {name},"), &now);
            sql = format!("{} FROM {rest}", list.trim_end_matches(','));
        }
    }
    sql
}

/// Brings our database to the side of the old one; the sample has a person with two ids.
async fn attach(source: &mut SqliteConnection, target: &Path) {
    sqlx::query("ATTACH ? AS ours")
        .bind(target.join("community.db").display().to_string())
        .execute(&mut *source)
        .await
        .expect("attached");
    let joined: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM ours.joined_users")
        .fetch_one(&mut *source)
        .await
        .expect("a count");
    assert!((1..10).contains(&joined), "{joined}");
}

/// Every row of every message, as both databases hold it.
/// Queries of the reference's database and of ours that give the same rows.
const SAME: &[(&str, &str)] = &[
    (
        "SELECT m.id, u.session_id FROM messages m JOIN users u ON u.id = m.\"user\" ORDER BY m.id",
        "SELECT m.id, COALESCE(m.posted_as, u.session_id) FROM messages m JOIN users u ON u.id = m.user_id ORDER BY m.id",
    ),
    (
        "SELECT id, room, \"user\", posted, edited, seqno, seqno_data, seqno_reactions, seqno_creation, data, signature, filtered, whisper, whisper_mods FROM messages ORDER BY id",
        "SELECT id, room_id, user_id, posted, edited, seqno, seqno_data, seqno_reactions, seqno_creation, data, signature, filtered, whisper_to, whisper_mods FROM messages ORDER BY id",
    ),
    (
        "SELECT id, session_id, created, last_active, banned, moderator, admin, visible_mod FROM users WHERE session_id NOT LIKE 'ff%' \
         AND id NOT IN (SELECT id FROM ours.joined_users UNION SELECT user_id FROM ours.joined_users) ORDER BY id",
        "SELECT id, session_id, created, last_active, banned, moderator, admin, visible_mod FROM users WHERE session_id NOT LIKE 'ff%' \
         AND id NOT IN (SELECT id FROM joined_users UNION SELECT user_id FROM joined_users) ORDER BY id",
    ),
    (
        "SELECT room, \"user\", banned, read, accessible, write, upload, moderator, admin, visible_mod FROM user_permission_overrides ORDER BY room, \"user\"",
        "SELECT room_id, user_id, banned, can_read, can_access, can_write, can_upload, moderator, admin, visible_mod FROM permission_overrides ORDER BY room_id, user_id",
    ),
    (
        "SELECT id, token, name, description, created, message_sequence, info_updates, read, accessible, write, upload FROM rooms ORDER BY id",
        "SELECT id, token, name, description, created, message_sequence, info_updates, can_read, can_access, can_write, can_upload FROM rooms ORDER BY id",
    ),
    (
        "SELECT message, replaced, CAST(data AS BLOB), signature FROM message_history ORDER BY message, replaced, 3",
        "SELECT message_id, replaced, data, signature FROM message_history ORDER BY message_id, replaced, 3",
    ),
    (
        "SELECT r.message, r.reaction, u.\"user\", u.at FROM reactions r JOIN user_reactions u ON u.reaction = r.id ORDER BY r.id, u.\"user\"",
        "SELECT r.message_id, r.reaction, u.user_id, u.at FROM reactions r JOIN user_reactions u ON u.reaction_id = r.id ORDER BY r.id, u.user_id",
    ),
    (
        "SELECT room, message, pinned_by, pinned_at FROM pinned_messages ORDER BY room, message",
        "SELECT room_id, message_id, pinned_by, pinned_at FROM pinned_messages ORDER BY room_id, message_id",
    ),
    (
        "SELECT room, \"user\", at, read, write, upload FROM user_permission_futures ORDER BY room, \"user\", at",
        "SELECT room_id, user_id, at, can_read, can_write, can_upload FROM permission_futures ORDER BY room_id, user_id, at",
    ),
    (
        "SELECT room, \"user\", at, banned FROM user_ban_futures ORDER BY room, \"user\", at",
        "SELECT room_id, user_id, at, banned FROM ban_futures ORDER BY room_id, user_id, at",
    ),
    (
        "SELECT id, recipient, sender, body FROM inbox ORDER BY id",
        "SELECT id, recipient_id, sender_id, body FROM inbox ORDER BY id",
    ),
];

async fn same_rows(source: &mut SqliteConnection, target: &Path) {
    let mut ours = SqliteConnection::connect(&format!("sqlite:{}", target.join("community.db").display()))
        .await
        .expect("our database");
    // Rows of one person are one here: what they wrote is the person's, under the id that signed it.
    attach(source, target).await;
    for (theirs, mine) in SAME {
        let theirs = as_now(theirs);
        let (mut theirs, mut mine) = (dump(source, &theirs).await, dump(&mut ours, mine).await);
        theirs.sort();
        mine.sort();
        assert_eq!(theirs.len(), mine.len());
        for (number, (theirs, mine)) in theirs.iter().zip(&mine).enumerate() {
            assert_eq!(theirs, mine, "row {number}");
        }
    }
    ours.close().await.expect("closed");
    sqlx::query("DETACH ours")
        .execute(&mut *source)
        .await
        .expect("detached");
}

/// The rows of a query as text, each value with its type.
async fn dump(conn: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()))
        .fetch_all(conn)
        .await
        .expect(sql);
    rows.iter()
        .map(|row| {
            let mut text = String::new();
            for at in 0..row.len() {
                use std::fmt::Write as _;
                let bytes: Option<Vec<u8>> = row.get_unchecked(at);
                let _ = write!(
                    text,
                    "{:?}|",
                    bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                );
            }
            text
        })
        .collect()
}

/// Its messages were never signed; nothing else is wrong.
fn only_signatures_are_bad(checked: &verify::VerifyReport) {
    let bad: u64 = checked.bad_signatures.iter().map(|room| room.count).sum();
    assert_eq!(bad, checked.signatures_checked - checked.signatures_good);
    assert_eq!(
        checked.problems.len(),
        checked.bad_signatures.len(),
        "{:?}",
        checked.problems
    );
}

#[tokio::test]
async fn a_larger_community_is_taken_over_row_by_row_and_looks_the_same() {
    let folder = tempfile::tempdir().expect("folder");
    let source = grown(folder.path()).await;
    let target = folder.path().join("server");
    let report = import(&options(&source, &target, None)).await.expect("import");
    for (table, (there, copied)) in counts(&report) {
        let left = match table {
            // Three are not there, or not the community's.
            "files" => 3,
            "user_request_nonces" => 1,
            _ => 0,
        };
        assert_eq!(there - left, copied, "{table}");
    }
    assert_eq!(report.skipped, [("nonces of another length".to_owned(), 1)]);
    let notes = report.notes.join("\n");
    assert!(notes.contains("2 files are not on the disk"), "{notes}");
    assert!(notes.contains("1 files are outside the folder"), "{notes}");
    let checked = verify::verify(&target, 50).await.expect("verify");
    only_signatures_are_bad(&checked);

    let mut old = rows::open(&source).await.expect("the old database");
    same_rows(&mut old, &target).await;

    let running = start(&target).await;
    let (address, key) = (running.local_addr(), running.public_key());
    let tokens: Vec<(i64, String)> = sqlx::query_as("SELECT id, token FROM rooms ORDER BY id")
        .fetch_all(&mut old)
        .await
        .expect("rooms");
    let mut looked = 0;
    let mut viewers: Vec<(Option<i64>, Option<Identity>)> = vec![(None, None)];
    for (session_id, who) in members(&key) {
        let id: Option<i64> = sqlx::query_scalar("SELECT id FROM users WHERE session_id = ? AND NOT banned")
            .bind(session_id)
            .fetch_optional(&mut old)
            .await
            .expect("a user");
        if let Some(id) = id {
            viewers.push((Some(id), Some(who)));
        }
    }
    assert!(viewers.len() > 3, "there is somebody to look");
    for (user, who) in &viewers {
        for (room, token) in &tokens {
            let (read, moderator) = rights(&mut old, *room, *user).await;
            let got = seen(address, &key, token, who.as_ref()).await;
            if !read {
                assert!(got.is_err(), "{user:?} in {token}");
                continue;
            }
            let expected = expected(&mut old, *room, *user, moderator).await;
            assert_eq!(got.as_ref(), Ok(&expected), "{user:?} in {token}");
            looked += expected.len();
        }
    }
    assert!(looked > 5000, "{looked} messages were looked at");

    let get = async |path: &str| request(address, &key, http::Method::GET, path, None, None).await;
    let pdf = get("/room/test/file/900").await;
    assert_eq!(
        (pdf.status.as_u16(), &pdf.body[..]),
        (200, &b"%PDF-1.4 nothing"[..])
    );
    let empty = get("/room/test/file/901").await;
    assert_eq!((empty.status.as_u16(), empty.body.len()), (200, 0));
    assert_eq!(
        get("/room/news/file/905").await.status,
        200,
        "an absolute path below the folder"
    );
    for gone in [
        "/room/news/file/906",
        "/room/news/file/907",
        "/room/news/file/908",
    ] {
        assert_eq!(get(gone).await.status, 404, "{gone}");
    }
    let room = get("/room/unicode").await.json();
    assert_eq!(room["name"], "日本語の部屋 🏯");
    // Schedules that were due are applied by the first cleanup, and nothing else changes by it.
    running.shutdown().await;

    // Once more, into the same folder.
    let again = import(&options(&source, &target, None)).await.expect("again");
    assert_eq!(counts(&again), counts(&report));
    old.close().await.expect("closed");
}

#[tokio::test]
async fn rows_in_the_log_of_the_other_program_are_imported_too() {
    let folder = tempfile::tempdir().expect("folder");
    let source = folder.path().join("source");
    rows::copy_folder(&vectors().join("pysogs-sample"), &source).expect("a copy");
    let mut running = rows::open(&source).await.expect("the old program");
    sqlx::query("INSERT INTO messages (room, \"user\", data, data_size, signature) VALUES (1, 33, x'0a', 160, zeroblob(64))")
        .execute(&mut running)
        .await
        .expect("a post");
    let log = std::fs::read(source.join("sogs.db-wal")).expect("a log");
    assert!(!log.is_empty());
    let report = import(&options(&source, &folder.path().join("server"), None))
        .await
        .expect("import");
    assert_eq!(counts(&report)["messages"], (119, 119));
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("not stopped cleanly"))
    );
    assert_eq!(
        std::fs::read(source.join("sogs.db-wal")).expect("a log"),
        log,
        "the log is only read"
    );
    running.close().await.expect("closed");
}

/// Everybody's view of every room, for comparing two servers.
async fn views(folder: &Path) -> Vec<Result<Seen, u16>> {
    let running = start(folder).await;
    let (address, key) = (running.local_addr(), running.public_key());
    let mut all = Vec::new();
    for room in [
        "test", "news", "quiet", "unicode", "readonly", "members", "hidden",
    ] {
        all.push(seen(address, &key, room, None).await);
        for (_, who) in members(&key).iter().take(4) {
            all.push(seen(address, &key, room, Some(who)).await);
        }
    }
    running.shutdown().await;
    all
}

/// Copies the tables of the old program into a PostgreSQL database, as it would have made them there.
async fn into_postgres(source: &Path, url: &str) {
    let mut from = rows::open(source).await.expect("the old database");
    let mut to = sqlx::PgConnection::connect(url).await.expect("PostgreSQL");
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    )
    .fetch_all(&mut from)
    .await
    .expect("tables");
    for table in tables {
        let columns: Vec<(String, String)> = sqlx::query_as("SELECT name, type FROM pragma_table_info(?)")
            .bind(&table)
            .fetch_all(&mut from)
            .await
            .expect("columns");
        let kind = |name: &str, kind: &str| match (kind, name) {
            ("INTEGER", _) => "BIGINT",
            ("FLOAT", _) => "FLOAT",
            ("BOOLEAN", _) => "BOOLEAN",
            // SQLite's history is declared as text and holds bytes.
            ("BLOB", _) | (_, "data") => "BYTEA",
            _ => "TEXT",
        };
        let list: Vec<String> = columns
            .iter()
            .map(|(name, of)| format!("\"{name}\" {}", kind(name, of)))
            .collect();
        let text = format!("CREATE TABLE \"{table}\" ({})", list.join(", "));
        sqlx::query(sqlx::AssertSqlSafe(text))
            .execute(&mut to)
            .await
            .expect("a table");
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT * FROM \"{table}\"")))
            .fetch_all(&mut from)
            .await
            .expect("rows");
        let marks: Vec<String> = (1..=columns.len()).map(|n| format!("${n}")).collect();
        let text = format!("INSERT INTO \"{table}\" VALUES ({})", marks.join(", "));
        for row in rows {
            let mut query = sqlx::query(sqlx::AssertSqlSafe(text.clone()));
            for (at, (name, of)) in columns.iter().enumerate() {
                query = match kind(name, of) {
                    "BIGINT" => query.bind(row.get_unchecked::<Option<i64>, _>(at)),
                    "FLOAT" => query.bind(row.get_unchecked::<Option<f64>, _>(at)),
                    "BOOLEAN" => query.bind(row.get_unchecked::<Option<bool>, _>(at)),
                    "BYTEA" => query.bind(row.get_unchecked::<Option<Vec<u8>>, _>(at)),
                    _ => query.bind(row.get_unchecked::<Option<String>, _>(at)),
                };
            }
            query.execute(&mut to).await.expect("a row");
        }
    }
    from.close().await.expect("closed");
    to.close().await.expect("closed");
}

#[tokio::test]
async fn a_larger_community_moves_between_both_databases_in_every_direction() {
    let postgres = ackpost_testkit::Postgres::shared();
    let (theirs, ours) = (postgres.database(), postgres.database());
    let folder = tempfile::tempdir().expect("folder");
    let source = grown(folder.path()).await;
    let plain = folder.path().join("plain");
    let report = import(&options(&source, &plain, None)).await.expect("import");
    let expected = views(&plain).await;

    // Import into PostgreSQL.
    let target = folder.path().join("into");
    let into = import(&options(&source, &target, Some(ours.url())))
        .await
        .expect("import");
    assert_eq!(counts(&into), counts(&report));
    assert_eq!(views(&target).await, expected);

    // Out of the old program's PostgreSQL, named in its configuration as it names it.
    into_postgres(&source, theirs.url()).await;
    std::fs::remove_file(source.join("sogs.db")).expect("removed");
    let url = theirs.url().replacen("postgres://", "postgresql+psycopg2://", 1);
    std::fs::write(source.join("sogs.ini"), format!("[db]\nurl = {url}\n")).expect("written");
    let out = folder.path().join("out");
    let from = import(&options(&source, &out, None)).await.expect("import");
    assert_eq!(counts(&from), counts(&report));
    assert_eq!(views(&out).await, expected);
}
