//! Uploaded contents on disk, named by their BLAKE2b-256, so that equal contents are stored once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Blake2b512, Digest as _};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use crate::arrivals::{Arrivals, Sender};
use crate::http::request::Spooled;
use crate::store::{DynStore, StoreResult};

/// The folder of contents: `ab/abcdef…`, and `tmp/` for what is arriving.
pub struct Contents {
    root: PathBuf,
    arrivals: Arc<Arrivals>,
    /// Held while a content is put in place and registered, or found unused and removed.
    pub(crate) lock: Mutex<()>,
}

/// The name of a content.
pub fn content_name(bytes: &[u8]) -> String {
    hex::encode(Blake2b::<U32>::digest(bytes))
}

impl Contents {
    /// Contents below `root`; the folder is made when something arrives.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            arrivals: Arc::default(),
            lock: Mutex::new(()),
        }
    }

    /// Where a content is.
    pub fn path(&self, content: &str) -> PathBuf {
        self.root.join(content.get(..2).unwrap_or("xx")).join(content)
    }

    /// The folder of all contents.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Begins to receive an upload.
    ///
    /// # Errors
    /// [`SpoolError::Busy`] when too many are arriving, else what the disk says.
    pub(crate) async fn spool(&self, sender: Sender) -> Result<Spool, SpoolError> {
        let share = self.arrivals.begin(sender).ok_or(SpoolError::Busy)?;
        let folder = self.root.join("tmp");
        tokio::fs::create_dir_all(&folder).await?;
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        let path = folder.join(hex::encode(name));
        let file = File::options().write(true).create_new(true).open(&path).await?;
        let spooled = Spooled {
            path,
            size: 0,
            auth_hash: [0; 64],
            content: String::new(),
            share,
        };
        Ok(Spool {
            file,
            spooled,
            auth: Blake2b512::new(),
            content: Blake2b::new(),
        })
    }

    /// Puts a received upload in its place, flushed to the disk. Call with [`Contents::lock`] held.
    pub(crate) async fn keep(&self, spooled: &Spooled) -> io::Result<()> {
        let target = self.path(&spooled.content);
        if tokio::fs::try_exists(&target).await? {
            return Ok(());
        }
        let folder = target.parent().unwrap_or(&self.root).to_path_buf();
        tokio::fs::create_dir_all(&folder).await?;
        tokio::fs::rename(&spooled.path, &target).await?;
        // The name must last as long as the row that refers to it.
        File::open(&folder).await?.sync_all().await
    }

    /// Puts bytes in their place and returns their name.
    pub async fn store(&self, bytes: &[u8]) -> io::Result<String> {
        let mut spool = self.spool(Sender::default()).await?;
        spool.write(bytes).await?;
        let spooled = spool.finish().await?;
        let _guard = self.lock.lock().await;
        self.keep(&spooled).await?;
        Ok(spooled.content.clone())
    }

    /// Removes contents that nothing refers to any more.
    pub(crate) async fn remove_unused(&self, store: &DynStore, contents: &[String]) -> StoreResult<()> {
        for content in contents {
            let _guard = self.lock.lock().await;
            if store.content_in_use(content.clone()).await? {
                continue;
            }
            let path = self.path(content);
            if let Err(error) = tokio::fs::remove_file(&path).await
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %path.display(), "an expired file cannot be removed");
            }
        }
        Ok(())
    }

    /// Removes what a crash left half received.
    pub(crate) async fn sweep(&self) {
        let Ok(mut entries) = tokio::fs::read_dir(self.root.join("tmp")).await else {
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

/// An upload that is arriving.
pub(crate) struct Spool {
    file: File,
    spooled: Spooled,
    auth: Blake2b512,
    content: Blake2b<U32>,
}

/// Why an upload is not received.
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
        self.spooled.size += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn size(&self) -> u64 {
        self.spooled.size
    }

    pub(crate) async fn finish(mut self) -> io::Result<Spooled> {
        self.file.flush().await?;
        self.file.sync_data().await?;
        self.spooled.auth_hash = self.auth.finalize().into();
        self.spooled.content = hex::encode(self.content.finalize());
        Ok(self.spooled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_arriving_has_a_bound_over_all_uploads() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let contents = Contents {
            arrivals: Arc::new(Arrivals::with_limit(10)),
            ..Contents::new(folder.path().to_path_buf())
        };
        let mut first = contents.spool(Sender::default()).await?;
        let mut second = contents.spool(Sender::default()).await?;
        first.write(b"123456").await?;
        let refused = second.write(b"12345").await.expect_err("eleven are too many");
        assert!(matches!(refused, SpoolError::Busy), "{refused}");
        drop(second);
        // What is received or given up is free again.
        first.write(b"7890").await?;
        drop(first.finish().await?);
        contents.store(b"1234567890").await?;
        assert_eq!(contents.arrivals.bytes(), 0);
        assert_eq!(std::fs::read_dir(folder.path().join("tmp"))?.count(), 0);
        Ok(())
    }
}
