//! URLs of communities.

use std::sync::OnceLock;

use secrecy::{ExposeSecret as _, SecretString};
use session_protocol::auth::Signer;

use crate::problem::Diagnostic;
use crate::service::reader::ParamReader;
use crate::service::target::Target;
use crate::url::raw::{RawUrl, bounded, targets};
use crate::url::{is_session_id, percent};
use crate::words::shown_word;

/// Longest room token.
const TOKEN_CHARS: usize = 64;
/// The name readers see when none is given.
pub(crate) const DEFAULT_NAME: &str = "Ackpost";

/// Identity that the server is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blind {
    /// As the server's capabilities require.
    Auto,
    /// The blinded identity.
    Yes,
    /// The plain identity.
    No,
}

/// Rule for sealing requests to the server's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encrypt {
    /// Sealed over plain http, direct over https.
    Auto,
    /// Always sealed.
    Yes,
    /// Never sealed.
    No,
}

/// One identity at one server, and the rooms to post to.
#[derive(Debug)]
pub(crate) struct Sogs {
    pub(crate) secure: bool,
    pub(crate) public_key: String,
    pub(crate) seed: SecretString,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// Rooms in the order they were written, none twice (D3).
    pub(crate) rooms: Vec<String>,
    /// Rooms as the canonical URL prints them.
    pub(super) printed_rooms: Vec<String>,
    pub(super) invalid_rooms: Vec<String>,
    pub(crate) name: Option<String>,
    pub(crate) blind: Blind,
    pub(crate) encrypt: Encrypt,
    pub(crate) reply_to: Option<i64>,
    /// Number of the message that is edited.
    pub(crate) edit: Option<i64>,
    pub(crate) whisper: Option<String>,
    pub(crate) ca_file: Option<String>,
    /// Account and blinded id, made when first needed: deriving them costs more than a signature.
    pub(super) signers: OnceLock<Option<(Signer, Signer)>>,
}

/// Reads the parts of a URL.
pub(super) fn parse(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Sogs, Diagnostic> {
    let secure = raw.schema.ends_with('s');
    if is_session_id(&raw.host) {
        return Err(Diagnostic::error(
            "this is the Session ID of a person, not the host of a community",
            "write sessiondm://05…?seed_file=PATH for a direct message",
        )
        .key("host"));
    }
    let public_key = reader
        .text("public_key")
        .or_else(|| reader.text("key"))
        .or_else(|| raw.user.clone())
        .unwrap_or_default();
    let public_key = hex_key(&public_key, "public_key", "the server's public key")?;
    let seed = match reader.text("seed") {
        Some(seed) => SecretString::from(seed),
        None => SecretString::from(
            raw.password
                .as_ref()
                .map(|password| password.to_string())
                .unwrap_or_default(),
        ),
    };
    let seed = SecretString::from(hex_key(seed.expose_secret(), "seed", "the seed")?);
    let to = reader.text("to").map(|to| percent::decode(&to));
    let written = bounded(targets(raw.path.iter().map(String::as_str).chain(to.as_deref())))?;
    let (rooms, printed_rooms, invalid_rooms) = rooms(written, reader)?;
    let blind = reader.one_of(
        "blind",
        Blind::Auto,
        &[("auto", Blind::Auto), ("yes", Blind::Yes), ("no", Blind::No)],
    );
    let encrypt = reader.one_of(
        "encrypt",
        Encrypt::Auto,
        &[
            ("auto", Encrypt::Auto),
            ("yes", Encrypt::Yes),
            ("no", Encrypt::No),
        ],
    );
    let reply_to = number(reader, "reply_to")?;
    let edit = number(reader, "edit")?;
    let whisper = whisper(reader)?;
    let name = reader.text("name");
    let ca_file = reader.local_path("ca_file")?;
    Ok(Sogs {
        secure,
        public_key,
        seed,
        host: raw.host.clone(),
        port: raw.port,
        rooms,
        printed_rooms,
        invalid_rooms,
        name,
        blind,
        encrypt,
        reply_to,
        edit,
        whisper,
        ca_file,
        signers: OnceLock::new(),
    })
}

/// The number of the message that is answered or edited.
fn number(reader: &mut ParamReader<'_>, name: &'static str) -> Result<Option<i64>, Diagnostic> {
    let Some(id) = reader.text(name) else {
        return Ok(None);
    };
    id.parse().ok().filter(|id| *id > 0).map(Some).ok_or_else(|| {
        Diagnostic::error(
            format!("{name} is not a message id"),
            if name == "edit" {
                "write the number of the message that is edited"
            } else {
                "write the number of the message that is answered"
            },
        )
        .key(name)
    })
}

/// The only person who sees the message.
fn whisper(reader: &mut ParamReader<'_>) -> Result<Option<String>, Diagnostic> {
    let Some(id) = reader.text("whisper") else {
        return Ok(None);
    };
    if id.len() == 66 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Some(id.to_lowercase()));
    }
    Err(Diagnostic::error(
        "whisper is not a Session ID",
        "write the 66 hex digits of one person",
    )
    .key("whisper"))
}

/// 64 hex digits, trimmed and lower-cased.
fn hex_key(text: &str, key: &'static str, what: &str) -> Result<String, Diagnostic> {
    let text = crate::url::number::trim(text).to_lowercase();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text);
    }
    let length = text.chars().count();
    let odd = text.chars().position(|c| !c.is_ascii_hexdigit());
    let is_id =
        length == 66 && odd.is_none() && ["05", "15", "25"].iter().any(|prefix| text.starts_with(prefix));
    let cause = match odd {
        _ if text.is_empty() => format!("{what} is missing"),
        _ if is_id => format!("this is a Session id, not {what}"),
        // The place alone: what stands around it is secret.
        Some(place) if length == 64 => {
            format!(
                "{what} is not 64 hex digits (character {} is not a hex digit)",
                place + 1
            )
        }
        _ => format!("{what} is not 64 hex digits (it has {length} characters)"),
    };
    let remedy = match key {
        "seed" if text.is_empty() => {
            "write sessions://PUBLIC_KEY:SEED@host/room or ?seed_file=PATH; on the command line and in files of your own, \
             a join link is enough after `ackpost identity new`"
        }
        "seed" if is_id => {
            "the seed is in the file that `ackpost identity new` names: write ?seed_file= and its path"
        }
        _ => "write sessions://PUBLIC_KEY:SEED@host/room, or ?public_key= and ?seed=",
    };
    Err(Diagnostic::error(cause, remedy).key(key))
}

type Rooms = (Vec<String>, Vec<String>, Vec<String>);

/// Sorts written rooms into those to post to (D3: lower-cased first, first-written order), those the canonical URL
/// prints, and those that are none.
fn rooms(written: Vec<String>, reader: &mut ParamReader<'_>) -> Result<Rooms, Diagnostic> {
    let mut rooms: Vec<String> = Vec::new();
    for text in &written {
        let token = text.to_lowercase();
        if is_token(&token) {
            if !rooms.contains(&token) {
                rooms.push(token);
            }
        } else {
            reader.warn(
                Diagnostic::error(
                    format!("`{}` is not a valid room token", shown_room(&token)),
                    "a token is 1 to 64 letters, digits, `_` and `-`; the other rooms are used",
                )
                .key("to"),
            );
        }
    }
    let mut sorted = written;
    sorted.sort();
    let (mut printed, mut invalid) = (Vec::new(), Vec::new());
    for text in sorted {
        let token = text.to_lowercase();
        if is_token(&token) {
            printed.push(token);
        } else {
            invalid.push(token);
        }
    }
    if rooms.is_empty() {
        let cause = if invalid.is_empty() {
            "no room is given".to_owned()
        } else {
            let names: Vec<String> = invalid
                .iter()
                .map(|room| format!("`{}`", shown_room(room)))
                .collect();
            format!("none of the rooms is a room token: {}", names.join(", "))
        };
        return Err(Diagnostic::error(
            cause,
            "write the room's token after the host, as in sessions://…@host/lobby",
        )
        .key("to"));
    }
    Ok((rooms, printed, invalid))
}

fn is_token(token: &str) -> bool {
    (1..=TOKEN_CHARS).contains(&token.len())
        && token
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

/// A mistyped room as far as it may be repeated: a URL swallowed as a room holds keys.
fn shown_room(room: &str) -> String {
    if room.chars().count() <= 32 && !room.contains(['@', ':']) {
        room.to_owned()
    } else {
        shown_word(room)
    }
}

impl Sogs {
    /// `https://host:port`, as the client wants it.
    pub(crate) fn base_url(&self) -> String {
        let schema = if self.secure { "https" } else { "http" };
        match self.port {
            Some(port) => format!("{schema}://{}:{port}", self.host),
            None => format!("{schema}://{}", self.host),
        }
    }

    pub(super) fn default_port(&self) -> u16 {
        if self.secure { 443 } else { 80 }
    }

    /// The canonical URL without its parameters, with this text in place of the seed.
    pub(super) fn base_with(&self, seed: &str, only: Option<&Target>) -> String {
        let mut url = format!("{}://{}:{seed}@{}", self.schema(), self.public_key, self.host);
        if let Some(port) = self.port.filter(|port| *port != self.default_port()) {
            url.push(':');
            url.push_str(&port.to_string());
        }
        let all = self.printed_rooms.iter().chain(&self.invalid_rooms);
        let rooms: Vec<&String> = match only {
            Some(target) => vec![&target.address],
            None => all.collect(),
        };
        for room in rooms {
            url.push('/');
            url.push_str(&percent::encode(room));
        }
        url
    }

    pub(super) fn schema(&self) -> &'static str {
        if self.secure { "sessions" } else { "session" }
    }
}
