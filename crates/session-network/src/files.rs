//! Files of messages: encrypted here, kept on a file server that is reached through hops.

use std::time::Duration;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use session_protocol::ServerKey;
use session_protocol::content::AttachmentPointer;
use session_protocol::network::faults::PathFault;
use session_protocol::network::files::{
    self, FileError, MAX_FILE_NAME_LEN_BYTES, MAX_SEALED_FILE_LEN_BYTES, SealedFile,
};
use session_protocol::network::rpc::HOP_PATH;
use session_protocol::onion::path::{Destination, wrap};
use session_protocol::onion::v4;
use zeroize::Zeroizing;

use crate::error::{Cause, NetworkError};
use crate::exchange::{SEALED_EXTRA_LEN_BYTES, UNUSABLE_KEY};
use crate::file::UploadedFile;
use crate::network::{Network, off_thread};

/// Longest answer to an upload, bytes.
const MAX_UPLOADED_LEN_BYTES: usize = 64 * 1024;
/// Minimum time limit of one request, because a long file over a slow line takes a while.
const TIMEOUT: Duration = Duration::from_mins(2);
/// Paths that one request may take.
const MAX_PATHS: usize = 2;

impl Network {
    /// Encrypts a file and leaves it on the file server, through three hops in any mode. `name` is shown to the recipient,
    /// without folders and cut to 255 bytes.
    ///
    /// # Errors
    /// [`Cause::File`] for a file of more than about 10 MB; [`NetworkError`] if the server does not take it.
    pub async fn upload(
        &self,
        name: &str,
        content_type: &str,
        bytes: &[u8],
    ) -> Result<UploadedFile, NetworkError> {
        let file = Zeroizing::new(bytes.to_vec());
        // Ten megabytes take a while.
        let sealed = off_thread(move || SealedFile::seal(&file, &mut UnwrapErr(SysRng))).await??;
        let request = v4::Request {
            method: "POST".to_owned(),
            endpoint: "/file".to_owned(),
            headers: vec![("Content-Type".to_owned(), "application/octet-stream".to_owned())],
            body: Some(sealed.bytes.clone()),
        };
        let answer = self.file_call(&request, MAX_UPLOADED_LEN_BYTES).await?;
        let number = files::uploaded_number(&answer)?;
        let server = self.inner.options.file_server_ref();
        let url = format!("http://{}/file/{number}", server.host);
        // Old readers take the number, new ones the URL.
        let id = number.parse().unwrap_or(0);
        Ok(UploadedFile {
            pointer: sealed.pointer(id, url, &short_name(name), content_type),
        })
    }

    /// Fetches and decrypts a file of a received message ([`crate::IncomingMessage::files`]). It comes from the configured file
    /// server, whatever server the pointer names.
    ///
    /// # Errors
    /// [`Cause::File`] if the pointer is incomplete or the file was altered; [`NetworkError`] if the server does not give it.
    pub async fn download(&self, file: &AttachmentPointer) -> Result<Vec<u8>, NetworkError> {
        let number = files::number_of(file).ok_or(FileError::Pointer("it has no file"))?;
        if file.key.is_none() || file.digest.is_none() {
            return Err(FileError::Pointer("it has no key and digest").into());
        }
        let request = v4::Request {
            method: "GET".to_owned(),
            endpoint: format!("/file/{number}"),
            headers: Vec::new(),
            body: None,
        };
        let answer = self.file_call(&request, MAX_SEALED_FILE_LEN_BYTES).await?;
        let file = file.clone();
        Ok(off_thread(move || files::open(&file, &answer)).await??)
    }

    /// Sends a request to the file server. `limit` is the longest answer, bytes.
    async fn file_call(&self, request: &v4::Request, limit: usize) -> Result<Vec<u8>, NetworkError> {
        let (mut failure, mut failed) = (Cause::NotSealed, None);
        for _ in 0..MAX_PATHS {
            let list = self.list().await?;
            let now = self.local_ms();
            let path = self
                .lock_routes()
                .path_to(None, failed.as_ref(), &list, now, &mut UnwrapErr(SysRng))
                .map_err(|error| NetworkError::new(Cause::NoPath(error)))?;
            match self.file_exchange(request, &path, limit).await {
                Ok(answer) => {
                    self.lock_routes().worked(&path);
                    self.keep_guard().await;
                    if answer.code == 200 {
                        return Ok(answer.body);
                    }
                    return Err(NetworkError::new(Cause::FileServer { status: answer.code }));
                }
                Err(cause) => {
                    let again = self.note_path_failure(&cause, &path, None);
                    let wait = match path.guard() {
                        Some(guard) => self.after_failure(&cause, guard).await,
                        None => Duration::ZERO,
                    };
                    failed = (cause != Cause::Path(PathFault::TooFast)).then_some(path);
                    failure = cause;
                    if !again {
                        break;
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
        Err(NetworkError::new(failure))
    }

    async fn file_exchange(
        &self,
        request: &v4::Request,
        path: &session_protocol::network::paths::Path,
        limit: usize,
    ) -> Result<v4::Response, Cause> {
        let server = self.inner.options.file_server_ref();
        let guard = path.guard().ok_or(Cause::NotSealed)?;
        let cipher = self.inner.options.layer_cipher();
        let rng = &mut UnwrapErr(SysRng);
        let sealed = request
            .seal(&ServerKey::from_bytes(server.x25519), cipher, rng)
            .map_err(|_| UNUSABLE_KEY)?;
        let destination = Destination {
            host: server.host.clone(),
            port: server.port,
            protocol: "http".to_owned(),
            target: v4::PATH.to_owned(),
        };
        let hops = path.hops().map_err(|_| UNUSABLE_KEY)?;
        let body = wrap(&sealed, &destination, &hops, cipher, rng).map_err(|_| UNUSABLE_KEY)?;
        let _permit = self.inner.calls.acquire().await;
        let url = format!("https://{}:{}{HOP_PATH}", guard.ip, guard.port);
        let limit = limit + SEALED_EXTRA_LEN_BYTES;
        let answer = self.inner.http.post_file(&url, body, limit, TIMEOUT).await;
        let answer = answer.map_err(|fault| Cause::Http {
            address: format!("{}:{}", guard.ip, guard.port),
            fault,
        })?;
        if let Some(fault) = answer.path_fault() {
            return Err(Cause::Path(fault));
        }
        v4::Response::open(&answer.body, &sealed.reply).map_err(|_| Cause::WrongKey)
    }
}

/// The name without folders, cut at a character.
fn short_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = if name.is_empty() { "file" } else { name };
    let mut end = name.len().min(MAX_FILE_NAME_LEN_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_folders_and_are_cut_at_a_character() {
        assert_eq!(short_name("/etc/passwd"), "passwd");
        assert_eq!(short_name("a\\b.txt"), "b.txt");
        assert_eq!(short_name("x/"), "file");
        assert_eq!(short_name(&"é".repeat(200)), "é".repeat(127));
    }
}
