//! The other server's folder: configuration, key, database and uploads, read and never written.

use std::path::{Component, Path, PathBuf};

use session_protocol::ServerSecret;

use super::bulk::{Conn, RowValues};
use super::ini::{self, ForeignConfig};
use super::options::{Origin, folder_of};
use super::{ImportError, file_error, foreign_tables as theirs};
use crate::contents::{BlobStore, content_name};

/// The longest configuration file, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// An opened source.
pub(super) struct Source {
    pub(super) origin: Origin,
    pub(super) folder: PathBuf,
    pub(super) config: ForeignConfig,
    pub(super) conn: Conn,
    pub(super) notes: Vec<String>,
    /// A copy of the database with its log, removed when the import ends.
    copy: Option<PathBuf>,
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(copy) = &self.copy {
            // Best effort: it is in the folder for temporary files.
            let _ = std::fs::remove_dir_all(copy);
        }
    }
}

impl Source {
    /// Opens the community in a folder (or beside a named configuration file).
    pub(super) async fn open(origin: Origin, path: &Path) -> Result<Self, ImportError> {
        let folder = folder_of(path);
        let (name, parse): (&str, fn(&str) -> ForeignConfig) = match origin {
            Origin::Pysogs => ("sogs.ini", ini::pysogs),
            Origin::Bunsogs => ("sogs.conf", ini::bunsogs),
        };
        let file = if path.is_file() {
            path.to_path_buf()
        } else {
            folder.join(name)
        };
        let mut notes = Vec::new();
        let config = match std::fs::metadata(&file) {
            Ok(metadata) if metadata.len() > MAX_CONFIG => {
                return Err(ImportError::Source(format!(
                    "{} is too large for a configuration file",
                    file.display()
                )));
            }
            Ok(_) => parse(&std::fs::read_to_string(&file).map_err(file_error(&file))?),
            Err(_) => {
                notes.push(format!("{name} is missing, so the program's defaults apply"));
                ForeignConfig::default()
            }
        };
        notes.extend(
            config
                .ignored
                .iter()
                .map(|line| format!("{line} has no counterpart here")),
        );
        let (conn, copy) = open_database(origin, &folder, &config, &mut notes).await?;
        let mut source = Self {
            origin,
            folder,
            config,
            conn,
            notes,
            copy,
        };
        source.check().await?;
        source.conn.begin(false).await?;
        Ok(source)
    }

    /// Checks that the tables are those of a known version.
    async fn check(&mut self) -> Result<(), ImportError> {
        for table in &theirs::ALL {
            let columns = self.conn.columns(table.name).await?;
            let missing: Vec<&str> = table
                .columns
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| !columns.iter().any(|known| known == name))
                .collect();
            if columns.is_empty() {
                return Err(ImportError::Source(format!(
                    "the database has no table {}: it belongs to another program, or to a version before 0.3",
                    table.name
                )));
            }
            if !missing.is_empty() {
                return Err(ImportError::Source(format!(
                    "the table {} has no column {}: start the newest version of the old program once, it brings its database up to date",
                    table.name,
                    missing.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// The key of the community.
    pub(super) fn key(&self) -> Result<ServerSecret, ImportError> {
        let name = self.config.key_file.as_deref().unwrap_or("key_x25519");
        let path = self.find(name).ok_or_else(|| {
            ImportError::Source(format!(
                "{} is missing: without the key, all join links would break",
                self.folder.join(name).display()
            ))
        })?;
        Ok(crate::key::load_key(&path)?)
    }

    /// A path of the configuration: as it is written, below the folder, or by its last part in the folder.
    fn find(&self, name: &str) -> Option<PathBuf> {
        find(&self.folder, name)
    }
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let name = Path::new(name);
    let last = name.file_name().map(|last| folder.join(last));
    [Some(folder.join(name)), last]
        .into_iter()
        .flatten()
        .find(|path| path.exists())
}

async fn open_database(
    origin: Origin,
    folder: &Path,
    config: &ForeignConfig,
    notes: &mut Vec<String>,
) -> Result<(Conn, Option<PathBuf>), ImportError> {
    let url = config.database.clone().unwrap_or_else(|| match origin {
        Origin::Pysogs => "sqlite:///sogs.db".to_owned(),
        Origin::Bunsogs => "sqlite:///db.sqlite3".to_owned(),
    });
    if url.starts_with("postgres") {
        // SQLAlchemy names a driver behind a plus sign.
        let plain = match url.split_once("://") {
            Some((scheme, rest)) => format!("{}://{rest}", scheme.split('+').next().unwrap_or(scheme)),
            None => url,
        };
        return Ok((Conn::read_postgres(&plain).await?, None));
    }
    // `sqlite:///relative` and `sqlite:////absolute`.
    let name = url
        .strip_prefix("sqlite:///")
        .or_else(|| url.strip_prefix("sqlite:"))
        .unwrap_or(&url);
    let path = find(folder, name).ok_or_else(|| {
        ImportError::Source(format!(
            "the database {} does not exist",
            folder.join(name).display()
        ))
    })?;
    let logs: Vec<&str> = ["-wal", "-journal"]
        .into_iter()
        .filter(|suffix| std::fs::metadata(with_suffix(&path, suffix)).is_ok_and(|log| log.len() > 0))
        .collect();
    if logs.is_empty() {
        return Ok((Conn::read_file(&path).await?, None));
    }
    // The other program was not stopped cleanly: its log holds the latest rows, or what to take back. SQLite would
    // write beside the database to read them, so a copy is read instead.
    notes.push(
        "the other program runs or was not stopped cleanly; its later writes are not imported".to_owned(),
    );
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| ImportError::Source(error.to_string()))?;
    let copy = std::env::temp_dir().join(format!("ackpost-import-{}", hex::encode(random)));
    crate::admin::private_folder(&copy).map_err(|error| ImportError::Source(error.cause))?;
    let database = copy.join("source.db");
    std::fs::copy(&path, &database).map_err(file_error(&path))?;
    for suffix in logs {
        let log = with_suffix(&path, suffix);
        std::fs::copy(&log, with_suffix(&database, suffix)).map_err(file_error(&log))?;
    }
    let conn = Conn::open(&format!("sqlite:{}", database.display())).await?;
    Ok((conn, Some(copy)))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Uploads of the source, and the folder to which they are copied.
pub(super) struct UploadImport {
    folder: PathBuf,
    uploads: PathBuf,
    /// Folder of our contents; nothing is written without.
    target: Option<PathBuf>,
    missing: Vec<String>,
    outside: u64,
    /// Numbers of the files whose content is there.
    found: std::collections::HashSet<i64>,
}

impl UploadImport {
    pub(super) fn new(source: &Source, target: Option<&Path>) -> Self {
        let uploads = source
            .folder
            .join(source.config.uploads.as_deref().unwrap_or("uploads"));
        Self {
            folder: source.folder.clone(),
            uploads,
            target: target.map(Path::to_path_buf),
            missing: Vec::new(),
            outside: 0,
            found: std::collections::HashSet::new(),
        }
    }

    /// Name and size of the content of a row; `None` when it is not on the disk.
    pub(super) fn take(&mut self, row: &RowValues) -> Result<Option<(String, i64)>, ImportError> {
        let name = row[theirs::FILES.at("path")]
            .text()
            .unwrap_or_default()
            .to_owned();
        let outside = self.outside;
        let Some(path) = self.locate(&name) else {
            if self.outside == outside {
                self.missing.push(name);
            }
            return Ok(None);
        };
        self.found.extend(row[0].int());
        let bytes = std::fs::read(&path).map_err(file_error(&path))?;
        let content = content_name(&bytes);
        if let Some(target) = &self.target {
            let place = BlobStore::path_in(target, &content);
            if !place.exists() {
                write_durably(&place, &bytes)?;
            }
        }
        Ok(Some((content, i64::try_from(bytes.len()).unwrap_or(i64::MAX))))
    }

    /// Finds a file below the folder or the configured folder of uploads, and nowhere else.
    fn locate(&mut self, name: &str) -> Option<PathBuf> {
        let path = Path::new(name);
        if path.components().any(|part| part == Component::ParentDir) {
            self.outside += 1;
            return None;
        }
        let below = path
            .strip_prefix("uploads")
            .map(|rest| self.uploads.join(rest))
            .ok();
        let tail: PathBuf = {
            // `…/TOKEN/ID_name` of an absolute path from another machine.
            let parts: Vec<_> = path.components().collect();
            parts[parts.len().saturating_sub(2)..].iter().collect()
        };
        let candidates = [Some(self.folder.join(path)), below, Some(self.uploads.join(tail))];
        let found = candidates.into_iter().flatten().find(|path| path.is_file())?;
        let real = found.canonicalize().ok()?;
        let allowed = [&self.folder, &self.uploads]
            .iter()
            .any(|root| root.canonicalize().is_ok_and(|root| real.starts_with(root)));
        if !allowed {
            self.outside += 1;
            return None;
        }
        Some(real)
    }

    /// Counts the rooms whose picture has no file.
    pub(super) async fn lost_pictures(&self, conn: &mut Conn) -> Result<u64, ImportError> {
        let image = theirs::ROOMS.at("image");
        let rooms = conn.read_all(&theirs::ROOMS, "").await?;
        let lost = rooms
            .iter()
            .filter_map(|row| row[image].int())
            .filter(|id| !self.found.contains(id));
        Ok(lost.count() as u64)
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(first) = self.missing.first() {
            notes.push(format!(
                "{} files are not on the disk (the first: {first}); they are left out",
                self.missing.len()
            ));
        }
        if self.outside > 0 {
            notes.push(format!(
                "{} files are outside the folder of uploads; they are left out",
                self.outside
            ));
        }
        notes
    }
}

/// Writes a content so that its file is complete as soon as it exists.
fn write_durably(place: &Path, bytes: &[u8]) -> Result<(), ImportError> {
    use std::io::Write as _;
    let folder = place.parent().unwrap_or(place);
    std::fs::create_dir_all(folder).map_err(file_error(folder))?;
    let fresh = with_suffix(place, ".new");
    let attempt = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, place)
    };
    attempt().map_err(file_error(place))
}
