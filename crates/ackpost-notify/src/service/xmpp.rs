//! XMPP: people and rooms.

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};

use crate::dispatch::{AttemptResult, ConnectionPool, MessageId, Parcel};
use crate::message::Format;
use crate::problem::Diagnostic;
use crate::url::{RawUrl, bounded, jid, jid_targets, percent};

use super::common::shown_word;
use super::xmpp_params::PARAMETERS;
use super::{Chunk, CommonParams, Endpoint, Limits, Measure, ParamValue, Row, Taken, Target, Wire};

/// The row of this service.
pub(super) static ROW: Row = Row {
    name: "xmpp",
    title: "XMPP",
    plain_schemas: &["xmpp"],
    secure_schemas: &["xmpps"],
    setup_url: "https://xmpp.org/getting-started",
    parameters: PARAMETERS,
    parse,
};

const BODY_CHARS: usize = 32_768;
/// Longest body in bytes on the wire. A message carries an HTML text twice, and servers pass on 128 KiB to each other.
const BODY_BYTES: usize = 60 * 1024;
const TITLE_CHARS: usize = 250;

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    None,
    StartTls,
    Tls,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::StartTls => "starttls",
            Self::Tls => "tls",
        }
    }
}

/// Whether a channel-bound login is tried (D18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScramPlus {
    Yes,
    No,
    Require,
}

/// What has to come back before a message counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirm {
    Sent,
    Server,
    Room,
    Receipt,
}

impl Confirm {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Server => "server",
            Self::Room => "room",
            Self::Receipt => "receipt",
        }
    }
}

/// One place of an account's messages.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) jid: String,
    pub(crate) room: bool,
    /// Password of this room, written `#room@conf:password`.
    pub(crate) password: Option<SecretString>,
}

/// One account, and where its messages go.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a parameter of the URL, named as it is written there"
)]
pub(crate) struct Xmpp {
    pub(crate) secure: bool,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// User as written (it may hold `@domain` and `/resource`).
    user: String,
    /// Login JID.
    pub(crate) jid: String,
    pub(crate) password: SecretString,
    /// A password was written, be it empty (the uid tells the two apart).
    has_password: bool,
    pub(crate) mode: Mode,
    /// `mode=` was written; else service records may choose (D16).
    pub(crate) mode_written: bool,
    pub(crate) connect_host: Option<String>,
    pub(crate) nick: String,
    name: Option<String>,
    pub(crate) roster: bool,
    pub(crate) subject: bool,
    pub(crate) keepalive: bool,
    pub(crate) scramplus: ScramPlus,
    pub(crate) confirm: Option<Confirm>,
    pub(crate) room_password: Option<SecretString>,
    pub(crate) create: bool,
    pub(crate) replace: Option<String>,
    pub(crate) fast: bool,
    pub(crate) ca_file: Option<String>,
    pub(crate) plain: bool,
    /// Places in delivery order, none twice.
    pub(crate) places: Vec<Place>,
    /// JIDs (rooms with `#`) as the canonical URL prints them.
    printed: Vec<String>,
}

impl std::fmt::Debug for Xmpp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Xmpp")
            .field("jid", &self.jid)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

fn parse(raw: &RawUrl, taken: &mut Taken<'_>) -> Result<Box<dyn Endpoint>, Diagnostic> {
    let user = raw.user.clone().unwrap_or_default();
    let login = jid::parse(&user, &raw.host).ok_or_else(|| {
        let cause = if user.is_empty() {
            "no user is given"
        } else {
            "the user is no JID"
        };
        Diagnostic::error(
            cause,
            "write xmpps://user:password@host; `: @ / ? # %` inside user or password are written %3A %40 %2F %3F %23 %25",
        )
        .key("user")
    })?;
    let mode_written = taken
        .query
        .get("mode")
        .is_some_and(|mode| !mode.trim().is_empty());
    let (mode, secure) = written_mode(raw.schema == "xmpps", taken)?;
    let to = taken.text("to").map(|to| percent::decode(&to));
    let written = bounded(jid_targets(
        raw.path.iter().map(String::as_str).chain(to.as_deref()),
    ))?;
    let (places, printed) = places(written, &raw.host, taken)?;
    let name = nick_name(taken);
    let nick = name.clone().unwrap_or_else(|| login.local.clone());
    let connect_host = taken.text("xmpp").map(|host| percent::decode(&host));
    if connect_host.as_deref().is_some_and(names_a_port) {
        return Err(Diagnostic::error(
            "`xmpp=` takes a host without a port",
            "write xmpp=HOST, and the port in the address: xmpps://user:password@domain:PORT/?xmpp=HOST",
        )
        .key("xmpp"));
    }
    let scramplus = match taken.text("scramplus") {
        Some(word) if word.eq_ignore_ascii_case("require") => ScramPlus::Require,
        _ if taken.yes_no("scramplus", true) => ScramPlus::Yes,
        _ => ScramPlus::No,
    };
    let confirm = confirm(taken)?;
    let ca_file = taken.local_path("ca_file")?;
    let endpoint = Xmpp {
        secure,
        host: raw.host.clone(),
        port: raw.port,
        jid: login.jid,
        password: SecretString::from(
            raw.password
                .as_ref()
                .map(|password| password.to_string())
                .unwrap_or_default(),
        ),
        mode,
        mode_written,
        has_password: raw.password.is_some(),
        connect_host,
        nick,
        name: name.filter(|name| *name != user),
        roster: taken.yes_no("roster", false),
        subject: taken.yes_no("subject", false),
        keepalive: taken.yes_no("keepalive", false),
        scramplus,
        confirm,
        room_password: taken.text("room_password").map(SecretString::from),
        create: taken.yes_no("create", false),
        replace: taken.text("replace"),
        fast: taken.yes_no("fast", false),
        ca_file,
        plain: taken.yes_no("plain", false),
        places,
        printed,
        user,
    };
    Ok(Box::new(endpoint))
}

/// `host:port` or `[IPv6]:port`.
fn names_a_port(host: &str) -> bool {
    let Some((name, port)) = host.rsplit_once(':') else {
        return false;
    };
    let address = name.starts_with('[') && name.ends_with(']');
    (address || !name.contains(':')) && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// A case-insensitive prefix of `starttls`, `tls`, `none`, tried in that order.
fn written_mode(secure: bool, taken: &mut Taken<'_>) -> Result<(Mode, bool), Diagnostic> {
    let Some(word) = taken.text("mode") else {
        return Ok(if secure {
            (Mode::StartTls, true)
        } else {
            (Mode::None, false)
        });
    };
    let lower = word.to_lowercase();
    let chosen = [Mode::StartTls, Mode::Tls, Mode::None]
        .into_iter()
        .find(|mode| mode.as_str().starts_with(&lower));
    match (chosen, secure) {
        (None, _) => Err(Diagnostic::error(
            format!("the mode `{}` is not known", shown_word(&word)),
            "write mode=none, mode=starttls or mode=tls",
        )
        .key("mode")),
        (Some(Mode::None), true) => {
            taken.warn(
                Diagnostic::warning(
                    "xmpps:// is never unencrypted, mode=none is not used",
                    "write xmpp:// for mode=none",
                )
                .key("mode"),
            );
            Ok((Mode::StartTls, true))
        }
        (Some(Mode::None), false) => Ok((Mode::None, false)),
        (Some(mode), false) => {
            taken.warn(
                Diagnostic::warning(
                    format!("mode={} makes this an xmpps:// URL", mode.as_str()),
                    "write xmpps:// to say so from the start",
                )
                .key("mode"),
            );
            Ok((mode, true))
        }
        (Some(mode), true) => Ok((mode, true)),
    }
}

fn nick_name(taken: &mut Taken<'_>) -> Option<String> {
    let name = taken.text("name")?;
    if name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Some(name);
    }
    taken.warn(
        Diagnostic::warning(
            "the name is not made of letters A-Z, digits and `_` alone, so it is not used",
            "write name= with those characters",
        )
        .key("name"),
    );
    None
}

fn confirm(taken: &mut Taken<'_>) -> Result<Option<Confirm>, Diagnostic> {
    let Some(word) = taken.text("confirm") else {
        return Ok(None);
    };
    let all = [Confirm::Sent, Confirm::Server, Confirm::Room, Confirm::Receipt];
    all.into_iter()
        .find(|one| one.as_str().eq_ignore_ascii_case(&word))
        .map(Some)
        .ok_or_else(|| {
            Diagnostic::error(
                format!("`{}` is no level of confirmation", shown_word(&word)),
                "write confirm=sent, server, room or receipt",
            )
            .key("confirm")
        })
}

/// Sorted places, none twice, and how the canonical URL prints them. Bad ones are dropped and named; when none is
/// left the URL does not load (D6). Nothing written means the account itself.
fn places(
    written: Vec<String>,
    host: &str,
    taken: &mut Taken<'_>,
) -> Result<(Vec<Place>, Vec<String>), Diagnostic> {
    // What is still encoded is read once more, except for a room's password, which may hold anything.
    let mut pieces: Vec<(String, Option<String>)> = Vec::with_capacity(written.len());
    for text in written {
        match room_password(text) {
            (room, Some(password)) => pieces.push((percent::decode(&room), Some(password))),
            (text, None) if text.contains('%') => {
                let decoded = percent::decode(&text);
                pieces.extend(
                    jid_targets([decoded.as_str()])
                        .into_iter()
                        .map(|text| (text, None)),
                );
            }
            whole => pieces.push(whole),
        }
    }
    pieces.sort();
    pieces.dedup();
    let any = !pieces.is_empty();
    let mut places: Vec<Place> = Vec::new();
    let mut printed = Vec::new();
    let mut bad = Vec::new();
    for (text, password) in pieces {
        let Some(jid) = jid::parse(&text, host) else {
            bad.push(shown_target(&text));
            continue;
        };
        let mut shown = if jid.room {
            format!("#{}", jid.jid)
        } else {
            jid.jid.clone()
        };
        if let Some(password) = &password {
            shown.push(':');
            shown.push_str(password);
        }
        printed.push(shown);
        if !places
            .iter()
            .any(|place| place.jid == jid.jid && place.room == jid.room)
        {
            places.push(Place {
                jid: jid.jid,
                room: jid.room,
                password: password.map(SecretString::from),
            });
        }
    }
    let remedy = "write user, user@domain, user@domain%2Fresource, or #room@domain for a room";
    if any && places.is_empty() {
        return Err(Diagnostic::error(
            format!("none of the targets is a JID: {}", bad.join(", ")),
            remedy,
        )
        .key("to"));
    }
    for target in bad {
        taken.warn(Diagnostic::error(format!("the target {target} is no JID"), remedy).key("to"));
    }
    Ok((places, printed))
}

/// `#room@conf:password` (the password percent-encoded) in its two parts. A `:` elsewhere belongs to the JID: only a
/// room whose domain holds no bracket, and what follows is no port number, has a password.
fn room_password(text: String) -> (String, Option<String>) {
    let name = text.strip_prefix('#').or_else(|| text.strip_prefix("%23"));
    // Behind a slash stands the resource; in front of the `@` stands the room's name, without which it is no room.
    let bare = &text[..text.find('/').unwrap_or(text.len())];
    if name.is_some_and(|name| !name.starts_with('@'))
        && let Some(at) = bare.find('@')
        && let Some(colon) = bare[at..].find(':')
    {
        let (jid, password) = text.split_at(at + colon);
        let password = &password[1..];
        if !jid[at..].contains('[')
            && !password.is_empty()
            && !password.bytes().all(|byte| byte.is_ascii_digit() || byte == b':')
        {
            return (jid.to_owned(), Some(percent::decode(password)));
        }
    }
    (text, None)
}

/// A mistyped target as far as it may be repeated: a URL swallowed as a target holds passwords.
fn shown_target(text: &str) -> String {
    if text.chars().count() <= 64 && !text.contains(':') {
        format!("`{text}`")
    } else {
        shown_word(text)
    }
}

impl Xmpp {
    fn default_port(&self) -> u16 {
        if self.mode == Mode::Tls { 5223 } else { 5222 }
    }

    fn schema(&self) -> &'static str {
        if self.secure { "xmpps" } else { "xmpp" }
    }

    /// The account's own bare JID, where messages go when no target is written.
    pub(crate) fn bare_jid(&self) -> &str {
        self.jid.split('/').next().unwrap_or(&self.jid)
    }

    /// A target as the canonical URL prints it, and the password of the room; `None` for the account itself, which
    /// no URL names.
    fn printed_place(&self, target: &Target) -> Option<(String, Option<String>)> {
        let place = self.place(target)?;
        let password = place.password.as_ref();
        Some((
            target.address.clone(),
            password.map(|password| password.expose_secret().to_owned()),
        ))
    }

    /// The place that a target stands for.
    pub(super) fn place(&self, target: &Target) -> Option<&Place> {
        let address = match target.address.strip_prefix('#') {
            Some(room) if target.room => room,
            _ => &target.address,
        };
        self.places
            .iter()
            .find(|place| place.jid == address && place.room == target.room)
    }
}

impl Endpoint for Xmpp {
    fn row(&self) -> &'static Row {
        &ROW
    }

    fn base(&self, secrets: bool, only: Option<&Target>) -> String {
        let password = if secrets {
            percent::encode(self.password.expose_secret())
        } else {
            "****".to_owned()
        };
        let user = percent::encode(&self.jid);
        let mut url = format!("{}://{user}:{password}@{}", self.schema(), self.host);
        if let Some(port) = self.port.filter(|port| *port != self.default_port()) {
            url.push(':');
            url.push_str(&port.to_string());
        }
        url.push('/');
        let printed: Vec<(String, Option<String>)> = match only {
            Some(target) => self.printed_place(target).into_iter().collect(),
            None => self.printed.iter().cloned().map(room_password).collect(),
        };
        for (n, (jid, password)) in printed.into_iter().enumerate() {
            if n > 0 {
                url.push('/');
            }
            url.push_str(&percent::encode(&percent::guarded(&jid)));
            if let Some(password) = password {
                url.push_str("%3A");
                url.push_str(&if secrets {
                    percent::encode(&percent::encode(&password))
                } else {
                    "****".to_owned()
                });
            }
        }
        url
    }

    fn value(&self, name: &str, secrets: bool) -> ParamValue {
        let text = |text: &str| ParamValue::Text(text.to_owned());
        let optional = |value: Option<&str>| value.map_or(ParamValue::None, text);
        match name {
            "mode" => text(self.mode.as_str()),
            "roster" => ParamValue::Bool(self.roster),
            "subject" => ParamValue::Bool(self.subject),
            "keepalive" => ParamValue::Bool(self.keepalive),
            "scramplus" => match self.scramplus {
                ScramPlus::Yes => ParamValue::Bool(true),
                ScramPlus::No => ParamValue::Bool(false),
                ScramPlus::Require => text("require"),
            },
            "name" => text(&self.nick),
            "xmpp" => optional(self.connect_host.as_deref()),
            "confirm" => optional(self.confirm.map(Confirm::as_str)),
            "room_password" => optional(
                self.room_password.as_ref().map(
                    |password| {
                        if secrets { password.expose_secret() } else { "****" }
                    },
                ),
            ),
            "create" => ParamValue::Bool(self.create),
            "fast" => ParamValue::Bool(self.fast),
            "plain" => ParamValue::Bool(self.plain),
            "replace" => optional(self.replace.as_deref()),
            "ca_file" => optional(self.ca_file.as_deref()),
            _ => ParamValue::None,
        }
    }

    fn is_default(&self, name: &str) -> Option<bool> {
        (name == "name").then_some(self.name.is_none())
    }

    fn id_text(&self) -> String {
        let port = self
            .port
            .map_or_else(|| "None".to_owned(), |port| port.to_string());
        let connect = self.connect_host.as_deref().unwrap_or("");
        let password = if self.has_password {
            self.password.expose_secret()
        } else {
            "None"
        };
        format!(
            "{}{}{connect}{}{password}{port}",
            self.schema(),
            self.host,
            self.user
        )
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
        if self.places.is_empty() {
            return vec![Target {
                address: self.bare_jid().to_owned(),
                room: false,
            }];
        }
        self.places
            .iter()
            .map(|place| Target {
                address: if place.room {
                    format!("#{}", place.jid)
                } else {
                    place.jid.clone()
                },
                room: place.room,
            })
            .collect()
    }

    fn target_label(&self, target: &Target) -> String {
        format!("{}://{} to {}", self.schema(), self.bare_jid(), target.address)
    }

    fn limits(&self) -> Limits {
        Limits {
            title: if self.subject { TITLE_CHARS } else { 0 },
            body: BODY_CHARS,
            bytes: BODY_BYTES,
            measure: Measure::Xml,
        }
    }

    fn finish(&self, common: &CommonParams, chunks: Vec<Chunk>, _input: Option<Format>) -> Vec<Chunk> {
        if common.format != Format::Html {
            return chunks;
        }
        chunks
            .into_iter()
            .map(|chunk| Chunk {
                xhtml: Some(chunk.body.to_string()),
                body: crate::render::html_to_text(&chunk.body).into(),
                title: chunk.title,
                cut: chunk.cut,
            })
            .collect()
    }

    fn is_blank(&self, common: &CommonParams, chunk: &Chunk) -> bool {
        common.format != Format::Text
            && super::xmpp_deliver::body_of(common, chunk)
                .chars()
                .all(crate::url::number::is_space)
    }

    fn fix(&self, common: &CommonParams, _target: &Target, chunk: &Chunk, stamp: &MessageId) -> Wire {
        Wire::Xmpp(self.wire(common, chunk, stamp))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn deliver<'a>(
        &'a self,
        common: &'a CommonParams,
        courier: &'a ConnectionPool,
        parcel: &'a Parcel,
    ) -> BoxFuture<'a, Vec<AttemptResult>> {
        Box::pin(self.send(common, courier, parcel))
    }
}
