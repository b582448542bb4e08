//! The bytes of uploaded files: in a folder, or in a bucket of an S3-compatible store.
//!
//! The order of writes makes every acknowledged file whole: first the bytes, flushed or confirmed by the store, then the
//! row, then the answer. On the way out the row goes first. What a crash leaves in between is bytes without a row, which
//! [`BlobStore::sweep_orphans`] removes.

mod bucket;
mod bucket_address;
mod credentials;
mod error;
mod name;
mod opened;
mod orphans;
mod staged;
mod transfer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Blake2b512, Digest as _};
use bounded_http::MemoryBudget;
use md5::Md5;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::arrivals::{Arrivals, Sender};
use crate::config::{Config, ConfigError, Storage};
use crate::store::{DynStore, StoreResult};

use bucket::{Bucket, BucketCounters, Measured};
pub(crate) use bucket_address::check as check_bucket;
pub use error::ContentError;
pub use name::content_name;
pub(crate) use name::hash_of;
pub(crate) use opened::Opened;
pub(crate) use staged::StagedUpload;

/// Bytes that are fetched from a bucket at a time for a client.
const PIECE: u64 = 256 * 1024;
/// Bytes that are fetched from a bucket at a time by a command.
const LARGE_PIECE: u64 = 4 << 20;
/// Memory for the transfers of a command, in KiB.
const COMMAND_BYTES: usize = 64 << 20;

/// Storage in which contents are kept.
enum Location {
    /// `ab/abcdef…` in a folder.
    Folder(PathBuf),
    /// Objects of a bucket.
    Bucket(Arc<Bucket>),
}

/// The contents of a community, and its uploads while they arrive.
pub struct BlobStore {
    place: Location,
    /// Folder of uploads that arrive.
    spools: PathBuf,
    /// True if a name is used only once, because other processes work on the same contents.
    once: bool,
    piece: u64,
    arrivals: Arc<Arrivals>,
    /// Held while a content is put in place and registered, or found unused and removed.
    lock: Arc<Mutex<()>>,
}

/// A content that is in its place. Register it before this is dropped: until then nobody removes it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) name: String,
    _lock: Option<OwnedMutexGuard<()>>,
}

impl BlobStore {
    /// Contents below `root`, stored once each; the folder is made when something arrives.
    pub fn new(root: PathBuf) -> Self {
        Self {
            spools: root.join("tmp"),
            place: Location::Folder(root),
            once: false,
            piece: LARGE_PIECE,
            arrivals: Arc::default(),
            lock: Arc::default(),
        }
    }

    /// The contents of a configuration, for a command.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if `[files]` has no usable bucket.
    pub fn of(config: &Config) -> Result<Self, ConfigError> {
        Self::configured(
            config,
            config.files.storage,
            Arc::new(MemoryBudget::new(COMMAND_BYTES)),
            LARGE_PIECE,
        )
    }

    /// The contents of a configuration as if it named this storage.
    pub(crate) fn in_storage(config: &Config, storage: Storage) -> Result<Self, ConfigError> {
        Self::configured(
            config,
            storage,
            Arc::new(MemoryBudget::new(COMMAND_BYTES)),
            LARGE_PIECE,
        )
    }

    /// The contents of a running server, whose transfers take their memory from `budget`.
    pub(crate) fn serving(config: &Config, budget: Arc<MemoryBudget>) -> Result<Self, ConfigError> {
        Self::configured(config, config.files.storage, budget, PIECE)
    }

    fn configured(
        config: &Config,
        storage: Storage,
        budget: Arc<MemoryBudget>,
        piece: u64,
    ) -> Result<Self, ConfigError> {
        let folder = Self::new(config.files_dir());
        let available = budget.available() as u64;
        Ok(Self {
            place: match storage {
                Storage::Folder => Location::Folder(config.files_dir()),
                Storage::S3 => Location::Bucket(Arc::new(Bucket::new(config, budget)?)),
            },
            once: storage == Storage::S3 || config.is_shared(),
            piece: piece.min(available / 4).max(1),
            ..folder
        })
    }

    /// Numbers of the bucket, if the contents are in one.
    pub(crate) fn bucket_counters(&self) -> Option<&BucketCounters> {
        match &self.place {
            Location::Folder(_) => None,
            Location::Bucket(bucket) => Some(bucket.counters()),
        }
    }

    /// Returns the path of a content in a folder of contents.
    pub(crate) fn path_in(root: &Path, name: &str) -> PathBuf {
        root.join(name.get(..2).unwrap_or("xx")).join(name)
    }

    /// Returns the path of a content if contents are kept in a folder.
    pub(crate) fn folder_path(&self, name: &str) -> Option<PathBuf> {
        match &self.place {
            Location::Folder(root) => Some(Self::path_in(root, name)),
            Location::Bucket(_) => None,
        }
    }

    /// Describes the place of the contents, for messages.
    pub(crate) fn shown(&self) -> String {
        match &self.place {
            Location::Folder(root) => root.display().to_string(),
            Location::Bucket(bucket) => bucket.shown(),
        }
    }

    /// Checks what can be checked without asking anybody: the keys of a bucket, and the authorities of its
    /// certificate.
    pub(crate) async fn check(&self) -> Result<(), ContentError> {
        match &self.place {
            Location::Folder(_) => Ok(()),
            Location::Bucket(bucket) => bucket.check().await,
        }
    }

    /// Checks that the place answers. A bucket that does not exist must not look like one without files.
    pub(crate) async fn reach(&self) -> Result<(), ContentError> {
        match &self.place {
            Location::Folder(_) => Ok(()),
            Location::Bucket(bucket) => bucket.list(None).await.map(drop),
        }
    }

    /// Begins to receive an upload.
    ///
    /// # Errors
    /// [`SpoolError::Busy`] if too many are arriving; otherwise the error of the disk.
    pub(crate) async fn spool(&self, sender: Sender) -> Result<Spool, SpoolError> {
        let share = self.arrivals.begin(sender).ok_or(SpoolError::Busy)?;
        let folder = &self.spools;
        tokio::fs::create_dir_all(folder).await?;
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        let path = folder.join(hex::encode(name));
        let file = File::options().write(true).create_new(true).open(&path).await?;
        let spooled = StagedUpload {
            path,
            size: 0,
            auth_hash: [0; 64],
            content: String::new(),
            md5: [0; 16],
            share,
        };
        let bucket = matches!(self.place, Location::Bucket(_));
        Ok(Spool {
            file,
            spooled,
            auth: Blake2b512::new(),
            content: Blake2b::new(),
            md5: bucket.then(Md5::new),
            flush: !bucket,
        })
    }

    /// Puts a received upload in its place: flushed to the disk, or confirmed by the store.
    pub(crate) async fn keep(&self, spooled: &StagedUpload) -> Result<Kept, ContentError> {
        let lock = self.hold().await;
        let name = if lock.is_some() {
            spooled.content.clone()
        } else {
            name::once(&spooled.content)?
        };
        match &self.place {
            Location::Folder(root) => place(&spooled.path, root, &name).await?,
            Location::Bucket(bucket) => {
                let file = Measured {
                    path: &spooled.path,
                    size: spooled.size,
                    md5: spooled.md5,
                };
                bucket.put(&name, file).await?;
            }
        }
        Ok(Kept { name, _lock: lock })
    }

    /// Puts bytes in their place.
    pub(crate) async fn store(&self, bytes: &[u8]) -> Result<Kept, ContentError> {
        let mut spool = self.spool(Sender::default()).await?;
        spool.write(bytes).await?;
        let spooled = spool.finish().await?;
        self.keep(&spooled).await
    }

    /// Opens a content of which the row says that it has `size` bytes. Its first bytes are there when this returns.
    pub(crate) async fn open(&self, name: &str, size: u64) -> Result<Opened, ContentError> {
        let found = |found: u64| {
            (found == size)
                .then_some(())
                .ok_or_else(|| ContentError::Damaged(format!("it has {found} bytes instead of {size}")))
        };
        match &self.place {
            Location::Folder(root) => {
                let file = File::open(Self::path_in(root, name)).await.map_err(missing)?;
                found(file.metadata().await?.len())?;
                Ok(Opened::file(file, size))
            }
            Location::Bucket(bucket) => {
                if hash_of(name).is_none() {
                    return Err(ContentError::Missing);
                }
                let (front, whole) = bucket.part(name, 0, size.min(self.piece)).await?;
                found(whole)?;
                Ok(Opened::object(
                    Arc::clone(bucket),
                    name.to_owned(),
                    front,
                    size,
                    self.piece,
                ))
            }
        }
    }

    /// The bytes of a content that is there.
    pub(crate) async fn size(&self, name: &str) -> Result<u64, ContentError> {
        match &self.place {
            Location::Folder(root) => {
                let found = tokio::fs::metadata(Self::path_in(root, name)).await;
                Ok(found.map_err(missing)?.len())
            }
            Location::Bucket(bucket) => bucket.size(name).await,
        }
    }

    /// Returns true if a content exists.
    pub(crate) async fn exists(&self, name: &str) -> Result<bool, ContentError> {
        match self.size(name).await {
            Ok(_) => Ok(true),
            Err(ContentError::Missing) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Keeps contents from being removed until the guard is dropped. `None` where a name is used once: nobody else removes
    /// one that was just made.
    pub(crate) async fn hold(&self) -> Option<OwnedMutexGuard<()>> {
        if self.once {
            return None;
        }
        Some(Arc::clone(&self.lock).lock_owned().await)
    }

    async fn remove(&self, name: &str) -> Result<(), ContentError> {
        match &self.place {
            Location::Folder(root) => match tokio::fs::remove_file(Self::path_in(root, name)).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            },
            Location::Bucket(bucket) => bucket.remove(name).await,
        }
    }

    /// Removes contents that nothing refers to any more. Contents that cannot be removed now are orphans, which a later
    /// sweep removes.
    pub(crate) async fn remove_unused(&self, store: &DynStore, contents: &[String]) -> StoreResult<u64> {
        let mut removed = 0;
        for content in contents {
            let _guard = self.lock.lock().await;
            if store.content_in_use(content.clone()).await? {
                continue;
            }
            match self.remove(content).await {
                Ok(()) => removed += 1,
                Err(error @ ContentError::Store(_)) => {
                    // The others would fail in the same way, one time limit after the other.
                    tracing::warn!(%error, "expired files cannot be removed now; they are removed later");
                    break;
                }
                Err(error) => tracing::warn!(%error, content, "an expired file cannot be removed"),
            }
        }
        Ok(removed)
    }

    /// Removes uploads that a crash left half received.
    pub(crate) async fn sweep(&self) {
        let Ok(mut entries) = tokio::fs::read_dir(&self.spools).await else {
            return;
        };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let old = entry
                .metadata()
                .await
                .ok()
                .and_then(|meta| meta.modified().ok()?.elapsed().ok())
                .is_none_or(|age| age.as_secs() > 3600);
            if old {
                let _ = tokio::fs::remove_file(entry.path()).await;
            }
        }
    }
}

fn missing(error: io::Error) -> ContentError {
    match error.kind() {
        io::ErrorKind::NotFound => ContentError::Missing,
        _ => ContentError::Disk(error),
    }
}

/// Moves a flushed file into a folder of contents, unless the same content is there.
async fn place(file: &Path, root: &Path, name: &str) -> io::Result<()> {
    let target = BlobStore::path_in(root, name);
    if tokio::fs::try_exists(&target).await? {
        return Ok(());
    }
    let folder = target.parent().unwrap_or(root).to_path_buf();
    tokio::fs::create_dir_all(&folder).await?;
    tokio::fs::rename(file, &target).await?;
    // The name must last as long as the row that refers to it.
    File::open(&folder).await?.sync_all().await
}

/// An upload that is arriving.
pub(crate) struct Spool {
    file: File,
    spooled: StagedUpload,
    auth: Blake2b512,
    content: Blake2b<U32>,
    /// Only for a bucket.
    md5: Option<Md5>,
    /// True if this file itself is the stored content, so that it must be flushed.
    flush: bool,
}

/// Reason why an upload is not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    /// Too many uploads are arriving at the moment.
    #[error("too many uploads are arriving at the moment")]
    Busy,
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl From<SpoolError> for io::Error {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Disk(error) => error,
            busy @ SpoolError::Busy => Self::other(busy),
        }
    }
}

impl Spool {
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        if !self.spooled.share.grow(bytes.len() as u64) {
            return Err(SpoolError::Busy);
        }
        self.file.write_all(bytes).await?;
        self.auth.update(bytes);
        self.content.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        self.spooled.size += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn size(&self) -> u64 {
        self.spooled.size
    }

    pub(crate) async fn finish(mut self) -> io::Result<StagedUpload> {
        self.file.flush().await?;
        if self.flush {
            self.file.sync_data().await?;
        }
        if let Some(md5) = self.md5 {
            self.spooled.md5 = md5.finalize().into();
        }
        self.spooled.auth_hash = self.auth.finalize().into();
        self.spooled.content = hex::encode(self.content.finalize());
        Ok(self.spooled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn arriving_bytes_have_a_bound_over_all_uploads() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let contents = BlobStore {
            arrivals: Arc::new(Arrivals::with_limit(10)),
            ..BlobStore::new(folder.path().to_path_buf())
        };
        let mut first = contents.spool(Sender::default()).await?;
        let mut second = contents.spool(Sender::default()).await?;
        first.write(b"123456").await?;
        let refused = second.write(b"12345").await.expect_err("eleven are too many");
        assert!(matches!(refused, SpoolError::Busy), "{refused}");
        drop(second);
        // Space is free again once its upload is received or given up.
        first.write(b"7890").await?;
        drop(first.finish().await?);
        contents.store(b"1234567890").await.expect("stored");
        assert_eq!(contents.arrivals.bytes(), 0);
        assert_eq!(std::fs::read_dir(folder.path().join("tmp"))?.count(), 0);
        Ok(())
    }
}
