//! Files up and down.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::json;
use sogs_client::{Upload, UploadedFile};

use super::place::{Needs, Place, failed};
use super::{DownloadArgs, UploadArgs, all_of};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;
use crate::progress::Progress;

/// Largest file that is read, bytes; servers take 6 to 10 MB.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// A file that has been read.
pub(super) struct Piece {
    name: String,
    content_type: &'static str,
    bytes: Bytes,
}

pub(super) fn read_all(paths: &[PathBuf]) -> Result<Vec<Piece>, Failure> {
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Piece, Failure> {
    let bytes = ackpost_platform::read_limited(path, MAX_FILE_BYTES).map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::FileTooLarge => "send a smaller file: community servers take 6 to 10 MB",
            _ => "name a readable file",
        };
        Failure::new(format!("{}: {error}", path.display()), remedy)
    })?;
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    Ok(Piece {
        content_type: content_type(&name),
        name,
        bytes: bytes.into(),
    })
}

/// The media type by the name's ending; apps show pictures and play sound by it.
fn content_type(name: &str) -> &'static str {
    match name
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
        .as_str()
    {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mp3" => "audio/mpeg",
        "ogg" | "oga" => "audio/ogg",
        "m4a" => "audio/mp4",
        "wav" => "audio/wav",
        "pdf" => "application/pdf",
        "txt" | "log" | "md" => "text/plain",
        "json" => "application/json",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        _ => "application/octet-stream",
    }
}

pub(super) async fn upload_one(
    place: &Place,
    piece: &Piece,
    context: Context,
) -> Result<UploadedFile, Failure> {
    let progress = Progress::new(context);
    let upload = Upload::new(piece.bytes.clone())
        .name(&piece.name)
        .content_type(piece.content_type)
        .on_progress(progress.file(&piece.name));
    let uploaded = place.room.upload(upload).await.map_err(failed);
    progress.clear();
    uploaded
}

pub(super) async fn upload(args: &UploadArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Identity)?;
    let pieces = read_all(&args.files)?;
    let (mut worked, mut lost) = (0, 0);
    for piece in &pieces {
        match upload_one(&place, piece, context).await {
            Ok(file) => {
                worked += 1;
                if context.json {
                    output::json(&json!({
                        "room": place.shown, "id": file.id, "url": file.url, "name": file.name, "size": file.size,
                    }));
                } else {
                    output::words(&format!("file {}  {}  {}", file.id, piece.name, file.url));
                }
            }
            Err(failure) => {
                lost += 1;
                failure.print();
            }
        }
    }
    if worked > 0 && !context.json {
        output::note("the server removes a file after an hour if no message refers to it");
    }
    Ok(all_of(worked, lost))
}

pub(super) async fn download(args: &DownloadArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Nothing)?;
    let progress = Progress::new(context);
    let tell = progress.file(&format!("file {}", args.file));
    let result = place.room.download_with(args.file, tell).await;
    progress.clear();
    let file = result.map_err(failed)?;
    if args.output.as_deref() == Some(Path::new("-")) {
        output::raw(&file.bytes);
        return Ok(Exit::Success);
    }
    let path = args
        .output
        .clone()
        .unwrap_or_else(|| local_name(file.name.as_deref(), args.file));
    // A name that somebody else chose never replaces a file of ours.
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if args.output.is_some() {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options
        .open(&path)
        .and_then(|mut out| out.write_all(&file.bytes))
        .map_err(|e| {
            Failure::new(
                format!("{}: {e}", path.display()),
                "name another place with --output",
            )
        })?;
    if context.json {
        output::json(&json!({
            "room": place.shown, "id": args.file, "path": path, "name": file.name, "size": file.bytes.len(),
            "expires": file.expires,
        }));
    } else {
        output::words(&format!("{}  {} bytes", path.display(), file.bytes.len()));
    }
    Ok(Exit::Success)
}

/// The uploader's name for the file, as a plain name in the current folder.
pub(crate) fn local_name(name: Option<&str>, id: u64) -> PathBuf {
    let clean: String = name
        .unwrap_or_default()
        .chars()
        .map(|c| {
            if output::misleads(c) || matches!(c, '/' | '\\' | ':') {
                '_'
            } else {
                c
            }
        })
        .take(100)
        .collect();
    let clean = clean.trim_start_matches('.').trim();
    if clean.is_empty() {
        PathBuf::from(format!("file-{id}"))
    } else if let Some(rest) = clean.strip_prefix('-') {
        // A name such as `-rf` would be an option of the next command that is run on all files of the folder.
        PathBuf::from(format!("_{rest}"))
    } else {
        PathBuf::from(clean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_stay_in_the_folder() {
        assert_eq!(
            local_name(Some("../../etc/passwd"), 1),
            PathBuf::from("_.._etc_passwd")
        );
        assert_eq!(local_name(Some("-rf"), 7), PathBuf::from("_rf"));
        assert_eq!(local_name(Some("..- rf"), 7), PathBuf::from("_ rf"));
        assert_eq!(local_name(Some("..."), 7), PathBuf::from("file-7"));
        assert_eq!(local_name(Some("my 🎂.txt"), 7), PathBuf::from("my 🎂.txt"));
        assert_eq!(local_name(None, 7), PathBuf::from("file-7"));
    }
}
