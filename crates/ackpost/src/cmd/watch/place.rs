//! The file in which `watch` stores its reading positions.

use std::path::PathBuf;

use ackpost_platform::private_file;
use serde_json::{Map, Value};

use crate::exit::Failure;

/// Longest file of places, bytes: a few numbers for each room.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Changes after which the file is written although more events wait.
const MAX_CHANGES: u32 = 64;

/// Places by source; kept in memory alone when no file is named.
pub(super) struct Cursors {
    file: Option<PathBuf>,
    places: Map<String, Value>,
    /// Changes since the file was written.
    changes: u32,
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
                        "name another file, or remove this one to start again",
                    )
                })?,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Map::new(),
                Err(e) => {
                    return Err(Failure::new(
                        format!("{}: {e}", path.display()),
                        "name a readable file",
                    ));
                }
            },
        };
        // The position survives the loss of power only in a folder that can be named.
        let file = file
            .map(std::path::absolute)
            .transpose()
            .map_err(|e| Failure::new(e.to_string(), "check the path"))?;
        let mut cursors = Self {
            file,
            places,
            changes: 1,
        };
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

    /// Remembers a place. [`Cursors::store`] writes the file; so does this one after many changes.
    pub(super) fn set(&mut self, key: &str, place: Value) -> Result<(), Failure> {
        if self.places.get(key) != Some(&place) {
            self.places.insert(key.to_owned(), place);
            self.changes += 1;
        }
        if self.changes >= MAX_CHANGES {
            self.store()
        } else {
            Ok(())
        }
    }

    /// Replaces the file whole if a place changed: a crash, also of the system, leaves the old file or the new one.
    pub(super) fn store(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.changes) == 0 {
            return Ok(());
        }
        let Some(path) = &self.file else { return Ok(()) };
        let bytes = Value::Object(self.places.clone()).to_string();
        // A folder that does not exist is a mistake in the path.
        path.parent()
            .map_or(Ok(()), |folder| std::fs::metadata(folder).map(drop))
            .and_then(|()| private_file::replace(path, bytes.as_bytes()))
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
        cursors.set("a", 1.into()).expect("it is remembered");
        cursors.set("b", 2.into()).expect("it is remembered");
        cursors.store().expect("it is written");
        let again = Cursors::load(Some(file)).expect("it can be read");
        assert_eq!(
            (again.get("a"), again.get("b")),
            (Some(&1.into()), Some(&2.into()))
        );
        // Nothing is left beside it.
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
        assert!(Cursors::load(None).is_ok());
    }
}
