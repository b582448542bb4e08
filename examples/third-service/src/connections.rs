//! Connections to peers, kept between deliveries.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ackpost_notify::{BoxFuture, ServicePool};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Longest answer of a peer in bytes.
const ANSWER_BYTES: u64 = 4096;
/// Most connections that are kept.
const KEPT: usize = 64;

/// A connection to a peer.
pub(crate) type Connection = BufReader<TcpStream>;

/// An exchange that failed.
pub(crate) struct Broken {
    pub(crate) cause: String,
    /// The line may have reached the peer.
    pub(crate) written: bool,
}

/// Idle connections by address. The pool of the program keeps it and closes it at the end.
#[derive(Default)]
pub(crate) struct Connections(Mutex<HashMap<String, Connection>>);

impl Connections {
    /// Takes the idle connection to an address, or opens one.
    pub(crate) async fn take(&self, address: &str, limit: Duration) -> Result<Connection, Broken> {
        let idle = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(address);
        if let Some(connection) = idle {
            return Ok(connection);
        }
        let failed = |cause: String| Broken {
            cause,
            written: false,
        };
        match tokio::time::timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(BufReader::new(stream)),
            Ok(Err(error)) => Err(failed(format!("no connection to {address}: {error}"))),
            Err(_) => Err(failed(format!("{address} did not answer the connection in time"))),
        }
    }

    /// Keeps a connection for the next delivery.
    pub(crate) fn keep(&self, address: &str, connection: Connection) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.insert(address.to_owned(), connection);
        }
    }
}

impl ServicePool for Connections {
    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Box::pin(std::future::ready(()))
    }
}

/// Writes one line and reads the line that answers it.
pub(crate) async fn exchange(
    connection: &mut Connection,
    line: &[u8],
    limit: Duration,
) -> Result<String, Broken> {
    let broken = |cause: String| Broken { cause, written: true };
    let talk = async {
        connection.get_mut().write_all(line).await?;
        let mut answer = String::new();
        connection.take(ANSWER_BYTES).read_line(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match tokio::time::timeout(limit, talk).await {
        Ok(Ok(answer)) if answer.ends_with('\n') => Ok(answer.trim_end().to_owned()),
        Ok(Ok(_)) => Err(broken(
            "the peer closed the connection before its answer".to_owned(),
        )),
        Ok(Err(error)) => Err(broken(format!("the connection broke: {error}"))),
        Err(_) => Err(broken("the peer did not answer in time".to_owned())),
    }
}
