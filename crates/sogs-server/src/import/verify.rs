//! Checking a community: the database itself, references, sequence numbers, files, and signatures.

use std::path::Path;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use session_core::SessionId;

use super::ImportError;
use super::bulk::{Conn, RowValues};
use super::tables::{FACTS, FILES, MESSAGES};
use crate::config::{Config, ConfigError};
use crate::contents::{ContentError, Contents};
use crate::key::load_key;

/// The most problems of one kind that are named.
const MAX_NAMED: usize = 20;

/// Files that are looked at together: most of the time goes by waiting for disk or store.
const AT_A_TIME: usize = 8;

/// What was looked at, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Messages that stand.
    pub messages: u64,
    /// Messages whose signature was checked.
    pub signatures_checked: u64,
    /// Of these, messages that apps would show; others were signed wrongly by whoever posted them.
    pub signatures_good: u64,
    /// File contents that were checked.
    pub files: u64,
    /// What is wrong.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

/// The padded bytes that a message's signature is over.
pub(crate) fn padded(data: &[u8], size: i64) -> Vec<u8> {
    let size = usize::try_from(size).unwrap_or(0);
    let mut bytes = data.to_vec();
    if size > bytes.len() {
        bytes.push(0x80);
        bytes.resize(size, 0);
    }
    bytes
}

/// Whether apps would show this row of [`MESSAGES`] as a message of `author`.
pub(super) fn signature_is_good(row: &RowValues, author: &str) -> bool {
    let value = |name| &row[MESSAGES.at(name)];
    let (Some(data), Some(signature)) = (value("data").blob(), value("signature").blob()) else {
        return false;
    };
    let Ok(signature) = <[u8; 64]>::try_from(signature) else {
        return false;
    };
    let Ok(author) = author.parse::<SessionId>() else {
        return false;
    };
    let size = value("data_size")
        .int()
        .unwrap_or_else(|| i64::try_from(data.len()).unwrap_or(0));
    session_core::message::verify(&author, &padded(data, size), &signature).is_ok()
}

/// Extent of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyOptions {
    /// 1 checks every signature, 10 each tenth.
    pub every: u64,
    /// Compares only the sizes of files, without reading them.
    pub sizes_only: bool,
}

/// Checks the community of a folder, with every byte of its files. `every` = 1 checks every signature, 10 each tenth.
///
/// # Errors
/// Those of configuration, database and storage. Damage is no error; it is in the report.
pub async fn verify(folder: &Path, every: u64) -> Result<VerifyReport, ImportError> {
    let sizes_only = false;
    verify_with(folder, VerifyOptions { every, sizes_only }).await
}

/// Like [`verify`], to a chosen extent.
///
/// # Errors
/// As [`verify`].
pub async fn verify_with(folder: &Path, options: VerifyOptions) -> Result<VerifyReport, ImportError> {
    let config = Config::load(folder)?;
    config.check_database()?;
    let mut conn = Conn::open(&config.database_url()).await?;
    conn.begin(false).await?;
    let mut report = VerifyReport::default();
    key(&config, &mut conn, &mut report).await?;
    integrity(&mut conn, &mut report).await?;
    sequences(&mut conn, &mut report).await?;
    signatures(&mut conn, options.every.max(1), &mut report).await?;
    let contents = Contents::of(&config)?;
    contents.reach().await?;
    files(&mut conn, &contents, options.sizes_only, &mut report).await?;
    conn.commit().await?;
    conn.close().await?;
    Ok(report)
}

/// Without its key a community is there, but nobody's link leads to it.
async fn key(config: &Config, conn: &mut Conn, report: &mut VerifyReport) -> Result<(), ImportError> {
    let noted = if conn.columns(FACTS.name).await?.is_empty() {
        // A database of an older version, which nobody has started since.
        None
    } else {
        conn.texts("SELECT value FROM community WHERE name = 'public_key'")
            .await?
            .pop()
    };
    let path = config.key_path();
    let problem = if path.exists() {
        match (load_key(&path), noted) {
            (Err(error), _) => Some(error),
            (Ok(secret), Some(expected)) if secret.public().to_string() != expected => {
                Some(ConfigError::KeyDiffers {
                    path,
                    found: secret.public().to_string(),
                    expected,
                })
            }
            _ => None,
        }
    } else {
        Some(ConfigError::KeyMissing {
            path,
            public_key: noted,
        })
    };
    report.problems.extend(problem.map(|problem| problem.to_string()));
    Ok(())
}

async fn integrity(conn: &mut Conn, report: &mut VerifyReport) -> Result<(), ImportError> {
    if conn.is_postgres() {
        return Ok(());
    }
    for line in conn.texts("PRAGMA integrity_check(20)").await? {
        if line != "ok" {
            report
                .problems
                .push(format!("the database file is damaged: {line}"));
        }
    }
    for table in conn
        .texts("SELECT DISTINCT \"table\" FROM pragma_foreign_key_check")
        .await?
    {
        report
            .problems
            .push(format!("{table} refers to rows that are not there"));
    }
    Ok(())
}

/// Sequence numbers: none given twice, none beyond the room's counter.
async fn sequences(conn: &mut Conn, report: &mut VerifyReport) -> Result<(), ImportError> {
    for token in conn
        .texts(
            "SELECT r.token FROM rooms r WHERE r.message_sequence < (SELECT COALESCE(MAX(m.seqno), 0) FROM messages m WHERE m.room_id = r.id) \
             ORDER BY 1 LIMIT 20",
        )
        .await?
    {
        report.problems.push(format!("room {token}: a message has a number beyond the room's counter"));
    }
    for token in conn
        .texts(
            "SELECT r.token FROM rooms r WHERE EXISTS (SELECT 1 FROM messages m WHERE m.room_id = r.id \
             GROUP BY m.seqno HAVING COUNT(*) > 1) ORDER BY 1 LIMIT 20",
        )
        .await?
    {
        report
            .problems
            .push(format!("room {token}: two messages have the same number"));
    }
    let wrong = conn
        .number("SELECT COUNT(*) FROM messages WHERE seqno < seqno_data OR seqno < seqno_reactions")
        .await?;
    if wrong > 0 {
        report.problems.push(format!(
            "{wrong} messages have a number below that of their last change"
        ));
    }
    Ok(())
}

async fn signatures(conn: &mut Conn, every: u64, report: &mut VerifyReport) -> Result<(), ImportError> {
    let people = super::foreign::people_by_id(conn, &super::tables::USERS).await?;
    let mut seen = 0;
    let (mut checked, mut good) = (0, 0);
    let user = MESSAGES.at("user_id");
    let mut chunks = conn
        .chunks(&MESSAGES, "WHERE data IS NOT NULL ORDER BY id")
        .await?;
    while let Some(rows) = chunks.try_next().await? {
        for row in &rows {
            seen += 1;
            if seen % every != 0 {
                continue;
            }
            checked += 1;
            let author = row[MESSAGES.at("posted_as")]
                .text()
                .or_else(|| row[user].int().and_then(|id| people.get(&id)).map(String::as_str));
            if author.is_some_and(|author| signature_is_good(row, author)) {
                good += 1;
            }
        }
    }
    (report.messages, report.signatures_checked, report.signatures_good) = (seen, checked, good);
    Ok(())
}

/// Compares every file with its row and, unless `sizes_only`, with the hash in its name.
async fn files(
    conn: &mut Conn,
    contents: &Contents,
    sizes_only: bool,
    report: &mut VerifyReport,
) -> Result<(), ImportError> {
    let rows = conn
        .texts(format!(
            "SELECT content || ' ' || CAST(MIN(size) AS TEXT) || ' ' || CAST(MAX(size) AS TEXT) FROM {} \
             GROUP BY content ORDER BY content",
            FILES.name
        ))
        .await?;
    let looked = futures_util::stream::iter(rows.into_iter().map(|row| async move {
        let mut parts = row.rsplitn(3, ' ');
        let (max, min) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let name = parts.next().unwrap_or_default();
        let problem = match contents.look_at(name, !sizes_only).await {
            Ok(found) if found.hash == Some(false) => Some(format!("the file {name} is damaged")),
            Ok(found) => {
                let size = found.size.to_string();
                (size != min || size != max)
                    .then(|| format!("the file {name} has {size} bytes, its row says {max}"))
            }
            Err(ContentError::Missing) => Some(format!("the file {name} is missing")),
            Err(error) => return Err(ImportError::from(error)),
        };
        Ok(problem)
    }));
    let mut looked = std::pin::pin!(looked.buffered(AT_A_TIME));
    let mut named = 0;
    while let Some(problem) = looked.try_next().await? {
        report.files += 1;
        if let Some(problem) = problem {
            named += 1;
            if named <= MAX_NAMED {
                report.problems.push(problem);
            }
        }
    }
    if named > MAX_NAMED {
        report
            .problems
            .push(format!("and {} files more", named - MAX_NAMED));
    }
    Ok(())
}
