//! Contents without a row: bytes that a crash left before their row was written, or that could not be removed.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::bucket::Listed;
use super::{BlobStore, ContentError, Location, hash_of};
use crate::arrivals::Sender;
use crate::store::DynStore;

/// Name of the note beside the contents that names their owner: the public key of the community.
const OWNER: &str = "community";

/// First part of the names of copies in a bucket that are kept for an undo.
const KEPT: &str = "undo/";
/// Time for which they are kept.
const KEEP: Duration = Duration::from_secs(30 * 86_400);
/// Most files that one sweep removes: bounds its memory. The next sweep removes more.
const AT_ONCE: usize = 20_000;

/// Result of a sweep.
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
            Location::Folder(root) => match tokio::fs::read_to_string(root.join(OWNER)).await {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                Err(error) => return Err(error.into()),
            },
            Location::Bucket(bucket) => match bucket.part(OWNER, 0, 256).await {
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
        self.note(OWNER, format!("{community}\n")).await
    }

    /// Keeps a copy of a content of a bucket there for some days, so that every process that works on the bucket can bring
    /// it back. A content that is missing is not kept.
    pub(crate) async fn keep_in_bucket(&self, name: &str) -> Result<(), ContentError> {
        match &self.place {
            // Kept by a second name in the folder of the server.
            Location::Folder(_) => Ok(()),
            Location::Bucket(bucket) => match bucket.copy(name, &format!("{KEPT}{name}")).await {
                Ok(()) | Err(ContentError::Missing) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }

    /// Brings a content back of which a bucket keeps a copy, and returns its name; `None` if there is no copy.
    pub(crate) async fn bring_back_kept(&self, name: &str) -> Result<Option<String>, ContentError> {
        let (Location::Bucket(bucket), Some(hash)) = (&self.place, hash_of(name)) else {
            return Ok(None);
        };
        let new = super::name::once(hash)?;
        match bucket.copy(&format!("{KEPT}{name}"), &new).await {
            Ok(()) => Ok(Some(new)),
            Err(ContentError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn note(&self, name: &str, text: String) -> Result<(), ContentError> {
        let mut spool = self.spool(Sender::default()).await?;
        spool.write(text.as_bytes()).await?;
        let spooled = spool.finish().await?;
        match &self.place {
            Location::Folder(root) => Ok(tokio::fs::rename(&spooled.path, root.join(name)).await?),
            Location::Bucket(bucket) => {
                let file = super::Measured {
                    path: &spooled.path,
                    size: spooled.size,
                    md5: spooled.md5,
                };
                bucket.put(name, file).await
            }
        }
    }

    /// Removes contents that no row refers to and that are older than `age`. A younger one may be an upload whose row is
    /// about to be written.
    ///
    /// # Errors
    /// [`ContentError::Foreign`] if the contents belong to another community, [`ContentError::Unknown`] if the database
    /// knows less than half of them, and those of storage and database.
    pub async fn sweep_orphans(
        &self,
        store: &DynStore,
        community: &str,
        age: Duration,
    ) -> Result<Swept, ContentError> {
        self.claim(community).await?;
        let mut swept = Swept::default();
        let (mut lost, mut known) = (0_u64, 0_u64);
        let mut orphans = Vec::new();
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
            for one in &page {
                let is_over = |at: SystemTime| at.elapsed().is_ok_and(|passed| passed >= KEEP);
                if one.name.starts_with(KEPT) && one.modified.is_some_and(is_over) {
                    self.remove(&one.name).await?;
                }
            }
            for one in page.iter().filter(old) {
                if store.content_in_use(one.name.clone()).await? {
                    known += 1;
                    continue;
                }
                lost += 1;
                if orphans.len() < AT_ONCE {
                    orphans.push(one.name.clone());
                }
            }
            next = after;
        }
        // A crash leaves a few. A database that knows hardly any file is empty, restored from an old backup, or of
        // somebody else: nothing is removed until somebody has looked at it.
        if lost > known {
            let place = self.shown();
            return Err(ContentError::Unknown { place, lost, known });
        }
        for name in &orphans {
            let removed = self.remove_unused(store, std::slice::from_ref(name)).await?;
            if removed == 0 {
                break;
            }
            swept.removed += removed;
        }
        Ok(swept)
    }

    /// Returns a page of the stored contents, and the start of the next page.
    async fn page(&self, from: &str) -> Result<(Vec<Listed>, Option<String>), ContentError> {
        match &self.place {
            Location::Bucket(bucket) => bucket.list(Some(from).filter(|from| !from.is_empty())).await,
            Location::Folder(root) => {
                // A folder such as `ab/` is one page of the list.
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
