//! Contents without a row: what a crash left between the bytes and the row, and what could not be removed.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::bucket::Listed;
use super::{BlobStore, ContentError, Place, hash_of};
use crate::arrivals::Sender;
use crate::store::DynStore;

/// Name of the note beside the contents that says whose they are: the public key of the community.
const OWNER: &str = "community";

/// What a sweep found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Contents that were looked at.
    pub seen: u64,
    /// Contents without a row that were removed.
    pub removed: u64,
}

impl BlobStore {
    /// Notes that these contents belong to a community, by its public key.
    ///
    /// # Errors
    /// [`ContentError::Foreign`] if they belong to another one; otherwise those of the storage.
    pub async fn claim(&self, community: &str) -> Result<(), ContentError> {
        let found = match &self.place {
            Place::Folder(root) => match tokio::fs::read_to_string(root.join(OWNER)).await {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                Err(error) => return Err(error.into()),
            },
            Place::Bucket(bucket) => match bucket.part(OWNER, 0, 256).await {
                Ok((bytes, _)) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(ContentError::Missing) => String::new(),
                Err(error) => return Err(error),
            },
        };
        match found.trim() {
            "" => self.note_owner(community).await,
            known if known == community => Ok(()),
            other => Err(ContentError::Foreign {
                place: self.shown(),
                community: other.chars().filter(char::is_ascii_hexdigit).take(64).collect(),
            }),
        }
    }

    /// Refuses a place that holds contents.
    pub(crate) async fn must_be_empty(&self) -> Result<(), ContentError> {
        let mut next = Some(String::new());
        while let Some(from) = next {
            let (page, after) = self.page(&from).await?;
            if page.iter().any(|one| hash_of(&one.name).is_some()) {
                return Err(ContentError::NotEmpty(self.shown()));
            }
            next = after;
        }
        Ok(())
    }

    async fn note_owner(&self, community: &str) -> Result<(), ContentError> {
        let mut spool = self.spool(Sender::default()).await?;
        spool.write(format!("{community}\n").as_bytes()).await?;
        let spooled = spool.finish().await?;
        match &self.place {
            Place::Folder(root) => Ok(tokio::fs::rename(&spooled.path, root.join(OWNER)).await?),
            Place::Bucket(bucket) => {
                let file = super::Measured {
                    path: &spooled.path,
                    size: spooled.size,
                    md5: spooled.md5,
                };
                bucket.put(OWNER, file).await
            }
        }
    }

    /// Removes contents that no row refers to and that are older than `age`. A younger one may be an upload whose row is
    /// about to be written.
    ///
    /// # Errors
    /// [`ContentError::Foreign`] if the contents belong to another community, and those of storage and database.
    pub async fn sweep_orphans(
        &self,
        store: &DynStore,
        community: &str,
        age: Duration,
    ) -> Result<Swept, ContentError> {
        self.claim(community).await?;
        let mut swept = Swept::default();
        let mut next = Some(String::new());
        while let Some(from) = next {
            let (page, after) = self.page(&from).await?;
            let old = |one: &&Listed| {
                hash_of(&one.name).is_some()
                    && one
                        .modified
                        .is_some_and(|at| at.elapsed().is_ok_and(|passed| passed >= age))
            };
            swept.seen += page.len() as u64;
            for one in page.iter().filter(old) {
                if !store.content_in_use(one.name.clone()).await? {
                    let removed = self.remove_unused(store, std::slice::from_ref(&one.name)).await?;
                    if removed == 0 {
                        return Ok(swept);
                    }
                    swept.removed += removed;
                }
            }
            next = after;
        }
        Ok(swept)
    }

    /// A page of what is stored, and where the next one begins.
    async fn page(&self, from: &str) -> Result<(Vec<Listed>, Option<String>), ContentError> {
        match &self.place {
            Place::Bucket(bucket) => bucket.list(Some(from).filter(|from| !from.is_empty())).await,
            Place::Folder(root) => {
                // `ab/` is a page.
                let number = u8::from_str_radix(from, 16).unwrap_or(0);
                let page = entries(&root.join(format!("{number:02x}"))).await?;
                Ok((page, number.checked_add(1).map(|next| format!("{next:02x}"))))
            }
        }
    }
}

async fn entries(folder: &Path) -> io::Result<Vec<Listed>> {
    let mut entries = match tokio::fs::read_dir(folder).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut listed = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        let modified: Option<SystemTime> = entry.metadata().await.ok().and_then(|meta| meta.modified().ok());
        if let Ok(name) = entry.file_name().into_string() {
            listed.push(Listed { name, modified });
        }
    }
    Ok(listed)
}
