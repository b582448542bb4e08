//! Reading a URL.

use std::time::Duration;

use ackpost_notify::Diagnostic;
use ackpost_notify::service::ParamReader;
use ackpost_notify::url::{RawUrl, percent};
use secrecy::ExposeSecret;
use session_network::{FileServer, Identity, MAX_SEEDS, Mode, Seed, Sender, SessionId};
use session_protocol::Prefix;
use session_protocol::network::storage::{MAX_TTL_MS, MIN_TTL_MS};

use crate::network_options::NetworkOptions;
use crate::session_dm::SessionDm;

const FORM: &str = "write sessiondm://05…, with ?seed_file=PATH for the account that sends";

/// Reads the URL.
pub(crate) fn parse(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<SessionDm, Diagnostic> {
    let identity = identity(raw, reader)?;
    let recipients = recipients(raw, reader)?;
    let name = reader.text("name");
    if let Some(name) = &name {
        Sender::check_name(name)
            .map_err(|error| Diagnostic::error(error.to_string(), error.remedy()).key("name"))?;
    }
    let mode = reader.one_of(
        "mode",
        Mode::Onion,
        &[("onion", Mode::Onion), ("direct", Mode::Direct)],
    );
    let seeds = seeds(reader)?;
    let file_server = file_server(reader)?;
    let shortest = Duration::from_millis(MIN_TTL_MS);
    let longest = Duration::from_millis(MAX_TTL_MS);
    let ttl = span(reader, "ttl", shortest..=longest)?;
    let expire = span(reader, "expire", shortest..=longest)?;
    Ok(SessionDm {
        identity,
        name,
        host: raw.host().to_owned(),
        recipients,
        network: NetworkOptions {
            mode,
            seeds,
            file_server,
        },
        ttl,
        expire,
    })
}

/// The account that sends: 64 hex digits, 32 (those of a recovery phrase), or the phrase itself.
/// `None` if the URL names none and the program has none.
fn identity(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Option<Identity>, Diagnostic> {
    let written = reader.text("seed");
    let mut seed = written
        .as_deref()
        .or_else(|| raw.expose_password())
        .or_else(|| raw.user())
        .unwrap_or_default()
        .trim();
    if seed.is_empty() {
        let default = reader.default_identity();
        seed = default
            .map(ExposeSecret::expose_secret)
            .unwrap_or_default()
            .trim();
    }
    if seed.is_empty() {
        return Ok(None);
    }
    Identity::from_seed_hex(seed)
        .or_else(|| Identity::from_mnemonic(seed).ok())
        .map(Some)
        .ok_or_else(|| {
            Diagnostic::error(
                "the seed is neither 64 hex digits nor a recovery phrase",
                "write ?seed_file=PATH; the file has the 64 hex digits or the 13 words of the account that sends",
            )
            .key("seed")
        })
}

/// The recipients in the order they are written, none twice.
fn recipients(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Vec<SessionId>, Diagnostic> {
    let to = reader.text("to").map(|to| percent::decode(&to));
    let mut written = vec![raw.host().to_owned()];
    written.extend(raw.targets(to.as_deref())?);
    let mut recipients = Vec::new();
    for text in written {
        let id = text.parse::<SessionId>().ok();
        match id.filter(|id| id.prefix() == Prefix::Account) {
            Some(id) if recipients.contains(&id) => {}
            Some(id) => recipients.push(id),
            None => return Err(not_an_account(&text)),
        }
    }
    Ok(recipients)
}

fn not_an_account(text: &str) -> Diagnostic {
    let prefix = text.get(..2).unwrap_or_default();
    let is_id = text.len() == 66 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let cause = match prefix {
        "15" | "25" if is_id => "this id belongs to a community and has no mailbox",
        "03" if is_id => "this id belongs to a group",
        _ if is_id => "this is a key, not a Session ID: a Session ID starts with 05",
        _ => "a recipient is not a Session ID",
    };
    let remedy = match prefix {
        "15" | "25" if is_id => {
            "write to it with `ackpost dm send LINK ID`, or ask the person for the id that starts with 05"
        }
        _ => FORM,
    };
    Diagnostic::error(cause, remedy).key("to")
}

/// The seeds of a network that is not the public one.
fn seeds(reader: &mut ParamReader<'_>) -> Result<Vec<Seed>, Diagnostic> {
    let Some(text) = reader.text("network") else {
        return Ok(Vec::new());
    };
    let seeds = text
        .split(',')
        .take(MAX_SEEDS + 1)
        .map(|seed| seed.trim().parse());
    let seeds: Result<Vec<Seed>, _> = seeds.collect();
    let seeds = seeds.map_err(|error: session_network::NetworkError| {
        Diagnostic::error("`network` has an entry that is not a seed", error.remedy()).key("network")
    })?;
    if seeds.len() > MAX_SEEDS {
        let cause = format!("`network` has more than {MAX_SEEDS} seeds");
        return Err(Diagnostic::error(cause, "write fewer").key("network"));
    }
    Ok(seeds)
}

/// The server for files of a network that is not the public one.
fn file_server(reader: &mut ParamReader<'_>) -> Result<Option<FileServer>, Diagnostic> {
    let server = reader.text("file_server").map(|text| text.parse()).transpose();
    server.map_err(|error: session_network::NetworkError| {
        Diagnostic::error(error.to_string(), "write KEY@HOST:PORT").key("file_server")
    })
}

fn span(
    reader: &mut ParamReader<'_>,
    name: &'static str,
    limits: core::ops::RangeInclusive<Duration>,
) -> Result<Option<Duration>, Diagnostic> {
    let Some(text) = reader.text(name) else {
        return Ok(None);
    };
    let span = ackpost_platform::span::parse(&text).ok();
    span.filter(|span| limits.contains(span))
        .map(Some)
        .ok_or_else(|| {
            Diagnostic::error(
                format!("`{name}` is not a length of time that nodes accept"),
                "write a time between 10s and 14d, such as 1h or 7d",
            )
            .key(name)
        })
}
