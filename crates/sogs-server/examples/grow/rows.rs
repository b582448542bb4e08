//! The rows of a community that is older and larger than the sample. A counter decides everything, so that two runs make
//! the same.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

type Done = Result<(), sqlx::Error>;

/// A file: number, room, expiry, name, path.
type FileRow<'a> = (i64, Option<i64>, Option<f64>, Option<&'a str>, &'a str);

/// Seconds since 1970 around which the community lives.
const NOW: f64 = 1_795_300_000.0;

/// Rooms that are added: token, name, description, and what they let everybody do (read, accessible, write, upload).
const ROOMS: [(&str, &str, Option<&str>, [bool; 4]); 5] = [
    (
        "unicode",
        "日本語の部屋 🏯",
        Some("Zeile 1\nZeile 2\t– «ß» 👩\u{200d}🚀"),
        [true; 4],
    ),
    ("hidden", "Hidden", None, [false, false, true, true]),
    ("members", "Members only", Some(""), [false, true, true, false]),
    ("readonly", "Read only", Some("news"), [true, true, false, false]),
    ("EMPTY-room_1", "Nobody was here", None, [true; 4]),
];
/// People that are added.
const PEOPLE: i64 = 400;

/// Copies a folder and what is below it.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &place)?;
        } else {
            std::fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}

/// Opens the database of a community as its own program does.
pub(crate) async fn open(folder: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(folder.join("sogs.db"))
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off)
        .foreign_keys(true)
        .connect()
        .await
}

/// Adds rows to the community of a folder, `messages` of them in its rooms.
pub(crate) async fn grow(folder: &Path, messages: i64) -> Done {
    let mut conn = open(folder).await?;
    sqlx::query("BEGIN").execute(&mut conn).await?;
    rooms(&mut conn).await?;
    people(&mut conn).await?;
    posts(&mut conn, messages).await?;
    changes(&mut conn).await?;
    reactions(&mut conn).await?;
    files(&mut conn, folder).await?;
    rights(&mut conn).await?;
    letters(&mut conn).await?;
    sqlx::query("COMMIT").execute(&mut conn).await?;
    // One file again, as after an orderly end.
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut conn)
        .await?;
    sqlx::query("PRAGMA journal_mode = DELETE")
        .execute(&mut conn)
        .await?;
    conn.close().await
}

/// Runs statements that take no values.
async fn run(conn: &mut SqliteConnection, statements: &[&'static str]) -> Done {
    for statement in statements {
        sqlx::query(*statement).execute(&mut *conn).await?;
    }
    Ok(())
}

async fn rooms(conn: &mut SqliteConnection) -> Done {
    for (token, name, description, [read, accessible, write, upload]) in ROOMS {
        sqlx::query(
            "INSERT INTO rooms (token, name, description, read, accessible, write, upload, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(token)
        .bind(name)
        .bind(description)
        .bind(read)
        .bind(accessible)
        .bind(write)
        .bind(upload)
        .bind(NOW - 1e7)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// People under blinded ids of both kinds and under account ids, some of them from before blinding.
async fn people(conn: &mut SqliteConnection) -> Done {
    for n in 0..PEOPLE {
        let prefix = match n % 20 {
            0 => "05",
            1 => "25",
            _ => "15",
        };
        sqlx::query("INSERT INTO users (session_id, created, last_active) VALUES (?, ?, ?)")
            .bind(format!("{prefix}{:064x}", 0x9e37_79b9_i128 * i128::from(n + 7)))
            .bind(NOW - 1e7 + f64_of(n))
            .bind(NOW - f64_of(n) * 3600.0)
            .execute(&mut *conn)
            .await?;
    }
    run(
        conn,
        &[
            // Hidden and visible moderators of everything, and banned people.
            "UPDATE users SET moderator = TRUE, admin = TRUE, visible_mod = FALSE WHERE id = (SELECT MAX(id) FROM users)",
            "UPDATE users SET moderator = TRUE, visible_mod = TRUE WHERE id = (SELECT MAX(id) - 1 FROM users)",
            "UPDATE users SET banned = TRUE WHERE id IN (SELECT id FROM users ORDER BY id DESC LIMIT 12 OFFSET 6)",
            // Seen once and never again; and one whose times are nonsense.
            "UPDATE users SET last_active = 0, created = 0 WHERE id = (SELECT MAX(id) - 3 FROM users)",
        ],
    )
    .await
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn f64_of(n: i64) -> f64 {
    n as f64
}

async fn list(conn: &mut SqliteConnection, sql: &'static str) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(sql).fetch_all(&mut *conn).await
}

async fn posts(conn: &mut SqliteConnection, messages: i64) -> Done {
    let rooms = list(
        conn,
        "SELECT id FROM rooms WHERE token <> 'EMPTY-room_1' ORDER BY id",
    )
    .await?;
    let people = list(conn, "SELECT id FROM users WHERE NOT banned ORDER BY id").await?;
    let pick = |all: &[i64], n: i64| {
        all[usize::try_from(n.rem_euclid(i64::try_from(all.len()).unwrap_or(1))).unwrap_or(0)]
    };
    for n in 0..messages {
        let text = format!(
            "message {n} – żółw 🐢 {}",
            "x".repeat(usize::try_from(n % 700).unwrap_or(0))
        );
        let data = match n % 97 {
            // Nothing but padding, and bytes that are not text.
            0 => Vec::new(),
            1 => vec![0xff, 0x00, 0x80, 0xfe],
            _ => text.into_bytes(),
        };
        let padded = i64::try_from((data.len() + 1).div_ceil(160) * 160).unwrap_or(0);
        let signature: Vec<u8> = (0..64)
            .map(|at| u8::try_from((n + at) % 251).unwrap_or(0))
            .collect();
        let whisper = (n % 41 == 0).then(|| pick(&people, n * 5 + 2));
        sqlx::query(
            "INSERT INTO messages (room, \"user\", posted, data, data_size, signature, filtered, whisper, whisper_mods) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(pick(&rooms, n * 3 + n / 11))
        .bind(pick(&people, n * 7))
        .bind(NOW - f64_of(messages - n))
        .bind(data)
        // Rows from before padding was dropped have no size of their own.
        .bind((n % 53 != 0).then_some(padded))
        .bind(signature)
        .bind(n % 37 == 0)
        .bind(whisper)
        .bind(n % 43 == 0)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Edits, deletions and pins, by the statements that the program itself uses.
async fn changes(conn: &mut SqliteConnection) -> Done {
    run(
        conn,
        &[
            "UPDATE messages SET data = data || x'21', signature = zeroblob(64) WHERE id % 29 = 0 AND data IS NOT NULL",
            "UPDATE messages SET data = data || x'2121' WHERE id % 58 = 0 AND data IS NOT NULL",
            "DELETE FROM message_details WHERE id % 31 = 0",
            // Gone altogether, as an operator's clean-up leaves it.
            "DELETE FROM messages WHERE id % 101 = 0 AND id NOT IN (SELECT message FROM reactions) \
             AND id NOT IN (SELECT message FROM pinned_messages) AND id NOT IN (SELECT message FROM files WHERE message IS NOT NULL)",
            "INSERT INTO pinned_messages (room, message, pinned_by) SELECT room, id, \"user\" FROM messages \
             WHERE id % 83 = 0 AND data IS NOT NULL AND NOT filtered AND whisper IS NULL AND NOT whisper_mods ON CONFLICT DO NOTHING",
        ],
    )
    .await
}

async fn reactions(conn: &mut SqliteConnection) -> Done {
    run(
        conn,
        &[
            "INSERT INTO message_reactions (message, reaction, \"user\") SELECT m.id, '👩\u{200d}👩\u{200d}👧\u{200d}👦', u.id FROM messages m \
             JOIN users u ON u.id % 97 = m.id % 97 WHERE m.id % 13 = 0 AND m.data IS NOT NULL AND m.whisper IS NULL AND NOT m.whisper_mods",
            "INSERT INTO message_reactions (message, reaction, \"user\") SELECT m.id, 'twelve chars', u.id FROM messages m \
             JOIN users u ON u.id % 50 = m.id % 50 WHERE m.id % 17 = 0 AND m.data IS NOT NULL AND m.whisper IS NULL AND NOT m.whisper_mods",
            // Taken back, all of one and one of many.
            "DELETE FROM user_reactions WHERE reaction IN (SELECT id FROM reactions WHERE message % 221 = 0)",
            "DELETE FROM user_reactions WHERE \"user\" % 11 = 0",
        ],
    )
    .await
}

/// Files that are there, gone, expired, without a room, of the same content, and with names and paths of every kind.
async fn files(conn: &mut SqliteConnection, folder: &Path) -> Done {
    let uploads = folder.join("uploads/test");
    let io = |error: std::io::Error| sqlx::Error::Io(error);
    std::fs::create_dir_all(&uploads).map_err(io)?;
    std::fs::write(uploads.join("900_päper.pdf"), b"%PDF-1.4 nothing").map_err(io)?;
    std::fs::write(uploads.join("901_(unnamed)"), b"").map_err(io)?;
    std::fs::write(uploads.join("902_again"), b"%PDF-1.4 nothing").map_err(io)?;
    std::fs::write(folder.join("outside.txt"), b"not an upload, but below the folder").map_err(io)?;
    let absolute = uploads.join("900_päper.pdf").display().to_string();
    let secret = folder.parent().unwrap_or(folder).join("secret.txt");
    std::fs::write(&secret, b"none of the community's business").map_err(io)?;
    let long = "n".repeat(300);
    let rows: [FileRow<'_>; 9] = [
        (
            900,
            Some(1),
            None,
            Some("päper.pdf"),
            "uploads/test/900_päper.pdf",
        ),
        (901, Some(1), Some(NOW + 1e6), None, "uploads/test/901_(unnamed)"),
        (
            902,
            Some(1),
            Some(NOW + 1e9),
            Some(&long),
            "uploads/test/902_again",
        ),
        (
            903,
            Some(1),
            Some(0.0),
            Some("expired"),
            "uploads/test/900_päper.pdf",
        ),
        (
            904,
            None,
            Some(NOW + 1e9),
            Some("roomless"),
            "uploads/test/902_again",
        ),
        (905, Some(2), Some(NOW + 1e9), Some("absolute"), &absolute),
        (
            906,
            Some(2),
            Some(NOW + 1e9),
            Some("gone"),
            "uploads/test/906_gone",
        ),
        (
            907,
            Some(2),
            Some(NOW + 1e9),
            Some("../../etc/passwd"),
            "uploads/../../secret.txt",
        ),
        (908, Some(2), Some(NOW + 1e9), Some("a folder"), "uploads/test"),
    ];
    for (id, room, expiry, filename, path) in rows {
        sqlx::query(
            "INSERT INTO files (id, room, uploader, message, size, uploaded, expiry, filename, path) \
             VALUES (?, ?, (SELECT MIN(id) FROM users WHERE session_id LIKE '15%'), NULL, 16, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(room)
        .bind(NOW - 1e5)
        .bind(expiry)
        .bind(filename)
        .bind(path)
        .execute(&mut *conn)
        .await?;
    }
    run(
        conn,
        &["UPDATE files SET message = (SELECT MAX(id) FROM messages WHERE room = 1 AND data IS NOT NULL) WHERE id = 902"],
    )
    .await
}

/// Permissions of every combination, and schedules that are due, not yet due, and for the whole server.
async fn rights(conn: &mut SqliteConnection) -> Done {
    run(
        conn,
        &[
            "INSERT INTO user_permission_overrides (room, \"user\", read, accessible, write, upload) \
             SELECT r.id, u.id, CASE u.id % 3 WHEN 0 THEN NULL WHEN 1 THEN TRUE ELSE FALSE END, CASE u.id / 3 % 3 WHEN 0 THEN NULL WHEN 1 THEN TRUE \
             ELSE FALSE END, CASE u.id / 9 % 3 WHEN 0 THEN NULL WHEN 1 THEN TRUE ELSE FALSE END, CASE u.id / 27 % 3 WHEN 0 THEN NULL WHEN 1 THEN TRUE \
             ELSE FALSE END FROM rooms r, users u WHERE u.id % 5 = r.id % 5 ON CONFLICT DO NOTHING",
            "INSERT INTO user_permission_overrides (room, \"user\", banned) SELECT r.id, u.id, TRUE FROM rooms r, users u \
             WHERE u.id % 37 = r.id ON CONFLICT DO NOTHING",
            "INSERT INTO user_permission_overrides (room, \"user\", moderator, admin, visible_mod) SELECT r.id, u.id, TRUE, u.id % 2 = 0, u.id % 3 = 0 \
             FROM rooms r, users u WHERE u.id % 61 = r.id AND NOT u.banned ON CONFLICT DO NOTHING",
            "INSERT INTO user_permission_futures (room, \"user\", at, read, write, upload) SELECT 1, id, 1.0 * id, NULL, FALSE, NULL FROM users \
             WHERE id % 71 = 0",
            "INSERT INTO user_permission_futures (room, \"user\", at, read, write, upload) SELECT 1, id, 4e9 + id, TRUE, NULL, FALSE FROM users \
             WHERE id % 73 = 0",
            "INSERT INTO user_ban_futures (room, \"user\", at, banned) SELECT NULL, id, 4e9, FALSE FROM users WHERE banned",
            "INSERT INTO user_ban_futures (room, \"user\", at, banned) SELECT 2, id, 4e9, TRUE FROM users WHERE id % 79 = 0",
            "INSERT INTO room_users (room, \"user\", last_active) SELECT r.id, u.id, u.last_active FROM rooms r, users u \
             WHERE u.id % 3 = r.id % 3 AND NOT u.banned ON CONFLICT DO NOTHING",
            "INSERT INTO needs_blinding (blinded_abs, \"user\") SELECT '15' || substr(session_id, 3), id FROM users \
             WHERE session_id LIKE '05%' ON CONFLICT DO NOTHING",
        ],
    )
    .await
}

/// Direct messages, some with times that are missing; nonces, one of a wrong length.
async fn letters(conn: &mut SqliteConnection) -> Done {
    run(
        conn,
        &[
            "INSERT INTO inbox (recipient, sender, body, posted_at, expiry) SELECT id, id - 1, randomblob(80), 1795299000.0 + id, 4e9 FROM users \
             WHERE id % 40 = 0 AND id - 1 IN (SELECT id FROM users)",
            "INSERT INTO inbox (recipient, sender, body, posted_at, expiry) SELECT id, id, randomblob(80), NULL, 1896000000.0 FROM users WHERE id = 33",
            "INSERT INTO inbox (recipient, sender, body, posted_at, expiry) SELECT id, id, randomblob(80), 1795299000.0, NULL FROM users WHERE id = 33",
            "INSERT INTO user_request_nonces (\"user\", nonce, expiry) SELECT id, randomblob(16), 1795300000.0 + id FROM users",
            "INSERT INTO user_request_nonces (\"user\", nonce, expiry) SELECT id, randomblob(8), 1795300000.0 FROM users WHERE id = 33",
        ],
    )
    .await
}
