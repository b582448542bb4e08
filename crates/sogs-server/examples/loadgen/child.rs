//! The server as a child process of the same program, so that its CPU time and memory are its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use session_protocol::ServerKey;
use sogs_server::store::{NewPost, NewRoom, Person, RoomDefaults};
use sogs_server::{Config, Server};

/// A running server.
pub(crate) struct Child {
    process: std::process::Child,
    pub(crate) addr: SocketAddr,
    pub(crate) key: ServerKey,
    pub(crate) started_ms: f64,
}

fn config(dir: &Path, database: Option<&str>) -> Config {
    let mut config = Config::for_dir(dir);
    config.net.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    if let Some(url) = database {
        url.clone_into(&mut config.database.url);
    }
    config
}

/// The child's main: serves until its standard input ends.
pub(crate) fn serve(dir: &Path, database: Option<&str>) {
    let config = config(dir, database);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let running = Server::start(config).await.unwrap();
        println!("{} {}", running.local_addr(), running.public_key());
        tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            let _ = std::io::stdin().read_line(&mut line);
        })
        .await
        .unwrap();
        running.shutdown().await;
    });
}

impl Child {
    pub(crate) fn start(dir: &Path, database: Option<&str>) -> Self {
        Self::run(Command::new(std::env::current_exe().unwrap()), dir, database)
    }

    /// Starts it under limits that a shell sets.
    pub(crate) fn start_limited(dir: &Path, database: Option<&str>, limits: &str) -> Self {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap());
        Self::run(command, dir, database)
    }

    fn run(mut command: Command, dir: &Path, database: Option<&str>) -> Self {
        let begin = Instant::now();
        command
            .arg("serve")
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(url) = database {
            command.args(["--database", url]);
        }
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let started_ms = begin.elapsed().as_secs_f64() * 1000.0;
        let (addr, key) = line.trim().split_once(' ').expect("the server did not start");
        Self {
            process,
            addr: addr.parse().unwrap(),
            key: key.parse().unwrap(),
            started_ms,
        }
    }

    fn status(&self, field: &str) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Resident memory in MB.
    pub(crate) fn memory_mb(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// Highest resident memory in MB.
    pub(crate) fn peak_mb(&self) -> f64 {
        self.status("VmHWM:")
    }

    /// CPU time used so far in seconds, all threads.
    pub(crate) fn cpu(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
        // Fields 14 and 15 of the whole line, in clock ticks of 10 ms.
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// `fill DIR ROOMS MESSAGES USERS`: a database of that size.
pub(crate) fn fill(args: &[String]) {
    fill_dir(
        Path::new(&args[0]),
        None,
        args[1].parse().unwrap(),
        args[2].parse().unwrap(),
        args[3].parse().unwrap(),
    );
}

/// Rooms `room0`…, messages spread over them, and users besides those who will ask.
pub(crate) fn fill_dir(dir: &Path, database: Option<&str>, rooms: i64, messages: i64, users: i64) {
    fill_with(dir, database, (rooms, messages, users), &|_| vec![b'm'; 60]);
}

/// The same with contents of messages.
pub(crate) fn fill_with(
    dir: &Path,
    database: Option<&str>,
    (rooms, messages, users): (i64, i64, i64),
    content: &dyn Fn(i64) -> Vec<u8>,
) {
    let config = config(dir, database);
    // A database without the key of its community does not start.
    if !config.key_path().exists() {
        let mut key = [0; 32];
        getrandom::fill(&mut key).unwrap();
        std::fs::write(config.key_path(), key).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let sink: sogs_server::store::ChangeSink = std::sync::Arc::new(|_| {});
        let store = sogs_server::store::open(&config.store_options(true), sink)
            .await
            .unwrap();
        let now = sogs_server::unix_now();
        let defaults = RoomDefaults {
            read: true,
            accessible: true,
            write: true,
            upload: true,
        };
        let mut ids = Vec::new();
        for n in 0..rooms {
            let new = NewRoom {
                token: format!("room{n}"),
                name: format!("Room {n}"),
                description: None,
                defaults,
                now,
            };
            match store.create_room(new).await.unwrap() {
                Some(id) => ids.push(id),
                None => ids.push(store.room_by_token(format!("room{n}")).await.unwrap().unwrap().id),
            }
        }
        let authors: Vec<i64> = {
            let mut authors = Vec::new();
            let wanted =
                (0..users.max(1)).map(|n| store.ensure_user(Person::named(format!("15{n:064x}")), now - 1e6));
            for part in futures(wanted, 256).await {
                authors.push(part.unwrap().0.user.id);
            }
            authors
        };
        let posts = (0..messages).map(|n| {
            store.post(NewPost {
                room_id: ids[usize::try_from(n % rooms).unwrap()],
                user_id: authors[usize::try_from(n).unwrap() % authors.len()],
                posted_as: None,
                now: now - 86_400.0 + n as f64 * 0.01,
                data: content(n).into(),
                data_size: 160,
                signature: vec![7; 64].into(),
                filtered: false,
                held: None,
                whisper_to: None,
                whisper_mods: false,
                for_moderators_of: None,
                files: Vec::new(),
                files_expire: None,
                windows: Vec::new(),
            })
        });
        for posted in futures(posts, 256).await {
            posted.unwrap();
        }
        store.close().await.unwrap();
    });
}

/// Runs at most `at_once` futures at a time.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>, at_once: usize) -> Vec<T> {
    use futures_util::StreamExt as _;
    futures_util::stream::iter(all)
        .buffer_unordered(at_once)
        .collect()
        .await
}

/// A page of the server, as text.
pub(crate) fn page(server: &Child, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(server.addr).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: loadgen\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
