//! Session accounts.

use serde_json::{Value, json};
use session_protocol::blind::Blinder;
use session_protocol::{Identity, JoinLink, Prefix, ServerKey, SessionId};

use crate::answer::{Answer, Failure};
use crate::place::{self, Variables};
use pyo3::prelude::*;

/// Longest file with a seed or a phrase, bytes.
const MAX_SECRET_BYTES: u64 = 4096;

/// Makes an account from a seed in hexadecimal.
///
/// # Errors
/// Another text.
pub(crate) fn from_seed(seed: &str) -> Result<Identity, Failure> {
    Identity::from_seed_hex(seed.trim())
        .ok_or_else(|| Failure::config("this is not a seed", "give 64 or 32 hexadecimal digits"))
}

/// Makes an account from a seed or a recovery phrase.
fn from_text(text: &str, place: &str) -> Result<Identity, Failure> {
    let text = text.trim();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Identity::from_seed_hex(text)
        .or_else(|| Identity::from_mnemonic(&words).ok())
        .ok_or_else(|| {
            Failure::config(
                format!("{place} holds neither a seed nor a recovery phrase"),
                "write 64 or 32 hexadecimal digits, or the 13 words, and nothing else",
            )
        })
}

/// Returns true if a text is a seed or a phrase that was given in the wrong place, so that no message may repeat it.
fn is_secret(text: &str) -> bool {
    Identity::from_seed_hex(text.trim()).is_some() || text.split_whitespace().count() >= 12
}

fn from_file(path: &std::path::Path) -> Result<Identity, Failure> {
    if is_secret(&path.to_string_lossy()) && !path.exists() {
        return Err(Failure::config(
            "this is a seed or a phrase, not the name of a file",
            "name the file that holds it",
        ));
    }
    let bytes = ackpost_platform::read_limited(path, MAX_SECRET_BYTES).map_err(|error| {
        Failure::config(
            format!("the file {} cannot be read: {error}", path.display()),
            "name a file that this user may read",
        )
    })?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    from_text(&text, &path.display().to_string())
}

/// Reads an identity that the program `ackpost` stores.
fn stored(name: &str, variables: &Variables) -> Result<Identity, Failure> {
    let clean = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.bytes().all(clean);
    if !is_name || is_secret(name) {
        // The text itself may be a secret that was given in the wrong place.
        return Err(Failure::config(
            "this is not a valid name of an identity",
            "use up to 64 letters, digits, '-', '_' and '.'",
        ));
    }
    let path = place::in_configuration(variables, "identities")?.join(name);
    if !path.exists() {
        return Err(Failure::config(
            format!("identity `{name}` is not stored"),
            "make one with `ackpost identity new`, or list them with `ackpost identity list`",
        ));
    }
    from_file(&path)
}

fn shown(identity: &Identity) -> Value {
    json!({
        "seed": identity.expose_seed_hex().as_str(),
        "session_id": identity.session_id(),
        "phrase": identity.to_mnemonic().map(|phrase| phrase.to_string()),
    })
}

/// Finds or makes an account: `source` is `generate`, `seed`, `phrase`, `file` or `stored`.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "Python hands a copy over")]
pub(crate) fn identity(source: &str, text: &str, environment: Variables) -> String {
    let found = match source {
        "seed" => from_seed(text),
        "phrase" => from_text(text, "the text"),
        "file" => from_file(std::path::Path::new(text)),
        "stored" => stored(text, &environment),
        _ => {
            let mut entropy = [0; 16];
            getrandom::fill(&mut entropy)
                .map(|()| Identity::from_entropy(&entropy))
                .map_err(|error| {
                    Failure::config(
                        format!("cannot get random numbers from the system: {error}"),
                        "try again",
                    )
                })
        }
    };
    Answer::from(found.map(|identity| shown(&identity))).text
}

/// Reads the key of a community server: the key itself, or a join link with it.
fn server_key(text: &str) -> Result<ServerKey, Failure> {
    let text = text.trim();
    text.parse()
        .or_else(|_| text.parse::<JoinLink>().map(|link| link.public_key()))
        .map_err(|_| {
            Failure::config(
                "this is neither a join link nor the key of a community server",
                "give https://HOST/ROOM?public_key=KEY, or the 64 hexadecimal digits of the key",
            )
        })
}

/// Returns the id of the account of this seed in a community that blinds ids.
#[pyfunction]
pub(crate) fn blinded_id(seed: &str, server: &str) -> String {
    let found = from_seed(seed)
        .and_then(|identity| Ok(identity.blind15(&server_key(server)?).id()))
        .map(|id| id.to_string());
    Answer::from(found).text
}

/// Returns true if both ids are of one account in a community.
#[pyfunction]
pub(crate) fn is_same_account(one: &str, other: &str, server: &str) -> String {
    let read = |text: &str| {
        text.parse::<SessionId>().map_err(|_| {
            Failure::config(
                format!("`{text}` is not a Session id"),
                "give 05, 15 or 25 and 64 hexadecimal digits",
            )
        })
    };
    let same = || {
        let (blinder, one, other) = (Blinder::new(&server_key(server)?), read(one)?, read(other)?);
        if one == other {
            return Ok(true);
        }
        // A `15` id leads back to the account, a `25` id does not.
        let account = |id: &SessionId| match id.prefix() {
            Prefix::Account => Some(*id),
            _ => blinder.account15(id).ok(),
        };
        let of = |account: Option<SessionId>, id: &SessionId| {
            account.is_some_and(|account| account == *id || blinder.matches(&account, id))
        };
        Ok(of(account(&one), &other) || of(account(&other), &one))
    };
    Answer::from(same()).text
}
