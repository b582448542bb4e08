//! Our side of an import: a server's folder, made or found, and its database in one transaction.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use session_protocol::ServerSecret;

use super::bulk::{Conn, Value, wait_to_retry};
use super::copy::empty;
use super::ini::ForeignConfig;
use super::options::{ImportOptions, Origin};
use super::tables::{COMMUNITY, FACTS, FILTERS, RAIDS, SETTINGS};
use super::{ImportError, backup, file_error};
use crate::config::{CONFIG_FILE, Config, Storage};
use crate::contents::BlobStore;
use crate::store::{self, DynStore};
use sogs_store::Retries;

/// The word of the audit log for an import.
const ACTION: &str = "import";

/// Target of an import.
pub(super) struct Target {
    pub(super) conn: Conn,
    pub(super) notes: Vec<String>,
    config: Config,
    key: ServerSecret,
    contents: PathBuf,
    /// Open as long as the import runs, so that no server starts on this database meanwhile.
    lock: DynStore,
    kept: Vec<(super::bulk::Table, Vec<super::bulk::RowValues>)>,
    new_key: bool,
    /// The folder, if this import made it.
    made: Option<PathBuf>,
}

/// Returns the configuration that an import leads to, and remarks. Refuses an import that can be refused before
/// anything is written.
async fn plan(
    options: &ImportOptions,
    foreign: &ForeignConfig,
) -> Result<(Config, Vec<String>), ImportError> {
    let folder = std::path::absolute(&options.target).map_err(file_error(&options.target))?;
    let mut config = if folder.join(CONFIG_FILE).exists() {
        let config = Config::load(&folder)?;
        config.check_database()?;
        config
    } else {
        let mut config = Config::for_dir(&folder);
        if let Some(database) = &options.database {
            config.database.url.clone_from(database);
        }
        config.check()?;
        config
    };
    config.dir.clone_from(&folder);
    if crate::admin::is_served(&folder).await {
        return Err(ImportError::Target("the server of this folder runs".to_owned()));
    }
    let notes = adopt(&mut config, foreign);
    config.check()?;
    if config.files.storage == Storage::S3 {
        return Err(ImportError::Target(
            "an import writes into a folder, and this server keeps its files in a bucket; import into another folder, \
             then use `ackpost server file move --to s3`"
                .to_owned(),
        ));
    }
    Ok((config, notes))
}

/// Finds the reasons for which an import would be refused, and writes nothing; returns remarks.
pub(super) async fn rehearse(
    options: &ImportOptions,
    foreign: &ForeignConfig,
    key: &ServerSecret,
) -> Result<Vec<String>, ImportError> {
    let (config, mut notes) = plan(options, foreign).await?;
    let is_there = config.has_database_file() || config.database_url().starts_with("postgres");
    if !is_there {
        return Ok(notes);
    }
    let mut conn = Conn::open(&config.database_url()).await?;
    conn.begin(false).await?;
    // A database that no server was started on has no tables yet.
    if !conn.columns("rooms").await?.is_empty() {
        is_new_key(&config, key, &mut conn, &mut notes).await?;
        refuse_loss(&mut conn, options.replace).await?;
    }
    conn.rollback().await?;
    conn.close().await?;
    Ok(notes)
}

/// Returns true if the folder gets another key; refuses it if that would break links.
async fn is_new_key(
    config: &Config,
    key: &ServerSecret,
    conn: &mut Conn,
    notes: &mut Vec<String>,
) -> Result<bool, ImportError> {
    let there = crate::key::load_key(&config.key_path()).ok();
    let is_new = there.as_ref().is_none_or(|there| there.public() != key.public());
    if is_new && there.is_some() {
        if conn.count("rooms").await? > 0 {
            return Err(ImportError::Target(
                "the server in this folder has another key and its own rooms".to_owned(),
            ));
        }
        notes.push("the key of the imported community replaces the one that `init` made".to_owned());
    }
    Ok(is_new)
}

/// Refuses to remove content that people wrote; returns whether there is content of an earlier import.
async fn refuse_loss(conn: &mut Conn, replace: bool) -> Result<bool, ImportError> {
    let own = conn
        .number("SELECT (SELECT COUNT(*) FROM rooms) + (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM inbox)")
        .await?;
    if own > 0 && !replace {
        let last = conn
            .texts("SELECT detail FROM audit_log WHERE action = 'import' ORDER BY id DESC LIMIT 1")
            .await?;
        let mark = mark(conn).await?;
        match last.first() {
            None => {
                return Err(ImportError::Target(
                    "this server already has a community; import into an empty folder, or replace it with --replace".to_owned(),
                ));
            }
            Some(detail) if !detail.ends_with(&mark) => {
                return Err(ImportError::Target(
                    "people have used this server since the last import; --replace discards their messages"
                        .to_owned(),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(own > 0)
}

impl Target {
    /// Finds or makes the server, and begins the transaction.
    pub(super) async fn open(
        options: &ImportOptions,
        foreign: &ForeignConfig,
        key: &ServerSecret,
    ) -> Result<Self, ImportError> {
        let (config, mut notes) = plan(options, foreign).await?;
        let is_new = !config.dir.exists();
        if !config.dir.join(CONFIG_FILE).exists() {
            crate::admin::private_folder(&config.dir).map_err(|error| ImportError::Target(error.cause))?;
        }
        let folder = config.dir.clone();
        let opened = Self::open_planned(config, key, &mut notes).await;
        if opened.is_err() && is_new {
            // A folder that was made for nothing is removed as far as possible.
            let _ = std::fs::remove_dir_all(&folder);
        }
        opened.map(|target| Self {
            notes,
            made: is_new.then_some(folder),
            ..target
        })
    }

    async fn open_planned(
        config: Config,
        key: &ServerSecret,
        notes: &mut Vec<String>,
    ) -> Result<Self, ImportError> {
        let lock = store::open(&config.store_options(true), Arc::new(|_| {})).await?;
        crate::key::settle_staged(&config.key_path(), lock.community_key().await?.as_deref())?;
        let mut conn = Conn::open(&config.database_url()).await?;
        conn.begin(true).await?;
        let new_key = is_new_key(&config, key, &mut conn, notes).await?;
        let contents = config.files_dir();
        Ok(Self {
            conn,
            notes: Vec::new(),
            made: None,
            config,
            key: ServerSecret::from_bytes(*key.expose_bytes()),
            contents,
            lock,
            kept: Vec::new(),
            new_key,
        })
    }

    pub(super) fn contents(&self) -> &Path {
        &self.contents
    }

    /// Empties the tables, if nothing of the target's own would be lost.
    pub(super) async fn prepare(&mut self, replace: bool) -> Result<(), ImportError> {
        let is_full = refuse_loss(&mut self.conn, replace).await?;
        if is_full && replace {
            self.keep_replaced().await?;
        }
        // Rules of the operator stay over a second import: the ids of the rooms do not change.
        for table in [FILTERS, SETTINGS, RAIDS] {
            let rows = self.conn.read_all(&table, "").await?;
            self.kept.push((table, rows));
        }
        empty(&mut self.conn, COMMUNITY).await
    }

    /// Keeps a backup of the data that `--replace` removes.
    async fn keep_replaced(&mut self) -> Result<(), ImportError> {
        let folder = &self.config.dir;
        if !self.config.key_path().exists() || !folder.join(CONFIG_FILE).exists() {
            self.notes
                .push("the database held data of another folder, so no backup was made".to_owned());
            return Ok(());
        }
        let to = crate::admin::replaced_folder(folder, crate::clock::unix_now());
        let source = backup::BackupSource {
            folder,
            files: &BlobStore::of(&self.config)?,
            database: &self.config.database_url(),
        };
        backup::backup(&source, &to).await?;
        self.notes.push(format!(
            "the earlier data is kept for a month: `ackpost server restore {} NEW_FOLDER` restores it",
            to.display()
        ));
        Ok(())
    }

    /// Writes key and configuration, notes the import, and keeps everything.
    pub(super) async fn finish(&mut self, source: &Path, origin: Origin) -> Result<(), ImportError> {
        for (table, rows) in std::mem::take(&mut self.kept) {
            let rooms = self.conn.texts("SELECT CAST(id AS TEXT) FROM rooms").await?;
            let at = table.at("room_id");
            let rows: Vec<_> = rows
                .into_iter()
                .filter(|row| {
                    row[at]
                        .int()
                        .is_none_or(|id| id == 0 || rooms.contains(&id.to_string()))
                })
                .collect();
            if rows.is_empty() {
                continue;
            }
            // The operator's own rules win over those of the imported configuration.
            self.conn.run(format!("DELETE FROM {}", table.name)).await?;
            self.conn.write(&table, &rows).await?;
            self.conn.follow_keys(&table).await?;
        }
        self.note_key().await?;
        let key_path = self.config.key_path();
        if self.new_key {
            crate::key::stage_key(&key_path, self.key.expose_bytes())?;
        }
        let text = crate::admin::commented_config(&self.config);
        crate::admin::write_private(&self.config.dir.join(CONFIG_FILE), text.as_bytes())
            .map_err(|error| ImportError::Target(error.cause))?;
        self.conn.commit().await?;
        // Not before: the present key stays the key of what the database holds, should it refuse.
        crate::key::settle_staged(&key_path, Some(&self.key.public().to_string()))?;
        crate::account::settle(&self.lock, &self.key.public()).await?;
        self.note_import(source, origin).await?;
        self.lock.close().await?;
        Ok(())
    }

    /// Writes the import into the log, with numbers that show whether the community was used since.
    async fn note_import(&mut self, source: &Path, origin: Origin) -> Result<(), ImportError> {
        let mut retries = Retries::default();
        loop {
            match self.note_once(source, origin).await {
                Err(error) if wait_to_retry(&error, &mut retries).await => {
                    self.conn = Conn::open(&self.config.database_url()).await?;
                }
                outcome => return outcome,
            }
        }
    }

    async fn note_once(&mut self, source: &Path, origin: Origin) -> Result<(), ImportError> {
        self.conn.begin(true).await?;
        let mark = mark(&mut self.conn).await?;
        let detail = format!("{origin:?} {} {mark}", source.display()).replace('\'', "''");
        self.conn
            .run(format!(
                "INSERT INTO audit_log (at, actor, action, detail) VALUES ({}, 'operator', '{ACTION}', '{detail}')",
                crate::clock::unix_now()
            ))
            .await?;
        self.conn.commit().await
    }

    /// Records that the database belongs to the community with this key from now on.
    async fn note_key(&mut self) -> Result<(), ImportError> {
        empty(&mut self.conn, &[FACTS]).await?;
        let row = [
            Value::Text("public_key".to_owned()),
            Value::Text(self.key.public().to_string()),
        ];
        self.conn.write(&FACTS, &[row.to_vec()]).await
    }

    /// Discards the transaction.
    pub(super) async fn abandon(&mut self) {
        // The connection is closed with the program in any case.
        let _ = self.conn.rollback().await;
        let _ = self.lock.close().await;
        if let Some(folder) = &self.made {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A few numbers that change when people use the server, and not by expiry alone.
async fn mark(conn: &mut Conn) -> Result<String, ImportError> {
    let mut parts = Vec::new();
    for sql in [
        "SELECT COUNT(*) FROM rooms",
        "SELECT CAST(COALESCE(SUM(message_sequence), 0) AS BIGINT) FROM rooms",
        "SELECT CAST(COALESCE(SUM(info_updates), 0) AS BIGINT) FROM rooms",
        "SELECT COALESCE(MAX(id), 0) FROM messages",
        "SELECT COUNT(*) FROM users WHERE banned OR moderator",
    ] {
        parts.push(conn.number(sql).await?.to_string());
    }
    Ok(format!("[{}]", parts.join(" ")))
}

/// Adopts the settings of the other configuration where ours still has its defaults.
#[expect(clippy::float_cmp, reason = "a default is one exact number")]
fn adopt(config: &mut Config, foreign: &ForeignConfig) -> Vec<String> {
    let defaults = Config::default();
    let mut notes = Vec::new();
    let base_url = foreign
        .base_url
        .as_ref()
        .map(|url| url.trim_end_matches('/').to_owned());
    let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
    if let Some(other) = base_url.as_ref().filter(|url| !is_url(url)) {
        notes.push(format!(
            "base_url = {other} is not a URL and is left out; set [net] base_url to the address that people use"
        ));
    }
    macro_rules! take {
        ($($field:ident).+, $value:expr, $name:literal) => {
            if let Some(value) = $value
                && config.$($field).+ == defaults.$($field).+
                && value != config.$($field).+
            {
                notes.push(format!("{} = {:?}", $name, value));
                config.$($field).+ = value;
            }
        };
    }
    take!(net.base_url, base_url.filter(is_url), "[net] base_url");
    take!(net.listen, listen(foreign, defaults.net.listen), "[net] listen");
    take!(
        users.require_blind_keys,
        foreign.require_blind,
        "[users] require_blind_keys"
    );
    take!(files.expiry_days, foreign.file_expiry_days, "[files] expiry_days");
    take!(files.max_size, foreign.file_max_bytes, "[files] max_size");
    take!(rooms.active_days, foreign.active_days, "[rooms] active_days");
    take!(
        rooms.active_prune_days,
        foreign.active_prune_days,
        "[rooms] active_prune_days"
    );
    take!(
        direct_messages.expiry_days,
        foreign.dm_expiry_days,
        "[direct_messages] expiry_days"
    );
    take!(
        messages.history_days,
        foreign.history_days,
        "[messages] history_days"
    );
    take!(
        web.index,
        foreign.show_index.filter(|shown| !shown),
        "[web] index"
    );
    notes
}

/// The port to listen on: that of the other program, or the one in its public address.
fn listen(foreign: &ForeignConfig, default: std::net::SocketAddr) -> Option<std::net::SocketAddr> {
    let port = foreign.port.or_else(|| {
        let rest = foreign.base_url.as_ref()?.strip_prefix("http://")?;
        rest.split('/').next()?.rsplit_once(':')?.1.parse().ok()
    })?;
    let mut address = default;
    address.set_port(port);
    Some(address)
}
