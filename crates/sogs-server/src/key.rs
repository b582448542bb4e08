//! The key file: 32 raw bytes, readable by the owner alone.

use std::io::Write as _;
use std::path::Path;

use session_core::ServerSecret;
use zeroize::Zeroizing;

use crate::config::ConfigError;

fn failed(path: &Path, message: impl std::fmt::Display) -> ConfigError {
    ConfigError::Key {
        path: path.to_path_buf(),
        message: message.to_string(),
    }
}

/// Reads the server's key.
pub fn load_key(path: &Path) -> Result<ServerSecret, ConfigError> {
    let bytes = Zeroizing::new(std::fs::read(path).map_err(|e| failed(path, e))?);
    let array: Zeroizing<[u8; 32]> = match bytes.len() {
        32 => Zeroizing::new(
            bytes
                .as_slice()
                .try_into()
                .map_err(|_| failed(path, "is not 32 bytes long"))?,
        ),
        // Some operators keep the key as text.
        64..=66 => {
            let text = std::str::from_utf8(&bytes)
                .map_err(|_| failed(path, "is neither 32 bytes nor hexadecimal"))?;
            let mut out = Zeroizing::new([0; 32]);
            hex::decode_to_slice(text.trim(), &mut *out)
                .map_err(|_| failed(path, "is neither 32 bytes nor hexadecimal"))?;
            out
        }
        _ => {
            return Err(failed(
                path,
                "is not 32 bytes long; restore it from a backup, or every join link breaks",
            ));
        }
    };
    Ok(ServerSecret::from_bytes(*array))
}

/// Reads the server's key, or makes one when there is none.
pub fn load_or_create_key(path: &Path) -> Result<ServerSecret, ConfigError> {
    if path.exists() {
        return load_key(path);
    }
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|e| failed(path, e))?;
    write_key(path, &bytes)?;
    load_key(path)
}

/// Writes a key file; an existing one is never overwritten.
pub fn write_key(path: &Path, bytes: &[u8; 32]) -> Result<(), ConfigError> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path).map_err(|e| failed(path, e))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|e| failed(path, e))
}
