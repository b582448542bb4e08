//! A file of a message, and the server that keeps it.

use core::fmt;
use core::str::FromStr;

use session_protocol::content::AttachmentPointer;
use session_protocol::encoding::array_from_hex;

use crate::error::{Cause, NetworkError};

/// Maximum number of files of one message.
pub const MAX_FILES: usize = 10;

/// A server that keeps encrypted files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileServer {
    /// Host name.
    pub host: String,
    /// Port for HTTP.
    pub port: u16,
    /// X25519 key, to which requests are sealed.
    pub x25519: [u8; 32],
}

impl FileServer {
    /// Returns the server of Session's apps.
    pub fn public() -> Self {
        Self {
            host: "filev2.getsession.org".to_owned(),
            port: 80,
            // 09324794aa9c11948189762d198c618148e9136ac9582068180661208927ef34
            x25519: [
                0x09, 0x32, 0x47, 0x94, 0xaa, 0x9c, 0x11, 0x94, 0x81, 0x89, 0x76, 0x2d, 0x19, 0x8c, 0x61,
                0x81, 0x48, 0xe9, 0x13, 0x6a, 0xc9, 0x58, 0x20, 0x68, 0x18, 0x06, 0x61, 0x20, 0x89, 0x27,
                0xef, 0x34,
            ],
        }
    }
}

impl FromStr for FileServer {
    type Err = NetworkError;

    /// Reads `X25519@HOST:PORT`.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let read = || {
            let (key, address) = text.split_once('@')?;
            let (host, port) = address.rsplit_once(':')?;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            let is_host = (1..=253).contains(&host.len()) && host.bytes().all(is_name);
            Some(Self {
                host: is_host.then(|| host.to_owned())?,
                port: port.parse().ok().filter(|port| *port != 0)?,
                x25519: array_from_hex(key)?,
            })
        };
        let rule = "a file server is written as `X25519@HOST:PORT`";
        read().ok_or_else(|| NetworkError::new(Cause::Option { rule }))
    }
}

impl fmt::Display for FileServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", hex::encode(self.x25519), self.host, self.port)
    }
}

/// A file on the server, ready to be pointed to by a message. `Debug` does not show its key.
#[derive(Clone, PartialEq)]
pub struct UploadedFile {
    pub(crate) pointer: AttachmentPointer,
}

impl fmt::Debug for UploadedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadedFile")
            .field("name", &self.pointer.file_name)
            .field("size", &self.pointer.size)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_print_as_they_are_written() {
        assert_eq!(
            hex::encode(FileServer::public().x25519),
            "09324794aa9c11948189762d198c618148e9136ac9582068180661208927ef34"
        );
        let server = FileServer::public();
        assert_eq!(server.to_string().parse(), Ok(server.clone()));
        let key = hex::encode(server.x25519);
        for bad in ["", "@h:1", "ab@h:1", "h:1"] {
            assert!(bad.parse::<FileServer>().is_err(), "{bad}");
        }
        for bad in ["h", "h:0", ":1", "h/x:1", "h:70000"] {
            assert!(format!("{key}@{bad}").parse::<FileServer>().is_err(), "{bad}");
        }
    }
}
