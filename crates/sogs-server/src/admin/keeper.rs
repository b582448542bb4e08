//! Contents of files that an undo may need, kept beside the database for a while.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::operation::AdminError;
use crate::contents::{BlobStore, ContentError, hash_of};
use crate::store::{DynStore, FileRow};

/// Folder in the folder of the server.
pub(super) const FOLDER: &str = "undo";
/// Prefix of the names of backups in it.
const REPLACED: &str = "replaced-";
/// Days for which removed content is kept for an undo.
pub(crate) const KEEP_DAYS: f64 = 30.0;

impl From<ContentError> for AdminError {
    fn from(error: ContentError) -> Self {
        Self {
            remedy: "check the storage that [files] names, then try again".to_owned(),
            ..Self::failed(error)
        }
    }
}

pub(super) fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> AdminError {
    move |error| AdminError::failed(format!("{}: {error}", path.display()))
}

/// Folders of file contents, and of those that are kept for an undo.
#[derive(Clone, Copy)]
pub(crate) struct Keeper<'a> {
    pub(crate) store: &'a DynStore,
    /// Folder of the server.
    pub(crate) folder: &'a Path,
    pub(crate) contents: &'a BlobStore,
}

fn kept_path(keeper: Keeper<'_>, content: &str) -> Option<PathBuf> {
    // Only the name of a content may become a path.
    hash_of(content).map(|_| keeper.folder.join(FOLDER).join("files").join(content))
}

/// Keeps a file's content for an undo; does nothing if the content is gone already. Of one in a bucket, the bucket has a
/// copy, so that every process that works on it can bring it back.
pub(super) async fn keep(keeper: Keeper<'_>, content: &str) -> Result<(), AdminError> {
    // Only the name of a content may become a path.
    let Some(to) = kept_path(keeper, content) else {
        return Ok(());
    };
    let Some(from) = keeper.contents.folder_path(content) else {
        return Ok(keeper.contents.keep_in_bucket(content).await?);
    };
    if to.exists() {
        // Kept for an earlier deletion; its days begin anew.
        return renew(&to).map_err(file_error(&to));
    }
    if !from.exists() {
        return Ok(());
    }
    let folder = to.parent().unwrap_or(keeper.folder);
    std::fs::create_dir_all(folder).map_err(file_error(folder))?;
    link_or_copy(&from, &to)
}

/// Makes sure that a file's content is in its place, and returns its name there; `None` if the content no longer
/// exists.
pub(super) async fn bring_back(keeper: Keeper<'_>, content: &str) -> Result<Option<String>, AdminError> {
    let contents = keeper.contents;
    match kept_path(keeper, content).filter(|from| from.exists()) {
        Some(from) => Ok(Some(contents.bring_back(content, &from).await?)),
        None => match contents.bring_back_kept(content).await? {
            Some(name) => Ok(Some(name)),
            None => Ok(contents.exists(content).await?.then(|| content.to_owned())),
        },
    }
}

/// Brings a content back unless it is in its place.
pub(super) async fn bring_back_missing(
    keeper: Keeper<'_>,
    content: &str,
) -> Result<Option<String>, AdminError> {
    if keeper.contents.exists(content).await? {
        return Ok(Some(content.to_owned()));
    }
    bring_back(keeper, content).await
}

/// Restores the content of a deleted file. Returns the row to write, or `None` if the content is gone.
pub(super) async fn bring_file(keeper: Keeper<'_>, mut file: FileRow) -> Result<Option<FileRow>, AdminError> {
    let Some(content) = bring_back(keeper, &file.content).await? else {
        return Ok(None);
    };
    file.content = content;
    Ok(Some(file))
}

fn link_or_copy(from: &Path, to: &Path) -> Result<(), AdminError> {
    // Contents never change, so two names may share one; across file systems it is copied.
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => std::fs::copy(from, to).map(drop).map_err(file_error(to)),
    }
}

/// Time since when a file is kept. A hard link has the time of modification of its content, which is that of the upload;
/// the status changes with every link.
fn kept_since(metadata: &std::fs::Metadata) -> SystemTime {
    use std::os::unix::fs::MetadataExt as _;
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Makes a kept file count as kept since now.
fn renew(path: &Path) -> std::io::Result<()> {
    // The same permissions again: that changes the status, and nothing of the content that another name may share.
    std::fs::set_permissions(path, std::fs::metadata(path)?.permissions())
}

/// The folder for a whole community that an import replaces.
pub(crate) fn replaced_folder(folder: &Path, now: f64) -> PathBuf {
    folder.join(FOLDER).join(format!("{REPLACED}{now:.0}"))
}

/// Removes what has been kept for more than [`KEEP_DAYS`], and returns the number of files and folders. The hourly job of
/// the server calls it.
pub(crate) fn clean(folder: &Path, now: SystemTime) -> u64 {
    let limit = Duration::from_secs_f64(KEEP_DAYS * 86_400.0);
    let is_old = |at: std::io::Result<SystemTime>| {
        at.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > limit))
    };
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut gone = 0;
    for folder in [folder.join(FOLDER), folder.join(FOLDER).join("files")] {
        for entry in entries(&folder) {
            let old = entry
                .metadata()
                .is_ok_and(|metadata| metadata.is_file() && is_old(Ok(kept_since(&metadata))));
            gone += u64::from(old && std::fs::remove_file(entry.path()).is_ok());
        }
    }
    for entry in entries(&folder.join(FOLDER)) {
        let old = entry.file_name().to_string_lossy().starts_with(REPLACED)
            && is_old(entry.metadata().and_then(|metadata| metadata.modified()));
        gone += u64::from(old && std::fs::remove_dir_all(entry.path()).is_ok());
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_kept_for_thirty_days_from_its_deletion_however_old_it_is() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let dir = tempfile::tempdir().expect("a folder");
        let kept = dir.path().join(FOLDER).join("files");
        std::fs::create_dir_all(&kept).expect("made");
        let (content, link) = (dir.path().join("content"), kept.join("ab"));
        std::fs::write(&content, "uploaded long ago").expect("written");
        let now = SystemTime::now();
        let file = std::fs::File::options()
            .write(true)
            .open(&content)
            .expect("opened");
        file.set_modified(now - days(90)).expect("aged");
        link_or_copy(&content, &link).expect("kept");
        assert_eq!(clean(dir.path(), now + days(29)), 0);
        assert!(link.exists());
        renew(&link).expect("kept again");
        assert_eq!(
            file.metadata().and_then(|data| data.modified()).expect("a time"),
            now - days(90),
            "the content is untouched"
        );
        assert_eq!(clean(dir.path(), now + days(31)), 1);
        assert!(!link.exists() && content.exists());
    }
}
