//! The file in which `watch` remembers what has been seen.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::exit::Failure;

/// Longest file of places, bytes: a few numbers for each room.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Places by source; kept in memory alone when no file is named.
pub(super) struct Cursors {
    file: Option<PathBuf>,
    places: Map<String, Value>,
}

impl Cursors {
    /// Reads the file, and writes it as it is: what could not be remembered later is said now.
    pub(super) fn load(file: Option<PathBuf>) -> Result<Self, Failure> {
        let places = match &file {
            None => Map::new(),
            Some(path) => match ackpost_platform::read_limited(path, MAX_FILE_BYTES) {
                Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                    Failure::new(
                        format!("{}: {e}", path.display()),
                        "name another file, or remove this one to begin anew",
                    )
                })?,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Map::new(),
                Err(e) => {
                    return Err(Failure::new(
                        format!("{}: {e}", path.display()),
                        "name a file that can be read",
                    ));
                }
            },
        };
        let cursors = Self { file, places };
        cursors.store()?;
        Ok(cursors)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.places.get(key)
    }

    /// The places of all accounts on a server.
    pub(super) fn of(&self, server: &str) -> Map<String, Value> {
        self.places
            .iter()
            .filter(|(key, _)| key.split(' ').next() == Some(server))
            .map(|(key, place)| (key.clone(), place.clone()))
            .collect()
    }

    /// Remembers a place.
    pub(super) fn set(&mut self, key: &str, place: Value) -> Result<(), Failure> {
        if self.places.get(key) == Some(&place) {
            return Ok(());
        }
        self.places.insert(key.to_owned(), place);
        self.store()
    }

    /// Replaces the file whole, so that a crash leaves the old one or the new one.
    fn store(&self) -> Result<(), Failure> {
        let Some(path) = &self.file else { return Ok(()) };
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let bytes = Value::Object(self.places.clone()).to_string();
        std::fs::write(&new, bytes)
            .and_then(|()| std::fs::rename(&new, path))
            .map_err(|e| {
                Failure::new(
                    format!("the cursor file {} cannot be written: {e}", path.display()),
                    "name a file that can be written",
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_is_said_at_the_start() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Cursors::load(Some(folder.path().join("missing/seen.json"))).is_err());
        let file = folder.path().join("seen.json");
        let mut cursors = Cursors::load(Some(file.clone())).expect("it can be written");
        cursors.set("a", 1.into()).expect("it is written");
        let again = Cursors::load(Some(file)).expect("it can be read");
        assert_eq!(again.get("a"), Some(&1.into()));
        assert!(Cursors::load(None).is_ok());
    }
}
