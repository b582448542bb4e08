//! Files that go with a message, copied in: one sealed list, then the bytes in sealed parts.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::error::OutboxError;
use super::seal::AtRestCipher;
use ackpost_notify::dispatch::File;

/// Plain size of one part in bytes.
const PART_BYTES: usize = 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Named {
    name: String,
    media_type: String,
    bytes: usize,
}

/// The rows of a bundle.
pub(crate) fn seal(seal: &AtRestCipher, bundle: &str, files: &[File]) -> Vec<Vec<u8>> {
    let list: Vec<Named> = files
        .iter()
        .map(|file| Named {
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            bytes: file.bytes.len(),
        })
        .collect();
    let list = serde_json::to_vec(&list).expect("names and numbers can be written");
    let mut rows = vec![seal.seal(&place(bundle, 0), &list)];
    for part in files.iter().flat_map(|file| file.bytes.chunks(PART_BYTES)) {
        rows.push(seal.seal(&place(bundle, rows.len()), part));
    }
    rows
}

/// The files of a bundle.
pub(crate) fn open(
    seal: &AtRestCipher,
    id: &str,
    bundle: &str,
    rows: &[Vec<u8>],
) -> Result<Vec<File>, OutboxError> {
    let damaged = || OutboxError::Damaged {
        id: id.to_owned(),
        cause: "a file of it is damaged".to_owned(),
    };
    let mut parts = rows
        .iter()
        .enumerate()
        .map(|(number, row)| seal.open(&place(bundle, number), row));
    let list = parts.next().flatten().ok_or_else(damaged)?;
    let list: Vec<Named> = serde_json::from_slice(&list).map_err(|_| damaged())?;
    let mut files = Vec::with_capacity(list.len());
    for named in list {
        let mut bytes = BytesMut::new();
        while bytes.len() < named.bytes {
            bytes.extend_from_slice(&parts.next().flatten().ok_or_else(damaged)?);
        }
        if bytes.len() != named.bytes {
            return Err(damaged());
        }
        files.push(File {
            name: named.name,
            media_type: named.media_type,
            bytes: Bytes::from(bytes),
        });
    }
    Ok(files)
}

fn place(bundle: &str, part: usize) -> String {
    format!("file {bundle} {part}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let key = AtRestCipher::from_file(&folder.path().join("key")).unwrap();
        let file = |name: &str, size: usize| File {
            name: name.to_owned(),
            media_type: "text/plain".to_owned(),
            bytes: (0..=250).cycle().take(size).collect(),
        };
        let files = vec![
            file("empty", 0),
            file("big", PART_BYTES * 2 + 3),
            file("ü.txt", 5),
            file("even", PART_BYTES),
        ];
        let rows = seal(&key, "b", &files);
        assert_eq!(rows.len(), 1 + 3 + 1 + 1);
        assert_eq!(open(&key, "e", "b", &rows).unwrap(), files);
        assert!(open(&key, "e", "b", &rows[..3]).is_err());
        let mut swapped = rows.clone();
        swapped.swap(1, 2);
        assert!(open(&key, "e", "b", &swapped).is_err());
    }
}
