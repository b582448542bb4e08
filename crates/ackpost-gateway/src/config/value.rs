//! Values of `gateway.toml`: addresses, times, sizes and rates as text, and the error that names the option.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::rate::Rate;
use crate::units;

/// Why a configuration cannot be used: the option and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct ConfigError {
    place: String,
    reason: String,
}

impl ConfigError {
    pub(crate) fn new(place: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self {
            place: place.into(),
            reason: reason.to_string(),
        }
    }

    /// The same with the file in front of the option.
    pub(super) fn in_file(self, path: &Path) -> Self {
        Self {
            place: format!("{}: {}", path.display(), self.place),
            ..self
        }
    }
}

/// One text or a list.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(super) fn addresses(&self, place: &str) -> Result<Vec<SocketAddr>, ConfigError> {
        let all = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more.as_slice(),
        };
        all.iter().map(|one| address(place, one)).collect()
    }
}

fn address(place: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.replace("localhost", "127.0.0.1").parse().map_err(|_| {
        ConfigError::new(
            place,
            format!("`{text}` is not an address; write one like 127.0.0.1:8000"),
        )
    })
}

pub(super) fn time(place: &str, text: Option<String>, default: Duration) -> Result<Duration, ConfigError> {
    text.map_or(Ok(default), |text| {
        units::duration(&text).map_err(|error| ConfigError::new(place, error))
    })
}

pub(super) fn bytes(place: &str, text: Option<String>, default: usize) -> Result<usize, ConfigError> {
    text.map_or(Ok(default), |text| {
        units::size(&text).map_err(|error| ConfigError::new(place, error))
    })
}

pub(super) fn rate(place: &str, text: Option<String>, default: Rate) -> Result<Rate, ConfigError> {
    text.map_or(Ok(default), |text| {
        text.parse()
            .map_err(|error: String| ConfigError::new(place, error))
    })
}
