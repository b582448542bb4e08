//! Backups: a folder with the database as one SQLite file, the file contents, the key and the configuration.
//!
//! A backup sees one state of the database, whatever is posted meanwhile. From PostgreSQL it is a SQLite file
//! too, so that a backup can be restored anywhere.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bulk::Conn;
use super::copy::{copy_all, new_database};
use super::tables::{ALL, FILES};
use super::{ImportError, file_error};
use crate::config::{CONFIG_FILE, Config, KEY_FILE, Storage};
use crate::contents::{BlobStore, ContentError, hash_of};

const DATABASE: &str = "community.db";
const UPLOADS: &str = "uploads";
const MANIFEST: &str = "backup.json";

/// Parts from which a backup is made.
pub(crate) struct BackupSource<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) files: &'a BlobStore,
    pub(crate) database: &'a str,
}

/// Contents of a backup, with the data by which its completeness is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this layout.
    pub version: u32,
    /// Time at which it was made.
    pub created: String,
    /// The server's public key.
    pub public_key: String,
    /// BLAKE2b-256 of the database file.
    pub database_hash: String,
    /// Rows of each table.
    pub tables: Vec<(String, u64)>,
    /// File contents.
    pub files: u64,
}

/// Report of a backup that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// Folder of the backup.
    pub to: PathBuf,
    /// Rows of all tables.
    pub rows: u64,
    /// File contents.
    pub files: u64,
    /// Remarks.
    pub notes: Vec<String>,
}

/// A folder that may be written into: absent or empty.
pub(crate) fn empty_folder(path: &Path) -> Result<(), ImportError> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(ImportError::Target(format!("{} is not empty", path.display())));
            }
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            crate::admin::private_folder(path).map_err(|error| ImportError::Target(error.cause))
        }
        Err(error) => Err(ImportError::File {
            path: path.to_path_buf(),
            error,
        }),
    }
}

/// Writes one state of a database into a new SQLite file, without a log beside it.
async fn copy_database(conn: &mut Conn, database: &Path) -> Result<(), ImportError> {
    if conn.is_postgres() {
        new_database(&format!("sqlite:{}", database.display())).await?;
        let mut target = Conn::open(&format!("sqlite:{}", database.display())).await?;
        conn.begin(false).await?;
        target.begin(true).await?;
        copy_all(conn, &mut target).await?;
        target.commit().await?;
        conn.commit().await?;
        // The backup is one file, without a log beside it.
        target.run("PRAGMA journal_mode = DELETE").await?;
        target.close().await?;
        let _ = std::fs::remove_file(database.with_file_name(format!("{DATABASE}.lock")));
    } else {
        let quoted = database.display().to_string().replace('\'', "''");
        conn.run(format!("VACUUM INTO '{quoted}'")).await?;
        // The small versions of pictures are not in the backup.
        let mut target = Conn::open(&format!("sqlite:{}", database.display())).await?;
        super::remake_thumbnails(&mut target).await?;
        target.run("PRAGMA journal_mode = DELETE").await?;
        target.close().await?;
    }
    Ok(())
}

/// Writes a backup of a server, running or not.
pub(crate) async fn backup(source: &BackupSource<'_>, to: &Path) -> Result<BackupReport, ImportError> {
    source.files.reach().await?;
    empty_folder(to)?;
    let database = to.join(DATABASE);
    let mut notes = Vec::new();
    let mut conn = Conn::open(source.database).await?;
    copy_database(&mut conn, &database).await?;
    conn.close().await?;

    let mut copy = Conn::read_file(&database).await?;
    let mut tables = Vec::with_capacity(ALL.len());
    for table in &ALL {
        tables.push((
            table.name.to_owned(),
            u64::try_from(copy.count(table.name).await?).unwrap_or(0),
        ));
    }
    let mut contents = copy
        .texts(format!("SELECT DISTINCT content FROM {} ORDER BY 1", FILES.name))
        .await?;
    copy.close().await?;
    let into = BlobStore::new(to.join(UPLOADS));
    let mut files = 0;
    let (mut missing, mut damaged) = (0_u64, 0_u64);
    contents.retain(|content| hash_of(content).is_some());
    for content in &contents {
        match source.files.copy_to(content, &into).await {
            Ok(_) => files += 1,
            // The content expired while the backup was written, or is missing already: the row alone must not fail
            // the backup.
            Err(ContentError::Missing) => missing += 1,
            // A restore would refuse it.
            Err(ContentError::Damaged(_)) => damaged += 1,
            Err(error) => return Err(error.into()),
        }
    }
    if missing > 0 {
        notes.push(format!(
            "{missing} files expired meanwhile or are missing on disk"
        ));
    }
    if damaged > 0 {
        notes.push(format!(
            "{damaged} files are damaged and left out; `ackpost server verify` names them"
        ));
    }
    let public_key = crate::key::load_key(&source.folder.join(KEY_FILE))?
        .public()
        .to_string();
    copy_private(&source.folder.join(KEY_FILE), &to.join(KEY_FILE))?;
    copy_private(&source.folder.join(CONFIG_FILE), &to.join(CONFIG_FILE))?;
    let manifest = Manifest {
        version: 1,
        created: jiff::Timestamp::now().to_string(),
        public_key,
        database_hash: off_thread(move || hash_file(&database)).await?,
        tables,
        files,
    };
    let text = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    // The manifest is written last: a backup without it was not finished.
    crate::admin::write_private(&to.join(MANIFEST), &text)
        .map_err(|error| ImportError::Target(error.cause))?;
    let rows = manifest.tables.iter().map(|(_, rows)| rows).sum();
    Ok(BackupReport {
        to: to.to_path_buf(),
        rows,
        files,
        notes,
    })
}

fn copy_private(from: &Path, to: &Path) -> Result<(), ImportError> {
    let bytes = zeroize::Zeroizing::new(std::fs::read(from).map_err(file_error(from))?);
    crate::admin::write_private(to, &bytes).map_err(|error| ImportError::Target(error.cause))
}

/// Runs what reads or writes much on a thread where nobody else waits for it.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, ImportError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(ImportError::Target("the copy was broken off".to_owned())))
}

/// Copies a file that may be larger than the memory into a new one that only its owner can read.
fn copy_large(from: &Path, to: &Path) -> Result<(), ImportError> {
    // Made empty first, with its permissions; nothing of it is ever readable for others.
    crate::admin::write_private(to, b"").map_err(|error| ImportError::Target(error.cause))?;
    let mut source = std::fs::File::open(from).map_err(file_error(from))?;
    let mut target = std::fs::File::options()
        .write(true)
        .open(to)
        .map_err(file_error(to))?;
    std::io::copy(&mut source, &mut target).map_err(file_error(to))?;
    target.sync_all().map_err(file_error(to))
}

/// BLAKE2b-256 of a file, in hexadecimal.
fn hash_file(path: &Path) -> Result<String, ImportError> {
    use std::io::Read as _;

    use blake2::digest::consts::U32;
    use blake2::{Blake2b, Digest as _};
    let mut file = std::fs::File::open(path).map_err(file_error(path))?;
    let mut hash = Blake2b::<U32>::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let size = file.read(&mut buffer).map_err(file_error(path))?;
        if size == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..size]);
    }
}

/// Checks that every part of a backup exists and is as it was written.
pub fn check(from: &Path) -> Result<Manifest, ImportError> {
    let path = from.join(MANIFEST);
    let text = std::fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ImportError::Backup(format!(
            "{} is not a complete backup: it has no {MANIFEST}",
            from.display()
        )),
        _ => ImportError::File {
            path: path.clone(),
            error,
        },
    })?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| ImportError::Backup(format!("{}: {error}", path.display())))?;
    if manifest.version != 1 {
        return Err(ImportError::Backup(format!(
            "the backup has the unknown layout {}",
            manifest.version
        )));
    }
    let found = hash_file(&from.join(DATABASE))?;
    if found != manifest.database_hash {
        return Err(ImportError::Differs(
            "the database of the backup was changed or damaged".to_owned(),
        ));
    }
    let files = backed_up(&from.join(UPLOADS))?.len() as u64;
    if files < manifest.files {
        return Err(ImportError::Backup(format!(
            "the backup has {files} of the {} files that were put into it",
            manifest.files
        )));
    }
    let key = crate::key::load_key(&from.join(KEY_FILE))?.public().to_string();
    if key != manifest.public_key {
        return Err(ImportError::Differs("the backup has another key".to_owned()));
    }
    Ok(manifest)
}

/// Checks that the files that the database of a backup names are in its folder, as many as were put there. A file that
/// was missing or damaged when the backup was made is in neither number.
async fn all_files_are_there(from: &Path, manifest: &Manifest) -> Result<(), ImportError> {
    let there: std::collections::HashSet<String> = backed_up(&from.join(UPLOADS))?.into_iter().collect();
    let mut database = Conn::read_file(&from.join(DATABASE)).await?;
    let mut named = database
        .texts(format!("SELECT DISTINCT content FROM {} ORDER BY 1", FILES.name))
        .await?;
    database.close().await?;
    named.retain(|content| hash_of(content).is_some());
    let total = named.len();
    let missing: Vec<String> = named
        .into_iter()
        .filter(|content| !there.contains(content))
        .collect();
    let found = (total - missing.len()) as u64;
    if found >= manifest.files {
        return Ok(());
    }
    Err(ImportError::Backup(format!(
        "the backup has {found} of the {} files that were put into it, and lacks for instance {}",
        manifest.files, missing[0]
    )))
}

/// Choices for a restore.
#[derive(Debug, Clone, Copy, Default)]
pub struct RestoreOptions<'a> {
    /// The database, if it shall not be a file in the folder.
    pub database: Option<&'a str>,
    /// Puts the files into the bucket that the backup's configuration names, which must hold none below its prefix.
    pub bucket: bool,
}

/// Makes a server in `folder` from a backup; with `database`, in that database instead of a file.
///
/// # Errors
/// [`ImportError::Backup`] and [`ImportError::Differs`] if the backup is not whole; those of folder and database.
pub async fn restore(from: &Path, folder: &Path, database: Option<&str>) -> Result<Manifest, ImportError> {
    let bucket = false;
    restore_with(from, folder, RestoreOptions { database, bucket }).await
}

/// Like [`restore`], with all choices.
///
/// # Errors
/// As [`restore`], and those of the bucket.
pub async fn restore_with(
    from: &Path,
    folder: &Path,
    options: RestoreOptions<'_>,
) -> Result<Manifest, ImportError> {
    let source = from.to_path_buf();
    let manifest = off_thread(move || check(&source)).await?;
    all_files_are_there(from, &manifest).await?;
    let mut config = Config::load(from)?;
    config.dir = std::path::absolute(folder).map_err(file_error(folder))?;
    config.database.url = options.database.unwrap_or("sqlite:community.db").to_owned();
    config.files.directory = PathBuf::from(UPLOADS);
    // The community that the backup was made of may still use its bucket.
    config.files.storage = if options.bucket {
        Storage::S3
    } else {
        Storage::Folder
    };
    config.check()?;
    let contents = BlobStore::of(&config)?;
    if options.bucket {
        contents.must_be_empty().await?;
    }
    empty_folder(folder)?;
    if options.bucket {
        contents.claim(&manifest.public_key).await?;
    }
    let postgres = config.database_url().starts_with("postgres");
    if postgres {
        super::migrate::copy_into(
            &format!("sqlite:{}", from.join(DATABASE).display()),
            &config.database_url(),
        )
        .await?;
    } else {
        let (source, target) = (from.join(DATABASE), folder.join(DATABASE));
        off_thread(move || copy_large(&source, &target)).await?;
    }
    for name in backed_up(&from.join(UPLOADS))? {
        let file = BlobStore::path_in(&from.join(UPLOADS), &name);
        contents
            .put_file(&name, &file)
            .await
            .map_err(|error| match error {
                ContentError::Damaged(_) => {
                    ImportError::Differs(format!("the file {name} of the backup was changed or damaged"))
                }
                other => other.into(),
            })?;
    }
    copy_private(&from.join(KEY_FILE), &folder.join(KEY_FILE))?;
    let text = crate::admin::commented_config(&config);
    crate::admin::write_private(&folder.join(CONFIG_FILE), text.as_bytes())
        .map_err(|error| ImportError::Target(error.cause))?;
    Ok(manifest)
}

/// Checks the signatures of the messages in a backup that [`check`] found whole.
///
/// # Errors
/// The database of the backup cannot be read.
pub async fn signatures(from: &Path) -> Result<super::verify::VerifyReport, ImportError> {
    super::verify::signatures_of(&from.join(DATABASE)).await
}

/// The contents in a folder of a backup.
fn backed_up(uploads: &Path) -> Result<Vec<String>, ImportError> {
    let mut names = Vec::new();
    for folder in std::fs::read_dir(uploads).into_iter().flatten() {
        let folder = folder.map_err(file_error(uploads))?.path();
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let entry = entry.map_err(file_error(&folder))?;
            names.extend(
                entry
                    .file_name()
                    .into_string()
                    .ok()
                    .filter(|name| hash_of(name).is_some()),
            );
        }
    }
    Ok(names)
}
