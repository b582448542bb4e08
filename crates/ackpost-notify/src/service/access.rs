//! A service's settings as the client crates take them, for commands that do more than send.

use ackpost_xmpp::{Account, Jid, RoomTarget};
use session_protocol::{RoomToken, ServerKey};
use sogs_client::{Server, ServerBuilder};

use crate::problem::Diagnostic;

/// A community server, ready to be asked, and the rooms of a URL.
#[derive(Debug)]
#[non_exhaustive]
pub struct SogsAccess {
    /// The server; nothing has been sent yet.
    pub server: Server,
    /// The rooms, in the order they were written.
    pub rooms: Vec<RoomToken>,
    /// The display name that was written.
    pub name: Option<String>,
}

/// The settings of a community server, and the rooms of a URL.
#[non_exhaustive]
pub struct SogsParts {
    /// Everything set: identity, blinding, sealing, trust, limits.
    pub builder: ServerBuilder,
    /// The address.
    pub base_url: String,
    /// The server's key.
    pub key: ServerKey,
    /// The rooms, in the order they were written.
    pub rooms: Vec<RoomToken>,
    /// The display name that was written.
    pub name: Option<String>,
    /// The file of certificate authorities that was written.
    pub ca_file: Option<String>,
}

impl std::fmt::Debug for SogsParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SogsParts")
            .field("base_url", &self.base_url)
            .field("rooms", &self.rooms)
            .finish_non_exhaustive()
    }
}

impl SogsParts {
    /// Builds the server.
    ///
    /// # Errors
    /// The client refuses the settings, such as an address or certificate authorities that cannot be used.
    pub fn connect(self) -> Result<SogsAccess, Diagnostic> {
        let server = self
            .builder
            .build()
            .map_err(|error| Diagnostic::error(error.to_string(), error.remedy()))?;
        Ok(SogsAccess {
            server,
            rooms: self.rooms,
            name: self.name,
        })
    }
}

/// An XMPP account, and the rooms and people of a URL.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct XmppParts {
    /// The account.
    pub account: Account,
    /// The rooms.
    pub rooms: Vec<RoomTarget>,
    /// The people; the account itself when no target is written.
    pub people: Vec<Jid>,
}

/// Largest file of certificate authorities.
const CA_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Reads a file of certificate authorities, such as the one of `ca_file=`.
///
/// # Errors
/// The file cannot be read, or has more than 4 MiB.
pub fn authorities(path: &str) -> Result<Vec<u8>, Diagnostic> {
    use std::io::Read as _;
    let fail =
        |cause: String| Diagnostic::error(cause, "name a PEM file that this user may read").key("ca_file");
    let file = std::fs::File::open(path)
        .map_err(|error| fail(format!("the file `{path}` cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    file.take(CA_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(format!("the file `{path}` cannot be read: {error}")))?;
    if bytes.len() as u64 > CA_FILE_BYTES {
        return Err(fail(format!("the file `{path}` is larger than 4 MiB")));
    }
    Ok(bytes)
}
