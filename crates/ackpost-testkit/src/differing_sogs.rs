//! A community server that differs from the reference in the ways that bunsogs does.
//!
//! | call | answer |
//! |---|---|
//! | `messages/recent` | the oldest messages, in ascending order |
//! | `message/ID`, `messages/before/ID` | 404 without a body: there is no such call |
//! | `/inbox` and `/outbox` with a limit | 500 |
//! | `/batch` | a part that fails with 500 is an empty object, without a status |
//! | room `closed` | 403 without a body |
//! | room `stuck` | the newest rows to every question for newer ones |
//! | room `odd` | a list of messages in which one element is not a message |
//! | any other room | the rows it was started with |

use std::io::{self, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::fake_sogs::read_request;

/// A running fake; it ends with the value.
#[derive(Debug)]
pub struct DifferingSogs {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    rows: Vec<Value>,
    inbox: Vec<Value>,
    stop: AtomicBool,
}

impl DifferingSogs {
    /// Starts it with messages, in ascending order of `id` and `seqno`, and with the items of everybody's inbox.
    pub fn start(rows: Vec<Value>, inbox: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener
            .local_addr()
            .expect("a bound listener has an address")
            .port();
        let state = Arc::new(State {
            rows,
            inbox,
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stop.load(Ordering::SeqCst) {
                    break;
                }
                let state = Arc::clone(&shared);
                thread::spawn(move || {
                    let _ = state.serve(&stream);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, state }
    }

    /// The port clients use.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for DifferingSogs {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream.try_clone()?;
        while let Some((method, path, _, body)) = read_request(&mut reader)? {
            let (status, answer) = if method == "POST" && path == "/batch" {
                (200, self.batch(&body))
            } else {
                self.answer(&method, &path)
            };
            let body = if answer.is_null() {
                String::new()
            } else {
                answer.to_string()
            };
            write!(
                writer,
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
        }
        Ok(())
    }

    fn batch(&self, body: &[u8]) -> Value {
        let calls: Vec<Value> = serde_json::from_slice(body).unwrap_or_default();
        let parts = calls.iter().map(|call| {
            let word = |name: &str| call[name].as_str().unwrap_or_default();
            match self.answer(word("method"), word("path")) {
                // The part failed inside of the server.
                (500, _) => json!({}),
                (status, Value::Null) => json!({ "code": status, "headers": {}, "body": null }),
                (status, body) => {
                    json!({ "code": status, "headers": { "content-type": "application/json" }, "body": body })
                }
            }
        });
        parts.collect()
    }

    fn answer(&self, method: &str, path: &str) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let limit = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("limit=")?.parse::<usize>().ok());
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (method, &segments[..]) {
            ("GET", ["capabilities"]) => (200, json!({ "capabilities": ["blind", "reactions", "sogs"] })),
            ("GET", ["inbox" | "outbox", ..]) if limit.is_some() => (500, Value::Null),
            ("GET", ["inbox", since @ ..]) => {
                let since = since.last().and_then(|id| id.parse::<u64>().ok()).unwrap_or(0);
                let newer = |item: &&Value| item["id"].as_u64() > Some(since);
                let items: Vec<&Value> = self.inbox.iter().filter(newer).collect();
                if items.is_empty() {
                    (304, Value::Null)
                } else {
                    (200, json!(items))
                }
            }
            ("GET", ["room", "closed", ..]) => (403, Value::Null),
            ("GET", ["room", room]) => (200, self.room(room)),
            ("GET", ["room", room, "pollInfo", counter]) => {
                let mut info =
                    json!({ "token": room, "active_users": 1, "read": true, "write": true, "upload": true });
                if *counter != "1" {
                    info["details"] = self.room(room);
                }
                (200, info)
            }
            ("GET", ["room", "odd", "messages", "recent"]) => {
                let odd = json!({ "id": "x", "data": BASE64.encode("y") });
                (200, self.rows.iter().take(1).chain([&odd]).cloned().collect())
            }
            ("GET", ["room", _, "messages", "recent"]) => (
                200,
                self.rows.iter().take(limit.unwrap_or(100)).cloned().collect(),
            ),
            ("GET", ["room", "stuck", "messages", "since", _]) => {
                let newest = self.rows.len().saturating_sub(limit.unwrap_or(100));
                (200, self.rows[newest..].iter().cloned().collect())
            }
            ("GET", ["room", _, "messages", "since", seqno]) => {
                let seqno = seqno.parse::<i64>().unwrap_or(0);
                let newer = self.rows.iter().filter(|row| row["seqno"].as_i64() > Some(seqno));
                (200, newer.take(limit.unwrap_or(100)).cloned().collect())
            }
            _ => (404, Value::Null),
        }
    }

    fn room(&self, token: &str) -> Value {
        let sequence = self.rows.iter().filter_map(|row| row["seqno"].as_i64()).max();
        json!({
            "token": token, "name": token, "description": null, "info_updates": 1,
            "message_sequence": sequence.unwrap_or(0), "created": 1_700_000_000, "active_users": 1,
            "active_users_cutoff": 604_800, "image_id": null, "pinned_messages": null, "moderators": [],
            "admins": [], "hidden_moderators": null, "hidden_admins": null,
            "read": true, "write": true, "upload": true,
        })
    }
}
