//! URLs of XMPP accounts.

use ackpost_xmpp::omemo::TrustPolicy;
use secrecy::{ExposeSecret as _, SecretString};

use crate::problem::Diagnostic;
use crate::service::reader::ParamReader;
use crate::service::target::Target;
use crate::url::raw::{RawUrl, bounded, jid_targets};
use crate::url::{jid, percent};
use crate::words::shown_word;

/// Encryption of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    None,
    StartTls,
    Tls,
}

impl Mode {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::StartTls => "starttls",
            Self::Tls => "tls",
        }
    }
}

/// Use of a channel-bound login (D18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScramPlus {
    Yes,
    No,
    Require,
}

/// Confirmation that is required before a message counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirm {
    Sent,
    Server,
    Room,
    Receipt,
}

impl Confirm {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Server => "server",
            Self::Room => "room",
            Self::Receipt => "receipt",
        }
    }
}

/// The mode of end-to-end encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OmemoMode {
    Auto,
    Require,
    RequireAll,
    No,
}

impl OmemoMode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Require => "require",
            Self::RequireAll => "require-all",
            Self::No => "no",
        }
    }
}

/// One person or room that messages go to.
#[derive(Clone)]
pub(crate) struct Recipient {
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
    pub(super) user: String,
    /// Login JID.
    pub(crate) jid: String,
    pub(crate) password: SecretString,
    /// A password was written, be it empty (the uid tells the two apart).
    pub(super) has_password: bool,
    pub(crate) mode: Mode,
    /// `mode=` was written; else service records may choose (D16).
    pub(crate) mode_written: bool,
    pub(crate) connect_host: Option<String>,
    pub(crate) nick: String,
    pub(super) name: Option<String>,
    pub(crate) roster: bool,
    pub(crate) subject: bool,
    pub(crate) keepalive: bool,
    pub(crate) scramplus: ScramPlus,
    pub(crate) confirm: Option<Confirm>,
    pub(crate) room_password: Option<SecretString>,
    pub(crate) create: bool,
    pub(crate) replace: Option<String>,
    /// Id of the message that is corrected.
    pub(crate) edit: Option<String>,
    pub(crate) fast: bool,
    pub(crate) ca_file: Option<String>,
    pub(crate) plain: bool,
    /// `None` when nothing was written: encrypted if the account has keys.
    pub(crate) omemo: Option<OmemoMode>,
    pub(crate) trust: TrustPolicy,
    /// Recipients in delivery order, none twice.
    pub(crate) recipients: Vec<Recipient>,
    /// JIDs (rooms with `#`) as the canonical URL prints them.
    pub(super) printed: Vec<String>,
}

impl std::fmt::Debug for Xmpp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Xmpp")
            .field("jid", &self.jid)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// Reads the parts of a URL.
pub(super) fn parse(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Xmpp, Diagnostic> {
    let user = raw.user.clone().unwrap_or_default();
    let login = jid::parse(&user, &raw.host).ok_or_else(|| {
        let cause = if user.is_empty() {
            "no user is given"
        } else {
            "the user is not a JID"
        };
        Diagnostic::error(
            cause,
            "write xmpps://user:password@host; in user or password, write `: @ / ? # %` as %3A %40 %2F %3F %23 %25",
        )
        .key("user")
    })?;
    let mode_written = reader
        .query
        .get("mode")
        .is_some_and(|mode| !mode.trim().is_empty());
    let (mode, secure) = written_mode(raw.schema == "xmpps", reader)?;
    let to = reader.text("to").map(|to| percent::decode(&to));
    let written = bounded(jid_targets(
        raw.path.iter().map(String::as_str).chain(to.as_deref()),
    ))?;
    let (recipients, printed) = recipients(written, &raw.host, reader)?;
    let name = nick_name(reader);
    let nick = name.clone().unwrap_or_else(|| login.local.clone());
    let connect_host = reader.text("xmpp").map(|host| percent::decode(&host));
    if connect_host.as_deref().is_some_and(names_a_port) {
        return Err(Diagnostic::error(
            "`xmpp=` takes a host without a port",
            "write xmpp=HOST, and the port in the address: xmpps://user:password@domain:PORT/?xmpp=HOST",
        )
        .key("xmpp"));
    }
    let scramplus = match reader.text("scramplus") {
        Some(word) if word.eq_ignore_ascii_case("require") => ScramPlus::Require,
        _ if reader.yes_no("scramplus", true) => ScramPlus::Yes,
        _ => ScramPlus::No,
    };
    let confirm = confirm(reader)?;
    let ca_file = reader.local_path("ca_file")?;
    let omemo = omemo(reader)?;
    let trust = trust(reader)?;
    Ok(Xmpp {
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
        roster: reader.yes_no("roster", false),
        subject: reader.yes_no("subject", false),
        keepalive: reader.yes_no("keepalive", false),
        scramplus,
        confirm,
        room_password: reader.text("room_password").map(SecretString::from),
        create: reader.yes_no("create", false),
        replace: reader.text("replace"),
        edit: reader.text("edit"),
        fast: reader.yes_no("fast", false),
        ca_file,
        plain: reader.yes_no("plain", false),
        omemo,
        trust,
        recipients,
        printed,
        user,
    })
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
fn written_mode(secure: bool, reader: &mut ParamReader<'_>) -> Result<(Mode, bool), Diagnostic> {
    let Some(word) = reader.text("mode") else {
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
            reader.warn(
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
            reader.warn(
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

fn nick_name(reader: &mut ParamReader<'_>) -> Option<String> {
    let name = reader.text("name")?;
    if name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Some(name);
    }
    reader.warn(
        Diagnostic::warning(
            "the name is not made of letters A-Z, digits and `_` alone, so it is not used",
            "write name= with those characters",
        )
        .key("name"),
    );
    None
}

fn confirm(reader: &mut ParamReader<'_>) -> Result<Option<Confirm>, Diagnostic> {
    let Some(word) = reader.text("confirm") else {
        return Ok(None);
    };
    let all = [Confirm::Sent, Confirm::Server, Confirm::Room, Confirm::Receipt];
    all.into_iter()
        .find(|one| one.as_str().eq_ignore_ascii_case(&word))
        .map(Some)
        .ok_or_else(|| {
            Diagnostic::error(
                format!("unknown confirmation level `{}`", shown_word(&word)),
                "write confirm=sent, server, room or receipt",
            )
            .key("confirm")
        })
}

fn omemo(reader: &mut ParamReader<'_>) -> Result<Option<OmemoMode>, Diagnostic> {
    let Some(word) = reader.text("omemo") else {
        return Ok(None);
    };
    let all = [
        OmemoMode::Auto,
        OmemoMode::Require,
        OmemoMode::RequireAll,
        OmemoMode::No,
    ];
    all.into_iter()
        .find(|one| one.as_str().eq_ignore_ascii_case(&word))
        .map(Some)
        .ok_or_else(|| {
            Diagnostic::error(
                format!("`{}` is not a valid value of omemo=", shown_word(&word)),
                "write omemo=auto, require, require-all or no",
            )
            .key("omemo")
        })
}

pub(super) const TRUST: [(&str, TrustPolicy); 3] = [
    ("tofu", TrustPolicy::Tofu),
    ("pinned", TrustPolicy::Pinned),
    ("any", TrustPolicy::Any),
];

fn trust(reader: &mut ParamReader<'_>) -> Result<TrustPolicy, Diagnostic> {
    let Some(word) = reader.text("trust") else {
        return Ok(TrustPolicy::Tofu);
    };
    TRUST
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(&word))
        .map(|(_, policy)| policy)
        .ok_or_else(|| {
            Diagnostic::error(
                format!("`{}` is not a valid value of trust=", shown_word(&word)),
                "write trust=tofu, pinned or any",
            )
            .key("trust")
        })
}

/// Sorted recipients, none twice, and how the canonical URL prints them. Bad ones are dropped and named; when none is
/// left the URL does not load (D6). Nothing written means the account itself.
fn recipients(
    written: Vec<String>,
    host: &str,
    reader: &mut ParamReader<'_>,
) -> Result<(Vec<Recipient>, Vec<String>), Diagnostic> {
    // Text that is still encoded is decoded once more, except for a room's password, which may hold anything.
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
    let mut recipients: Vec<Recipient> = Vec::new();
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
        if !recipients
            .iter()
            .any(|known| known.jid == jid.jid && known.room == jid.room)
        {
            recipients.push(Recipient {
                jid: jid.jid,
                room: jid.room,
                password: password.map(SecretString::from),
            });
        }
    }
    let remedy = "write user, user@domain, user@domain%2Fresource, or #room@domain for a room";
    if any && recipients.is_empty() {
        return Err(Diagnostic::error(
            format!("none of the targets is a JID: {}", bad.join(", ")),
            remedy,
        )
        .key("to"));
    }
    for target in bad {
        reader.warn(Diagnostic::error(format!("the target {target} is not a JID"), remedy).key("to"));
    }
    Ok((recipients, printed))
}

/// `#room@conf:password` (the password percent-encoded) in its two parts. A `:` elsewhere belongs to the JID: only a
/// room whose domain holds no bracket, and what follows is not a port number, has a password.
pub(super) fn room_password(text: String) -> (String, Option<String>) {
    let name = text.strip_prefix('#').or_else(|| text.strip_prefix("%23"));
    // Behind a slash stands the resource; in front of the `@` stands the room's name, without which there is no room.
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
    pub(super) fn default_port(&self) -> u16 {
        if self.mode == Mode::Tls { 5223 } else { 5222 }
    }

    pub(super) fn schema(&self) -> &'static str {
        if self.secure { "xmpps" } else { "xmpp" }
    }

    /// The account's own bare JID, where messages go when no target is written.
    pub(crate) fn bare_jid(&self) -> &str {
        self.jid.split('/').next().unwrap_or(&self.jid)
    }

    /// A target as the canonical URL prints it, and the password of the room; `None` for the account itself, which
    /// no URL names.
    pub(super) fn printed_recipient(&self, target: &Target) -> Option<(String, Option<String>)> {
        let recipient = self.recipient(target)?;
        let password = recipient.password.as_ref();
        Some((
            target.address.clone(),
            password.map(|password| password.expose_secret().to_owned()),
        ))
    }

    /// The recipient that a target stands for.
    pub(super) fn recipient(&self, target: &Target) -> Option<&Recipient> {
        let address = match target.address.strip_prefix('#') {
            Some(room) if target.room => room,
            _ => &target.address,
        };
        self.recipients
            .iter()
            .find(|one| one.jid == address && one.room == target.room)
    }
}
