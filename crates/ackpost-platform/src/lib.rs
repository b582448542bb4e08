//! Private files, signals, the service manager, and text that cannot mislead a terminal.
//!
//! Every program and server of Ackpost needs these; nothing here knows messages, communities or commands.
//!
//! ```
//! let folder = std::env::temp_dir().join(format!("ackpost-platform-{}", std::process::id()));
//! let file = folder.join("secret");
//! ackpost_platform::private_file::replace(&file, b"only for me")?;
//! assert_eq!(std::fs::read(&file)?, b"only for me");
//! # std::fs::remove_dir_all(&folder)?;
//! # std::io::Result::Ok(())
//! ```

pub mod disk;
pub mod private_file;
pub mod service;
pub mod span;
pub mod text;

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`std::io::ErrorKind::FileTooLarge`] if it is longer, or the error of the system.
pub fn read_limited(path: &std::path::Path, limit: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("it has more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
