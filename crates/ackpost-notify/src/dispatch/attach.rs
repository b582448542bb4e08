//! Attachments, read before anything is sent (D21). The text goes without those that cannot be read.

use std::time::Duration;

use bytes::Bytes;

use crate::asset::Asset;
use crate::message::{Attachment, AttachmentSource};
use crate::problem::Diagnostic;

use super::delivery::File;
use super::fetch::{FetchError, FetchRequest, shown_address};
use super::pool::ConnectionOptions;

/// Longest time for fetching an attachment, even if its server keeps sending slowly.
const FETCH_TIME: Duration = Duration::from_mins(10);

impl Attachment {
    /// Reads the attachment into memory.
    ///
    /// # Errors
    /// The file cannot be read or fetched, or is larger than allowed.
    pub async fn load(&self, options: &ConnectionOptions) -> Result<File, Diagnostic> {
        load_one(self, options, &Asset::default()).await
    }

    /// Returns the size in bytes without using the network; `None` for an address. Errors are those that would stop a
    /// send; one of them is a size above `limit` bytes.
    ///
    /// # Errors
    /// The path is not a file, cannot be read, or is larger than `limit`.
    pub fn size(&self, limit: u64) -> Result<Option<u64>, Diagnostic> {
        let path = match &self.source {
            AttachmentSource::Bytes(bytes) => return Ok(Some(bytes.len() as u64)),
            AttachmentSource::Url(_) => return Ok(None),
            AttachmentSource::File(path) => path,
        };
        let meta = std::fs::metadata(path).map_err(|error| self.unreadable(&error, "check the path"))?;
        self.check(&meta, limit)?;
        std::fs::File::open(path).map_err(|error| self.unreadable(&error, "check its permissions"))?;
        Ok(Some(meta.len()))
    }

    /// As it was written, so that it can be found; an address without its query, which may hold a secret.
    pub fn shown(&self) -> String {
        match &self.source {
            AttachmentSource::File(path) => path.display().to_string(),
            AttachmentSource::Url(url) => shown_address(url),
            AttachmentSource::Bytes(_) => self.file_name(),
        }
    }

    fn fail(&self, cause: &str, remedy: &str) -> Diagnostic {
        Diagnostic::error(format!("the attachment `{}` {cause}", self.shown()), remedy).key("attach")
    }

    fn unreadable(&self, error: &std::io::Error, remedy: &str) -> Diagnostic {
        self.fail(&format!("cannot be read: {error}"), remedy)
    }

    fn check(&self, meta: &std::fs::Metadata, limit: u64) -> Result<(), Diagnostic> {
        if !meta.is_file() {
            return Err(self.fail("is not a file", "name a file"));
        }
        if meta.len() > limit {
            return Err(self.fail(&format!("is larger than {limit} bytes"), "send a smaller file"));
        }
        Ok(())
    }
}

/// Reads every attachment. The second list says which cannot be read, and why.
pub(super) async fn load(
    all: &[Attachment],
    options: &ConnectionOptions,
    asset: &Asset,
) -> (Vec<File>, Vec<Diagnostic>) {
    let mut files = Vec::with_capacity(all.len());
    let mut missing = Vec::new();
    for one in all {
        match load_one(one, options, asset).await {
            Ok(file) => files.push(file),
            Err(problem) => missing.push(problem),
        }
    }
    (files, missing)
}

async fn load_one(one: &Attachment, options: &ConnectionOptions, asset: &Asset) -> Result<File, Diagnostic> {
    let name = one.file_name();
    let bytes = match &one.source {
        AttachmentSource::Bytes(bytes) => bytes.clone(),
        AttachmentSource::File(path) => {
            let meta = tokio::fs::metadata(path)
                .await
                .map_err(|error| one.unreadable(&error, "check the path"))?;
            one.check(&meta, options.attachment_bytes)?;
            let bytes = tokio::fs::read(path)
                .await
                .map_err(|error| one.unreadable(&error, "check its permissions"))?;
            Bytes::from(bytes)
        }
        AttachmentSource::Url(url) => tokio::time::timeout(FETCH_TIME, fetch(url, options, asset))
            .await
            .unwrap_or_else(|_| Err("cannot be fetched: its server is too slow".to_owned()))
            .map_err(|cause| one.fail(&cause, "check the address"))?,
    };
    let media_type = one
        .media_type
        .clone()
        .unwrap_or_else(|| media_type(&name).to_owned());
    Ok(File {
        name,
        media_type,
        bytes,
    })
}

async fn fetch(url: &str, options: &ConnectionOptions, asset: &Asset) -> Result<Bytes, String> {
    let most = options.attachment_bytes;
    let request = FetchRequest::new(url, most, &asset.app_id).with_read(options.attachment_silence);
    match options.fetch(&request).await {
        Ok(fetched) => Ok(Bytes::from(fetched.bytes)),
        Err(FetchError::TooLarge) => Err(format!("is larger than {most} bytes")),
        Err(error) => Err(error.to_string()),
    }
}

/// The media type of a file name, by its extension.
pub(crate) fn media_type(name: &str) -> &'static str {
    let extension = name
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase())
        .unwrap_or_default();
    match extension.as_str() {
        "txt" | "log" | "conf" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "htm" | "html" => "text/html",
        "json" => "application/json",
        "xml" => "application/xml",
        "yml" | "yaml" => "application/yaml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "ogg" | "oga" => "audio/ogg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}
