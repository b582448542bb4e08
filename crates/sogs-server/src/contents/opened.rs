//! A content that is being read, piece by piece.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::bucket::Bucket;

/// Bytes read from a file at a time.
const CHUNK: usize = 64 * 1024;

/// A content whose first bytes were found, so that what follows is likely to come.
pub(crate) struct Opened {
    /// Bytes that were read already.
    front: Option<Bytes>,
    from: From,
    /// Bytes that are not read yet.
    left: u64,
}

type Fetching = BoxFuture<'static, io::Result<Bytes>>;

enum From {
    File(File),
    Bucket {
        bucket: Arc<Bucket>,
        key: String,
        piece: u64,
        next: u64,
        fetching: Option<Fetching>,
    },
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("left", &self.remaining())
            .finish_non_exhaustive()
    }
}

impl Opened {
    pub(super) fn file(file: File, size: u64) -> Self {
        Self {
            front: None,
            from: From::File(file),
            left: size,
        }
    }

    /// The object `key` of `size` bytes, of which `front` was fetched; the others come `piece` bytes at a time.
    pub(super) fn object(bucket: Arc<Bucket>, key: String, front: Bytes, size: u64, piece: u64) -> Self {
        let next = front.len() as u64;
        Self {
            front: Some(front).filter(|front| !front.is_empty()),
            from: From::Bucket {
                bucket,
                key,
                piece,
                next,
                fetching: None,
            },
            left: size.saturating_sub(next),
        }
    }

    /// Bytes that are still to come.
    pub(crate) fn remaining(&self) -> u64 {
        self.left + self.front.as_ref().map_or(0, |front| front.len() as u64)
    }

    /// Looks at the first bytes without taking them.
    pub(crate) async fn peek(&mut self) -> io::Result<&[u8]> {
        if self.front.is_none() {
            self.front = self.chunk().await.transpose()?;
        }
        Ok(self.front.as_deref().unwrap_or_default())
    }

    /// The next bytes; nothing at the end.
    pub(crate) async fn chunk(&mut self) -> Option<io::Result<Bytes>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// Everything that is left. The caller accounts for the memory.
    pub(crate) async fn read(mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::with_capacity(usize::try_from(self.remaining()).unwrap_or(0));
        while let Some(chunk) = self.chunk().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all)
    }

    /// Polls for the next bytes; never more than were announced, and an error if they are fewer.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(front) = self.front.take() {
            return Poll::Ready(Some(Ok(front)));
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let chunk = match &mut self.from {
            From::File(file) => {
                let size = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
                let mut buffer = BytesMut::with_capacity(size);
                match ready!(std::pin::pin!(file.read_buf(&mut buffer)).poll(cx)) {
                    Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => Ok(buffer.freeze()),
                    Err(error) => Err(error),
                }
            }
            From::Bucket {
                bucket,
                key,
                piece,
                next,
                fetching,
            } => {
                let length = self.left.min(*piece);
                let fetch: &mut Fetching = fetching.get_or_insert_with(|| {
                    let (bucket, key, from) = (Arc::clone(bucket), key.clone(), *next);
                    Box::pin(async move {
                        let part = bucket.part(&key, from, length).await;
                        part.map(|(bytes, _)| bytes).map_err(super::ContentError::into_io)
                    })
                });
                let fetched = ready!(Pin::new(fetch).poll(cx));
                *fetching = None;
                *next += length;
                fetched
            }
        };
        Poll::Ready(Some(chunk.map(|mut chunk| {
            chunk.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= chunk.len() as u64;
            chunk
        })))
    }
}
