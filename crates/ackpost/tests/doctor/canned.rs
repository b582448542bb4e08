//! A community server of set answers: right in everything but what a test changes.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::{Value, json};

/// Answers of the fake server.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(crate) capabilities: (u16, String),
    /// `Location` of a redirect of the capabilities.
    pub(crate) location: Option<String>,
    pub(crate) date: Option<String>,
    pub(crate) rooms: (u16, String),
    pub(crate) room: Value,
    pub(crate) room_status: u16,
    /// It takes requests and never answers.
    pub(crate) silent: bool,
}

impl Default for Answers {
    fn default() -> Self {
        let room = json!({
            "token": "lobby", "name": "Lobby", "info_updates": 1, "message_sequence": 1, "created": 1.0,
            "active_users": 1, "active_users_cutoff": 604_800.0, "moderators": [], "admins": [],
            "read": true, "write": true, "upload": true,
        });
        Self {
            capabilities: (
                200,
                json!({"capabilities": ["blind", "reactions", "sogs"]}).to_string(),
            ),
            location: None,
            date: None,
            rooms: (200, json!([room]).to_string()),
            room,
            room_status: 200,
            silent: false,
        }
    }
}

/// Serves these answers until the process ends; the port.
pub(crate) fn serve(answers: Answers) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let answers = Arc::new(answers);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            std::thread::spawn(move || connection(&stream, &answers));
        }
    });
    port
}

fn connection(stream: &TcpStream, answers: &Answers) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream.try_clone().ok()?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let path = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        reader.by_ref().take(length).read_to_end(&mut Vec::new()).ok()?;
        if answers.silent {
            std::thread::sleep(std::time::Duration::from_secs(60));
            return None;
        }
        let (status, body) = match path.as_str() {
            "/capabilities" => answers.capabilities.clone(),
            "/rooms" => answers.rooms.clone(),
            "/room/lobby" => (answers.room_status, answers.room.to_string()),
            _ => (404, "no such thing".to_owned()),
        };
        let mut head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        if let Some(date) = &answers.date {
            let _ = write!(head, "Date: {date}\r\n");
        }
        if let (Some(location), "/capabilities") = (&answers.location, path.as_str()) {
            let _ = write!(head, "Location: {location}\r\n");
        }
        write!(writer, "{head}\r\n{body}").ok()?;
    }
}
