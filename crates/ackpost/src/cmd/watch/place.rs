//! The file in which `watch` remembers what has been seen.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::exit::Failure;

/// Places by source; kept in memory alone when no file is named.
pub(super) struct Cursors {
    file: Option<PathBuf>,
    places: Map<String, Value>,
}

impl Cursors {
    pub(super) fn load(file: Option<PathBuf>) -> Result<Self, Failure> {
        let places = match &file {
            None => Map::new(),
            Some(path) => match std::fs::read(path) {
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
        Ok(Self { file, places })
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.places.get(key)
    }

    /// Remembers a place; the file is replaced whole, so that a crash leaves the old one or the new one.
    pub(super) fn set(&mut self, key: &str, place: Value) -> Result<(), Failure> {
        if self.places.get(key) == Some(&place) {
            return Ok(());
        }
        self.places.insert(key.to_owned(), place);
        let Some(path) = &self.file else { return Ok(()) };
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let bytes = Value::Object(self.places.clone()).to_string();
        std::fs::write(&new, bytes)
            .and_then(|()| std::fs::rename(&new, path))
            .map_err(|e| {
                Failure::new(
                    format!("{}: {e}", path.display()),
                    "name a file that can be written",
                )
            })
    }
}
