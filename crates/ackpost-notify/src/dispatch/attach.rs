//! Attachments, read before anything is sent (D21). The text goes without those that cannot be read.

use std::time::Duration;

use bytes::Bytes;

use crate::asset::Asset;
use crate::config::fetch_failure;
use crate::message::{Attachment, AttachmentSource};
use crate::problem::Diagnostic;

use super::{ConnectionOptions, File};

/// How long an attachment may take to be fetched, however steadily its server trickles.
const FETCH_TIME: Duration = Duration::from_mins(10);

impl Attachment {
    /// Reads it into memory.
    pub async fn load(&self, options: &ConnectionOptions) -> Result<File, Diagnostic> {
        load_one(self, options, &Asset::default()).await
    }

    /// How many bytes it has, without a network: `None` for an address. Errors are those that would stop a send, the
    /// size above `limit` bytes among them.
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
            AttachmentSource::Url(url) => shown_url(url),
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

/// Schema, host and path of an address: no credentials, no query.
fn shown_url(url: &str) -> String {
    match ::url::Url::parse(url) {
        Ok(url) => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            let host = url.host_str().unwrap_or_default();
            format!("{}://{host}{port}{}", url.scheme(), url.path())
        }
        Err(_) => "(address)".to_owned(),
    }
}

async fn fetch(url: &str, options: &ConnectionOptions, asset: &Asset) -> Result<Bytes, String> {
    let client = options.http_client(
        true,
        Duration::from_secs(4),
        options.attachment_silence,
        &asset.app_id,
    )?;
    let fail = |error: reqwest::Error| format!("cannot be fetched: {}", fetch_failure(&error));
    let mut response = client.get(url).send().await.map_err(fail)?;
    if !response.status().is_success() {
        return Err(format!(
            "cannot be fetched: the server answered {}",
            response.status()
        ));
    }
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await.map_err(fail)? {
        bytes.extend_from_slice(&part);
        if bytes.len() as u64 > options.attachment_bytes {
            return Err(format!("is larger than {} bytes", options.attachment_bytes));
        }
    }
    Ok(Bytes::from(bytes))
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
