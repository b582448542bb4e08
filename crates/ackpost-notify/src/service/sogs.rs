//! Session communities (SOGS).

mod deliver;
mod params;
mod piece;
mod pool;
mod url;

use std::time::Duration;

use secrecy::ExposeSecret as _;

use crate::dispatch::delivery::{Attempt, BoxFuture, Delivery, MessageId};
use crate::dispatch::pool::ConnectionPool;
use crate::problem::Diagnostic;
use crate::render::{Chunk, Limits, Measure};
use crate::url::raw::RawUrl;

use super::common::{CommonParams, ParamValue};
use super::encoded::{Encoded, Shown};
use super::kind::{Service, ServiceKind};
use super::reader::ParamReader;
use super::target::Target;
use params::{NAME, PARAMETERS};
use piece::SogsPiece;
pub(super) use url::Sogs;
use url::{Blind, DEFAULT_NAME, Encrypt};

/// Definition of this service.
pub static KIND: ServiceKind = ServiceKind::new(NAME, "Session Open Group Server", parse)
    .with_schemas(&["session"], &["sessions", "sogs"])
    .with_parameters(PARAMETERS)
    .with_url_forms(&[
        "{schema}://{key}:{seed}@{host}/{targets}",
        "{schema}://{key}:{seed}@{host}:{port}/{targets}",
    ])
    .with_setup_url("https://getsession.org")
    .with_guests();

/// Longest body of a message in code points; the server's own limit is in bytes and higher.
const BODY_CHARS: usize = 2000;
/// Longest body of a message in bytes: a code point has four at most.
const BODY_BYTES: usize = 4 * BODY_CHARS;
/// Posts per room that a server takes in [`PACE_WINDOW`].
const PACE_POSTS: u32 = 5;
const PACE_WINDOW: Duration = Duration::from_secs(16);
fn parse(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> {
    Ok(Box::new(url::parse(raw, reader)?))
}

impl Service for Sogs {
    fn kind(&self) -> &'static ServiceKind {
        &KIND
    }

    fn url_base(&self, secrets: bool, only: Option<&Target>) -> String {
        let seed = if secrets {
            self.seed.expose_secret()
        } else {
            "****"
        };
        self.base_with(seed, only)
    }

    fn apprise_base(&self) -> String {
        let seed = self.seed.expose_secret();
        let ends = format!("{}...{}", &seed[..1], &seed[seed.len() - 1..]);
        self.base_with(&ends, None)
    }

    fn value(&self, name: &str, _secrets: bool) -> ParamValue {
        let text = |text: &str| ParamValue::Text(text.to_owned());
        let optional = |value: &Option<String>| value.as_deref().map_or(ParamValue::None, text);
        match name {
            "name" => text(self.name.as_deref().unwrap_or(DEFAULT_NAME)),
            "blind" => text(match self.blind {
                Blind::Auto => "auto",
                Blind::Yes => "yes",
                Blind::No => "no",
            }),
            "encrypt" => text(match self.encrypt {
                Encrypt::Auto => "auto",
                Encrypt::Yes => "yes",
                Encrypt::No => "no",
            }),
            "reply_to" => self.reply_to.map_or(ParamValue::None, ParamValue::Int),
            "edit" => self.edit.map_or(ParamValue::None, ParamValue::Int),
            "whisper" => optional(&self.whisper),
            "ca_file" => optional(&self.ca_file),
            _ => ParamValue::None,
        }
    }

    fn is_default(&self, name: &str) -> Option<bool> {
        (name == "name").then_some(self.name.is_none())
    }

    fn id_text(&self) -> String {
        let port = self.port.unwrap_or_else(|| self.default_port());
        format!("{}{}{}{port}", self.schema(), self.public_key, self.host)
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn port(&self) -> Option<u16> {
        self.port
    }

    fn secure(&self) -> bool {
        self.secure
    }

    fn targets(&self) -> Vec<Target> {
        self.rooms
            .iter()
            .map(|room| Target {
                address: room.clone(),
                room: true,
            })
            .collect()
    }

    fn target_label(&self, target: &Target) -> String {
        let port = self
            .port
            .filter(|port| *port != self.default_port())
            .map(|port| format!(":{port}"));
        format!(
            "{}://{}{}/{}",
            self.schema(),
            self.host,
            port.unwrap_or_default(),
            target.address
        )
    }

    fn limits(&self) -> Limits {
        Limits {
            title: 0,
            body: BODY_CHARS,
            bytes: BODY_BYTES,
            measure: Measure::Utf8,
        }
    }

    fn pace(&self) -> Option<(u32, Duration)> {
        Some((PACE_POSTS, PACE_WINDOW))
    }

    fn encode(&self, _common: &CommonParams, _target: &Target, chunk: &Chunk, id: &MessageId) -> Encoded {
        self.piece(chunk, id).encode().cut(chunk.cut)
    }

    fn shown(&self, piece: &Encoded) -> Shown {
        let body = piece.to_value(NAME).map(|piece: SogsPiece| piece.body);
        Shown {
            body: body.unwrap_or_default(),
            ..Shown::default()
        }
    }

    fn deliver<'a>(
        &'a self,
        common: &'a CommonParams,
        pool: &'a ConnectionPool,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(self.send(common, pool, delivery))
    }
}
