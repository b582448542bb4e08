//! A time limit for writing: the peer has to keep reading.
//!
//! The time limits of HTTP servers are about what comes in. A peer that asks for much and reads nothing would hold a
//! connection, and the memory of the answer, for as long as it likes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Maximum time without progress while writing.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that earn back one second without progress.
const BYTES_PER_SECOND: u64 = 8 * 1024;

/// Ends writing with [`io::ErrorKind::TimedOut`] when the other side takes nothing for 30 seconds, or over a longer
/// time less than 8 KiB a second.
#[derive(Debug)]
pub struct WriteTimeoutStream<S> {
    stream: S,
    patience: Duration,
    /// Remaining time without progress.
    left: Duration,
    /// Start of the present pause in writing, and the timer that ends the connection.
    blocked: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> WriteTimeoutStream<S> {
    /// Watches over the writing of a connection.
    pub fn new(stream: S) -> Self {
        Self::with_patience(stream, PATIENCE)
    }

    fn with_patience(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            left: patience,
            blocked: None,
        }
    }

    /// Bytes were taken: the time lost before counts, and what they make up for it.
    fn moved(&mut self, bytes: usize) {
        if let Some((since, _)) = self.blocked.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let earned = Duration::from_micros(bytes.saturating_mul(1_000_000) / BYTES_PER_SECOND);
        self.left = self.left.saturating_add(earned).min(self.patience);
    }

    /// Nothing can be written now: how long may that last?
    fn stuck(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let left = self.left;
        let (_, end) = self
            .blocked
            .get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        ready!(end.as_mut().poll(cx));
        Poll::Ready(io::Error::new(
            io::ErrorKind::TimedOut,
            "the other side does not take the answer",
        ))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeoutStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(Ok(count)) => {
                self.moved(count);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(failed) => Poll::Ready(failed),
            Poll::Pending => self.stuck(cx).map(Err),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, pieces) {
            Poll::Ready(Ok(count)) => {
                self.moved(count);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(failed) => Poll::Ready(failed),
            Poll::Pending => self.stuck(cx).map(Err),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => self.stuck(cx).map(Err),
            ready @ Poll::Ready(_) => ready,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => self.stuck(cx).map(Err),
            ready @ Poll::Ready(_) => ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let (ours, _theirs) = duplex(1024);
        let mut ours = WriteTimeoutStream::with_patience(ours, SHORT);
        let began = Instant::now();
        let error = ours.write_all(&[7; 4096]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= SHORT);
    }

    #[tokio::test]
    async fn a_slow_reader_is_served_and_a_dripping_one_is_not() {
        for (bytes_at_a_time, served) in [(4096, true), (10, false)] {
            let (ours, mut theirs) = duplex(1024);
            let mut ours = WriteTimeoutStream::with_patience(ours, SHORT);
            let reading = tokio::spawn(async move {
                let mut buffer = vec![0; bytes_at_a_time];
                while theirs.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
            let written = ours.write_all(&vec![7; 64 * 1024]).await;
            assert_eq!(written.is_ok(), served, "{bytes_at_a_time} bytes at a time");
            reading.abort();
        }
    }

    #[tokio::test]
    async fn waiting_for_the_next_request_costs_nothing() {
        let (ours, mut theirs) = duplex(64);
        let mut ours = WriteTimeoutStream::with_patience(ours, SHORT);
        for _ in 0..3 {
            ours.write_all(b"answer").await.expect("there is room");
            let mut buffer = [0; 6];
            theirs.read_exact(&mut buffer).await.expect("the answer");
            tokio::time::sleep(SHORT + Duration::from_millis(50)).await;
        }
    }
}
