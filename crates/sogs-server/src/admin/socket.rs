//! The local socket of a running server: JSON lines over a Unix socket that only its owner can open.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use super::operation::{AdminError, AdminRequest, Answer};

/// Name of the socket in the folder of the server.
pub const SOCKET: &str = "admin.sock";
/// The longest request in bytes: a room picture of 10 MB in base64 fits.
const MAX_REQUEST: u64 = 16 << 20;
/// The longest answer in bytes.
const MAX_ANSWER: u64 = 64 << 20;
/// Connections at a time.
const MAX_CONNECTIONS: usize = 32;
/// Time after which an idle connection is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Time for which the client waits for an answer: a backup of a large community takes hours.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// Time without an answer after which the client checks that the server is still there.
const SILENCE: Duration = Duration::from_secs(3);
/// Time within which the server must respond to that check.
const LIFE_SIGN: Duration = Duration::from_secs(7);
/// Longest time that the system needs to close the socket of a process that was killed.
const ENDING: Duration = Duration::from_secs(5);
/// Pause before a request that was not read is sent again.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);

/// One line of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Ok(Answer),
    Error(AdminError),
}

/// Handler of the requests that arrive on a socket.
pub(crate) trait RequestHandler: Send + Sync + 'static {
    /// Does one operation.
    fn answer(&self, request: AdminRequest) -> impl Future<Output = Result<Answer, AdminError>> + Send;
}

/// Binds a Unix socket that only its owner can open, in place of one that nobody listens on any more.
///
/// The socket gets its permissions under another name and is then moved into place, so that at no moment
/// it can be opened by others.
pub fn bind_private(path: &Path) -> std::io::Result<UnixListener> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(name);
    // A killed process with the same id may have left the file.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

/// Waits until the server stops (or nobody can stop it any more).
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard that `wait_for` returns may not be held while other branches wait.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves requests until `stop` changes; open ones are answered first.
pub(crate) async fn serve<A: RequestHandler>(
    listener: UnixListener,
    answers: Arc<A>,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the local socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            },
            () = stopped(&mut stop) => break,
        };
        // A connection beyond the bound is closed at once; the client says that the server is busy.
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let (answers, stop) = (Arc::clone(&answers), stop.clone());
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &*answers, stop).await {
                tracing::debug!(%error, "a connection on the local socket ended early");
            }
            drop(permit);
        });
    }
}

async fn converse<A: RequestHandler>(
    stream: UnixStream,
    answers: &A,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut read).take(MAX_REQUEST);
        let size = tokio::select! {
            size = tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line)) => size??,
            () = stopped(&mut stop) => return Ok(()),
        };
        if size == 0 {
            return Ok(());
        }
        let reply = match serde_json::from_slice::<AdminRequest>(&line) {
            Ok(request) => match answers.answer(request).await {
                Ok(answer) => Reply::Ok(answer),
                Err(error) => Reply::Error(error),
            },
            Err(error) => Reply::Error(AdminError::usage(
                format!("cannot read the request: {error}"),
                "use an `ackpost` of the same version as the server",
            )),
        };
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        tokio::time::timeout(IDLE, write.write_all(&text)).await??;
    }
}

/// Result of asking a running server.
#[derive(Debug)]
pub enum SocketReply {
    /// Nobody listens: the server of this folder is stopped.
    Stopped,
    /// The server answered.
    Answered(Result<Answer, AdminError>),
}

/// Asks the running server of a folder; [`SocketReply::Stopped`] when there is none.
///
/// A process that was killed keeps its socket for a moment, and closes connections unread. A request that was not read
/// was not carried out, so it is sent again until the socket is gone or `ENDING` has passed.
pub async fn ask(folder: &Path, request: &AdminRequest) -> std::io::Result<SocketReply> {
    ask_within(folder, request, ENDING).await
}

async fn ask_within(folder: &Path, request: &AdminRequest, ending: Duration) -> std::io::Result<SocketReply> {
    let until = tokio::time::Instant::now() + ending;
    loop {
        match ask_once(folder, request).await {
            Err(error) if was_unread(&error) => {
                if tokio::time::Instant::now() >= until {
                    return Err(no_answer());
                }
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            }
            result => return result,
        }
    }
}

/// Returns true if a server runs in a folder. A process that was killed and keeps its socket for a moment does not count.
pub(crate) async fn is_served(folder: &Path) -> bool {
    is_served_within(folder, ENDING).await
}

async fn is_served_within(folder: &Path, ending: Duration) -> bool {
    let path = folder.join(SOCKET);
    let until = tokio::time::Instant::now() + ending;
    while tokio::time::Instant::now() < until {
        let life_sign = tokio::time::timeout(LIFE_SIGN, life_sign(&path)).await;
        match life_sign {
            Ok(Err(error)) if was_unread(&error) => tokio::time::sleep(BETWEEN_ATTEMPTS).await,
            Ok(Err(_)) => return false,
            // A process that is stopped for a while does not answer, but has the folder.
            Ok(Ok(_)) | Err(_) => return true,
        }
    }
    true
}

/// Returns true if the other side closed the connection before it had read all that was sent.
fn was_unread(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
    )
}

fn no_answer() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::UnexpectedEof,
        "the server is busy or stopping, and did not answer",
    )
}

async fn ask_once(folder: &Path, request: &AdminRequest) -> std::io::Result<SocketReply> {
    let stream = match UnixStream::connect(folder.join(SOCKET)).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(SocketReply::Stopped);
        }
        Err(error) => return Err(error),
    };
    let socket = folder.join(SOCKET);
    let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let (read, mut write) = stream.into_split();
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    let answer = async {
        write.write_all(&text).await?;
        let mut line = Vec::new();
        let mut read = BufReader::new(read).take(MAX_ANSWER);
        tokio::time::timeout(PATIENCE, read.read_until(b'\n', &mut line)).await??;
        Ok::<_, std::io::Error>(line)
    };
    let line = tokio::select! {
        line = answer => line?,
        () = silent(&socket) => {
            let process = process.map_or_else(String::new, |id| format!(" (process {id})"));
            return Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!(
                    "the server{process} runs, but did not answer on its local socket within {} seconds",
                    LIFE_SIGN.as_secs()
                ),
            ));
        }
    };
    if line.is_empty() {
        return Err(no_answer());
    }
    Ok(SocketReply::Answered(match serde_json::from_slice(&line)? {
        Reply::Ok(answer) => Ok(answer),
        Reply::Error(error) => Err(error),
    }))
}

/// Waits until the server of a socket stops responding.
///
/// An operation may take hours, but the server answers an invalid line at once. A connection that it closes counts as
/// a response, too.
async fn silent(path: &Path) {
    loop {
        tokio::time::sleep(SILENCE).await;
        if tokio::time::timeout(LIFE_SIGN, life_sign(path)).await.is_err() {
            return;
        }
    }
}

/// Sends an invalid line, which a server answers at once; returns the size of what came back.
async fn life_sign(path: &Path) -> std::io::Result<usize> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(b"{}\n").await?;
    stream.read(&mut [0; 64]).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::operation::Operation;

    struct Echo;

    impl RequestHandler for Echo {
        async fn answer(&self, request: AdminRequest) -> Result<Answer, AdminError> {
            match request.operation {
                Operation::Status => Ok(Answer::show(request.actor, vec!["fine".into()])),
                _ => Err(AdminError::not_found("nothing", "look elsewhere")),
            }
        }
    }

    fn request(operation: Operation) -> AdminRequest {
        AdminRequest {
            actor: "me".into(),
            dry_run: false,
            operation,
        }
    }

    #[tokio::test]
    async fn asks_and_answers_over_a_private_socket() {
        let folder = tempfile::tempdir().expect("folder");
        assert!(matches!(
            ask(folder.path(), &request(Operation::Status)).await.expect("io"),
            SocketReply::Stopped
        ));
        let path = folder.path().join(SOCKET);
        // A socket file that nobody listens on is replaced.
        drop(bind_private(&path).expect("first"));
        assert!(matches!(
            ask(folder.path(), &request(Operation::Status)).await.expect("io"),
            SocketReply::Stopped
        ));
        let listener = bind_private(&path).expect("second");
        assert_eq!(
            std::fs::metadata(&path).expect("metadata").permissions().mode() & 0o777,
            0o600
        );
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(serve(listener, Arc::new(Echo), stopped));
        let SocketReply::Answered(Ok(answer)) =
            ask(folder.path(), &request(Operation::Status)).await.expect("io")
        else {
            panic!("no answer")
        };
        assert_eq!(
            (answer.data, answer.lines),
            (serde_json::json!("me"), vec!["fine".to_owned()])
        );
        let SocketReply::Answered(Err(error)) =
            ask(folder.path(), &request(Operation::Reload)).await.expect("io")
        else {
            panic!("no error")
        };
        assert_eq!(error.remedy, "look elsewhere");
        assert!(is_served(folder.path()).await);

        let mut raw = UnixStream::connect(&path).await.expect("connect");
        raw.write_all(b"not json\n").await.expect("write");
        let mut line = String::new();
        BufReader::new(&mut raw).read_line(&mut line).await.expect("read");
        assert!(line.contains("cannot read the request"), "{line}");
        stop.send(true).expect("stop");
        server.await.expect("server");
        assert!(!is_served(folder.path()).await);
    }

    /// A process that ends closes its socket after the connections that wait on it.
    #[tokio::test]
    async fn a_socket_that_closes_unread_is_asked_again_until_it_is_gone() {
        let folder = tempfile::tempdir().expect("folder");
        let listener = bind_private(&folder.path().join(SOCKET)).expect("a socket");
        let ending = tokio::spawn(async move {
            for _ in 0..5 {
                drop(listener.accept().await.expect("a connection"));
            }
        });
        let asked = ask(folder.path(), &request(Operation::Status)).await;
        assert!(matches!(asked, Ok(SocketReply::Stopped)), "{asked:?}");
        ending.await.expect("five connections");
        let listener = bind_private(&folder.path().join(SOCKET)).expect("a socket");
        let ending = tokio::spawn(async move { drop(listener.accept().await.expect("a connection")) });
        assert!(!is_served(folder.path()).await);
        ending.await.expect("one connection");
    }

    #[tokio::test]
    async fn a_server_that_closes_every_connection_unread_is_busy() {
        let folder = tempfile::tempdir().expect("folder");
        let listener = bind_private(&folder.path().join(SOCKET)).expect("a socket");
        let busy = tokio::spawn(async move {
            loop {
                drop(listener.accept().await.expect("a connection"));
            }
        });
        let ending = 3 * BETWEEN_ATTEMPTS;
        let error = ask_within(folder.path(), &request(Operation::Status), ending)
            .await
            .expect_err("busy");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        assert!(is_served_within(folder.path(), ending).await);
        busy.abort();
    }
}
