//! Session communities (SOGS).

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use session_protocol::auth::Signer;

use crate::dispatch::{Attempt, Courier, Parcel, Stamp};
use crate::problem::Problem;
use crate::url::{RawUrl, bounded, percent, targets};

use super::common::shown_word;
use super::param::{Param, Values, Written};
use super::{Chunk, Common, Endpoint, Limits, Measure, ParamValue, Row, Taken, Target, Wire};

/// The row of this service.
pub(super) static ROW: Row = Row {
    name: "sogs",
    title: "Session Open Group Server",
    plain_schemas: &["session"],
    secure_schemas: &["sessions", "sogs"],
    setup_url: "https://getsession.org",
    parameters: PARAMETERS,
    parse,
};

/// Parameters of a community URL, in the order of the canonical URL.
static PARAMETERS: &[Param] = &[
    Param::new(
        "to",
        Values::Text("room tokens, separated by commas"),
        "",
        "Further rooms.",
        "to=lobby,ops",
    )
    .written(Written::Address),
    Param::new(
        "public_key",
        Values::Text("64 hex digits"),
        "",
        "Public key of the server, instead of the user in the address.",
        "public_key=KEY",
    )
    .aliases(&["key"])
    .written(Written::Address),
    Param::new(
        "seed",
        Values::Text("64 hex digits"),
        "",
        "Seed of the identity that posts, instead of the password in the address.",
        "seed=SEED",
    )
    .secret()
    .written(Written::Address),
    Param::new(
        "seed_file",
        Values::Text("a path"),
        "",
        "File with the seed. It takes precedence over a seed in the URL.",
        "seed_file=/etc/ackpost/seed",
    )
    .aliases(&["password_file"])
    .written(Written::Address),
    Param::new(
        "name",
        Values::Text("text"),
        "Ackpost",
        "Display name shown to readers.",
        "name=Alerts",
    ),
    Param::new(
        "blind",
        Values::Words(&["auto", "yes", "no"]),
        "auto",
        "Use of the blinded id: `auto` if the server asks for it, `yes` always, `no` never.",
        "blind=yes",
    ),
    Param::new(
        "encrypt",
        Values::Words(&["auto", "yes", "no"]),
        "auto",
        "Sealing of requests to the key of the server: `auto` only over plain HTTP, `yes` always, `no` never.",
        "encrypt=yes",
    ),
    Param::new(
        "reply_to",
        Values::Text("a message number"),
        "",
        "Send a reply to this message.",
        "reply_to=17",
    ),
    Param::new(
        "whisper",
        Values::Text("a Session ID (66 hex digits)"),
        "",
        "Show the message to this person only.",
        "whisper=ID",
    ),
    Param::new(
        "ca_file",
        Values::Text("a path"),
        "",
        "PEM file with the certificate authorities to trust.",
        "ca_file=/etc/ackpost/ca.pem",
    ),
];

/// Longest body of a message in code points; the server's own limit is in bytes and higher.
const BODY_CHARS: usize = 2000;
/// The same in bytes: a code point has four at most.
const BODY_BYTES: usize = 4 * BODY_CHARS;
/// Posts per room that a server takes in [`PACE_WINDOW`].
const PACE_POSTS: u32 = 5;
const PACE_WINDOW: Duration = Duration::from_secs(16);
/// Longest room token.
const TOKEN_CHARS: usize = 64;
/// The name readers see when none is given.
pub(crate) const DEFAULT_NAME: &str = "Ackpost";

/// Which identity the server is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blind {
    /// Whatever the server's capabilities ask for.
    Auto,
    /// The blinded one.
    Yes,
    /// The plain one.
    No,
}

/// Whether requests are sealed to the server's key.
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
    printed_rooms: Vec<String>,
    invalid_rooms: Vec<String>,
    pub(crate) name: Option<String>,
    pub(crate) blind: Blind,
    pub(crate) encrypt: Encrypt,
    pub(crate) reply_to: Option<i64>,
    pub(crate) whisper: Option<String>,
    pub(crate) ca_file: Option<String>,
    /// Account and blinded id, made when first needed: deriving them costs more than a signature.
    pub(super) signers: OnceLock<Option<(Signer, Signer)>>,
}

fn parse(raw: &RawUrl, taken: &mut Taken<'_>) -> Result<Box<dyn Endpoint>, Problem> {
    let secure = raw.schema.ends_with('s');
    let public_key = taken
        .text("public_key")
        .or_else(|| taken.text("key"))
        .or_else(|| raw.user.clone())
        .unwrap_or_default();
    let public_key = hex_key(&public_key, "public_key", "the server's public key")?;
    let seed = match taken.text("seed") {
        Some(seed) => SecretString::from(seed),
        None => SecretString::from(
            raw.password
                .as_ref()
                .map(|password| password.to_string())
                .unwrap_or_default(),
        ),
    };
    let seed = SecretString::from(hex_key(seed.expose_secret(), "seed", "the seed")?);
    let to = taken.text("to").map(|to| percent::decode(&to));
    let written = bounded(targets(raw.path.iter().map(String::as_str).chain(to.as_deref())))?;
    let (rooms, printed_rooms, invalid_rooms) = rooms(written, taken)?;
    let blind = word(
        taken,
        "blind",
        Blind::Auto,
        &[("auto", Blind::Auto), ("yes", Blind::Yes), ("no", Blind::No)],
    );
    let encrypt = word(
        taken,
        "encrypt",
        Encrypt::Auto,
        &[
            ("auto", Encrypt::Auto),
            ("yes", Encrypt::Yes),
            ("no", Encrypt::No),
        ],
    );
    let reply_to = reply_to(taken)?;
    let whisper = whisper(taken)?;
    let name = taken.text("name");
    let ca_file = taken.local_path("ca_file")?;
    Ok(Box::new(Sogs {
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
        whisper,
        ca_file,
        signers: OnceLock::new(),
    }))
}

/// The number of the message that is answered.
fn reply_to(taken: &mut Taken<'_>) -> Result<Option<i64>, Problem> {
    let Some(id) = taken.text("reply_to") else {
        return Ok(None);
    };
    id.parse().ok().filter(|id| *id > 0).map(Some).ok_or_else(|| {
        Problem::error(
            "reply_to is not a message id",
            "write the number of the message that is answered",
        )
        .key("reply_to")
    })
}

/// The only person who sees the message.
fn whisper(taken: &mut Taken<'_>) -> Result<Option<String>, Problem> {
    let Some(id) = taken.text("whisper") else {
        return Ok(None);
    };
    if id.len() == 66 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Some(id.to_lowercase()));
    }
    Err(Problem::error(
        "whisper is not a Session ID",
        "write the 66 hex digits of one person",
    )
    .key("whisper"))
}

/// 64 hex digits, trimmed and lower-cased.
fn hex_key(text: &str, key: &'static str, what: &str) -> Result<String, Problem> {
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
            format!("{what} is not 64 hex digits (character {} is none)", place + 1)
        }
        _ => format!("{what} is not 64 hex digits (it has {length} characters)"),
    };
    let remedy = match key {
        "seed" if text.is_empty() => {
            "write sessions://PUBLIC_KEY:SEED@host/room or ?seed_file=PATH, or make an identity with `ackpost identity \
             new`: a join link is then used as it is"
        }
        "seed" if is_id => {
            "the seed is in the file that `ackpost identity new` names: write ?seed_file= and its path"
        }
        _ => "write sessions://PUBLIC_KEY:SEED@host/room, or ?public_key= and ?seed=",
    };
    Err(Problem::error(cause, remedy).key(key))
}

type Rooms = (Vec<String>, Vec<String>, Vec<String>);

/// Sorts written rooms into those to post to (D3: lower-cased first, first-written order), those the canonical URL
/// prints, and those that are none.
fn rooms(written: Vec<String>, taken: &mut Taken<'_>) -> Result<Rooms, Problem> {
    let mut rooms: Vec<String> = Vec::new();
    for text in &written {
        let token = text.to_lowercase();
        if is_token(&token) {
            if !rooms.contains(&token) {
                rooms.push(token);
            }
        } else {
            taken.warn(
                Problem::error(
                    format!("`{}` is no room token", shown_room(&token)),
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
        return Err(Problem::error(
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

fn word<T: Copy>(taken: &mut Taken<'_>, name: &'static str, default: T, words: &[(&str, T)]) -> T {
    let Some(text) = taken.text(name) else {
        return default;
    };
    if let Some((_, value)) = words.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)) {
        return *value;
    }
    if let Some(yes) = super::common::boolean_word(&text)
        && let Some((_, value)) = words
            .iter()
            .find(|(word, _)| *word == if yes { "yes" } else { "no" })
    {
        return *value;
    }
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    taken.warn(
        Problem::warning(
            format!("`{}` is not known", shown_word(&text)),
            format!("the default is used; write one of: {}", all.join(", ")),
        )
        .key(name),
    );
    default
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

    fn default_port(&self) -> u16 {
        if self.secure { 443 } else { 80 }
    }

    /// The canonical URL without its parameters, with this text in place of the seed.
    fn base_with(&self, seed: &str, only: Option<&Target>) -> String {
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

    fn schema(&self) -> &'static str {
        if self.secure { "sessions" } else { "session" }
    }
}

impl Endpoint for Sogs {
    fn row(&self) -> &'static Row {
        &ROW
    }

    fn base(&self, secrets: bool, only: Option<&Target>) -> String {
        let seed = if secrets {
            self.seed.expose_secret()
        } else {
            "****"
        };
        self.base_with(seed, only)
    }

    fn apprise_base(&self) -> String {
        let seed = self.seed.expose_secret();
        let ends = format!("{}...{}", &seed[..1], &seed[seed.len() - 1..]);
        self.base_with(&ends, None)
    }

    fn value(&self, name: &str, _secrets: bool) -> ParamValue {
        let text = |text: &str| ParamValue::Text(text.to_owned());
        let optional = |value: &Option<String>| value.as_deref().map_or(ParamValue::None, text);
        match name {
            "name" => text(self.name.as_deref().unwrap_or(DEFAULT_NAME)),
            "blind" => text(match self.blind {
                Blind::Auto => "auto",
                Blind::Yes => "yes",
                Blind::No => "no",
            }),
            "encrypt" => text(match self.encrypt {
                Encrypt::Auto => "auto",
                Encrypt::Yes => "yes",
                Encrypt::No => "no",
            }),
            "reply_to" => self.reply_to.map_or(ParamValue::None, ParamValue::Int),
            "whisper" => optional(&self.whisper),
            "ca_file" => optional(&self.ca_file),
            _ => ParamValue::None,
        }
    }

    fn is_default(&self, name: &str) -> Option<bool> {
        (name == "name").then_some(self.name.is_none())
    }

    fn id_text(&self) -> String {
        let port = self.port.unwrap_or_else(|| self.default_port());
        format!("{}{}{}{port}", self.schema(), self.public_key, self.host)
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn port(&self) -> Option<u16> {
        self.port
    }

    fn secure(&self) -> bool {
        self.secure
    }

    fn targets(&self) -> Vec<Target> {
        self.rooms
            .iter()
            .map(|room| Target {
                address: room.clone(),
                room: true,
            })
            .collect()
    }

    fn target_label(&self, target: &Target) -> String {
        let port = self
            .port
            .filter(|port| *port != self.default_port())
            .map(|port| format!(":{port}"));
        format!(
            "{}://{}{}/{}",
            self.schema(),
            self.host,
            port.unwrap_or_default(),
            target.address
        )
    }

    fn limits(&self) -> Limits {
        Limits {
            title: 0,
            body: BODY_CHARS,
            bytes: BODY_BYTES,
            measure: Measure::Utf8,
        }
    }

    fn pace(&self) -> Option<(u32, Duration)> {
        Some((PACE_POSTS, PACE_WINDOW))
    }

    fn fix(&self, _common: &Common, _target: &Target, chunk: &Chunk, stamp: &Stamp) -> Wire {
        Wire::Sogs(self.wire(chunk, stamp))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn deliver<'a>(
        &'a self,
        common: &'a Common,
        courier: &'a Courier,
        parcel: &'a Parcel,
    ) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(self.send(common, courier, parcel))
    }
}
