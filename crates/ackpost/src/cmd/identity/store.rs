//! Identities in the user's configuration folder: one file each, readable by its owner alone.

use std::fs;
use std::io::{ErrorKind, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use session_protocol::Identity;
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::output;
use ackpost_platform::private_file;

/// The identity that is used when none is named.
pub(crate) const DEFAULT: &str = "default";
/// Longest file that is read for a seed or phrase, bytes.
const MAX_SECRET_BYTES: u64 = 4096;

/// `$XDG_CONFIG_HOME/ackpost/identities`, or below `~/.config`.
pub(crate) fn folder() -> Result<PathBuf, Failure> {
    in_configuration("identities")
}

/// A folder of the user's configuration: `$XDG_CONFIG_HOME/ackpost/NAME`, or below `~/.config`.
pub(crate) fn in_configuration(name: &str) -> Result<PathBuf, Failure> {
    let set = |variable: &str| {
        std::env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")))
        .map(|config| config.join("ackpost").join(name))
        .ok_or_else(|| Failure::new("no configuration folder is known", "set HOME or XDG_CONFIG_HOME"))
}

/// The file of a stored identity.
pub(crate) fn path_of(name: &str) -> Result<PathBuf, Failure> {
    let clean = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.');
    if looks_secret(name) {
        return Err(secret_for_name());
    }
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !clean {
        return Err(Failure::usage(
            format!("`{name}` is not a valid name for an identity"),
            "use up to 64 letters, digits, '-', '_' and '.'",
        ));
    }
    Ok(folder()?.join(name))
}

/// Names of the stored identities, sorted.
pub(crate) fn names() -> Result<Vec<String>, Failure> {
    let folder = folder()?;
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(trouble(&folder, &error)),
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| path_of(name).is_ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Stores an identity under a name that is free.
pub(crate) fn save(name: &str, identity: &Identity) -> Result<PathBuf, Failure> {
    let path = path_of(name)?;
    let mut text = identity.expose_seed_hex();
    text.push('\n');
    // Whole, for its owner alone, and never over another one.
    private_file::create(&path, text.as_bytes()).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(
            format!("identity `{name}` already exists"),
            format!("choose another name, or move {} away", path.display()),
        ),
        _ => trouble(&path, &error),
    })?;
    Ok(path)
}

/// A stored identity; `None` if there is none of that name.
pub(crate) fn load(name: &str) -> Result<Option<Identity>, Failure> {
    let path = path_of(name)?;
    match read_secret(&path) {
        Ok(text) => {
            warn_if_open(&path);
            parse(&text, &path.display().to_string()).map(Some)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(neither(&path.display().to_string())),
        Err(error) => Err(trouble(&path, &error)),
    }
}

/// A secret where a name belongs. It is not shown: it is in the process list already, and need not be in a log.
pub(super) fn secret_for_name() -> Failure {
    output::warning(super::ON_THE_COMMAND_LINE);
    Failure::usage(
        "this must be the name of an identity, not its seed or phrase",
        "give a name, and the phrase on standard input",
    )
}

/// Text that is a seed or a phrase rather than a name.
pub(crate) fn looks_secret(text: &str) -> bool {
    text.contains(char::is_whitespace)
        || (matches!(text.len(), 32 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A seed or a phrase.
pub(crate) fn parse(text: &str, place: &str) -> Result<Identity, Failure> {
    let text = text.trim();
    if let Some(identity) = Identity::from_seed_hex(text) {
        return Ok(identity);
    }
    Identity::from_mnemonic(text).map_err(|error| {
        if text.contains(char::is_whitespace) {
            Failure::new(
                format!("{place}: {error}"),
                "check it against the phrase in the app, word by word",
            )
        } else {
            neither(place)
        }
    })
}

/// Error for a text that is not a secret at all.
fn neither(place: &str) -> Failure {
    Failure::new(
        format!("{place} holds neither a recovery phrase nor a seed"),
        "give the 13 words that the app shows, or 64 (or 32) hexadecimal digits",
    )
}

/// Error for a file that gave no text.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::InvalidData => neither(&path.display().to_string()),
        ErrorKind::NotFound => Failure::new(
            format!("file {} does not exist", path.display()),
            "name a file that holds a recovery phrase or a seed",
        ),
        ErrorKind::IsADirectory => Failure::new(
            format!("{} is a folder", path.display()),
            "name a file that holds a recovery phrase or a seed",
        ),
        _ => Failure::new(format!("{}: {error}", path.display()), "name a readable file"),
    }
}

/// A seed or phrase from a file, bounded.
pub(crate) fn read_secret(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(256));
    fs::File::open(path)?
        .take(MAX_SECRET_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// A seed or phrase from standard input, bounded.
pub(crate) fn read_stdin() -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(256));
    if std::io::stdin().is_terminal() {
        output::note("Type the recovery phrase or seed, then Ctrl-D.");
    }
    std::io::stdin()
        .take(MAX_SECRET_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidData => neither("standard input"),
            _ => Failure::new(
                format!("standard input: {error}"),
                "give a recovery phrase as text",
            ),
        })?;
    Ok(text)
}

/// The rights of a file do not tell here who may read it.
#[cfg(not(unix))]
fn warn_if_open(_path: &Path) {}

#[cfg(unix)]
fn warn_if_open(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let others_read = fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
    if others_read {
        output::warning(&format!(
            "{} can be read by others; run `chmod 600` on it",
            path.display()
        ));
    }
}

fn trouble(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        format!("{}: {error}", path.display()),
        "check the permissions of the configuration folder",
    )
}
