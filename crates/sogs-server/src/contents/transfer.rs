//! Contents that commands check and copy: read through to the end, compared with the hash in their names.

use std::io;
use std::path::{Path, PathBuf};

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};
use md5::Md5;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::bucket::Measured;
use super::{BlobStore, ContentError, Location, hash_of, place};

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// Outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Bytes that are stored.
    pub(crate) size: u64,
    /// True if the bytes were read and have the hash of the name; `None` if only the size was asked for.
    pub(crate) hash: Option<bool>,
}

/// A file that is removed when this is dropped, unless it was moved away.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn damaged(name: &str) -> ContentError {
    ContentError::Damaged(format!("{name} does not have the hash in its name"))
}

impl BlobStore {
    /// The size of a content, and with `whole` whether its bytes have the hash of its name.
    pub(crate) async fn look_at(&self, name: &str, whole: bool) -> Result<Checked, ContentError> {
        let size = self.size(name).await?;
        if !whole {
            return Ok(Checked { size, hash: None });
        }
        let hash = match self.read_through(name, size, None).await {
            Ok(()) => Some(true),
            Err(ContentError::Damaged(_)) => Some(false),
            Err(error) => return Err(error),
        };
        Ok(Checked { size, hash })
    }

    /// Reads a content to its end and checks its hash; writes it to a file on the way.
    async fn read_through(
        &self,
        name: &str,
        size: u64,
        mut to: Option<&mut File>,
    ) -> Result<(), ContentError> {
        let mut content = self.open(name, size).await?;
        let mut hash = Blake2b::<U32>::new();
        while let Some(chunk) = content.chunk().await {
            let chunk = chunk?;
            hash.update(&chunk);
            if let Some(to) = to.as_deref_mut() {
                to.write_all(&chunk).await?;
            }
        }
        if hash_of(name) != Some(hex::encode(hash.finalize()).as_str()) {
            return Err(damaged(name));
        }
        Ok(())
    }

    /// Copies a content into a file that does not exist yet, flushed and with the right hash or not at all.
    pub(crate) async fn fetch(&self, name: &str, to: &Path) -> Result<(), ContentError> {
        let size = self.size(name).await?;
        if let Some(folder) = to.parent() {
            tokio::fs::create_dir_all(folder).await?;
        }
        let scratch = Scratch(to.with_extension("part"));
        let mut file = File::create(&scratch.0).await?;
        self.read_through(name, size, Some(&mut file)).await?;
        file.flush().await?;
        file.sync_data().await?;
        drop(file);
        tokio::fs::rename(&scratch.0, to).await?;
        Ok(())
    }

    /// Puts a copy of a file in the place of the content `name`, whose hash it must have.
    pub(crate) async fn put_file(&self, name: &str, file: &Path) -> Result<(), ContentError> {
        let (size, md5) = measure(name, file).await?;
        match &self.place {
            Location::Bucket(bucket) => {
                bucket
                    .put(
                        name,
                        Measured {
                            path: file,
                            size,
                            md5,
                        },
                    )
                    .await
            }
            Location::Folder(root) => {
                tokio::fs::create_dir_all(&self.spools).await?;
                let scratch = Scratch(self.spools.join(format!("{name}.part")));
                tokio::fs::copy(file, &scratch.0).await?;
                File::open(&scratch.0).await?.sync_data().await?;
                Ok(place(&scratch.0, root, name).await?)
            }
        }
    }

    /// Puts a copy of a file in place, under `name` or, where names are used once, under a new one.
    pub(crate) async fn bring_back(&self, name: &str, file: &Path) -> Result<String, ContentError> {
        let name = match (self.once, hash_of(name)) {
            (true, Some(hash)) => super::name::once(hash)?,
            _ => name.to_owned(),
        };
        self.put_file(&name, file).await?;
        Ok(name)
    }

    /// Copies a content to the same name in another place, unless it is there with the same size. Returns its size and
    /// whether it had to be copied.
    pub(crate) async fn copy_to(&self, name: &str, to: &Self) -> Result<(u64, bool), ContentError> {
        let size = self.size(name).await?;
        match to.look_at(name, matches!(to.place, Location::Folder(_))).await {
            Ok(there) if there.size == size && there.hash != Some(false) => return Ok((size, false)),
            // A copy that was interrupted or damaged gives way.
            Ok(_) => to.remove(name).await?,
            Err(ContentError::Missing) => {}
            Err(error) => return Err(error),
        }
        match (&self.place, &to.place) {
            (Location::Folder(root), _) => to.put_file(name, &Self::path_in(root, name)).await?,
            (Location::Bucket(_), Location::Folder(root)) => {
                let target = Self::path_in(root, name);
                self.fetch(name, &target).await?;
                File::open(target.parent().unwrap_or(root))
                    .await?
                    .sync_all()
                    .await?;
            }
            (Location::Bucket(_), Location::Bucket(_)) => {
                let scratch = Scratch(to.spools.join(name));
                self.fetch(name, &scratch.0).await?;
                to.put_file(name, &scratch.0).await?;
            }
        }
        // Compares the size that the target reports, not the size that was sent.
        match to.size(name).await? {
            found if found == size => Ok((size, true)),
            found => Err(ContentError::Damaged(format!(
                "the copy of {name} has {found} bytes instead of {size}"
            ))),
        }
    }
}

/// Size and MD5 of a file that must have the hash of `name`.
async fn measure(name: &str, path: &Path) -> Result<(u64, [u8; 16]), ContentError> {
    let mut file = File::open(path).await.map_err(super::missing)?;
    let (mut hash, mut md5, mut size) = (Blake2b::<U32>::new(), Md5::new(), 0);
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match file.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        hash.update(&buffer[..count]);
        md5.update(&buffer[..count]);
        size += count as u64;
    }
    if hash_of(name) != Some(hex::encode(hash.finalize()).as_str()) {
        return Err(damaged(name));
    }
    Ok((size, md5.finalize().into()))
}
