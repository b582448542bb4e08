//! XMPP: people and rooms.

mod accounts;
mod deliver;
mod memory;
mod params;
mod piece;
mod pool;
mod smaller;
mod url;

use secrecy::ExposeSecret as _;

use crate::dispatch::delivery::{Attempt, BoxFuture, Delivery, MessageId};
use crate::dispatch::pool::ConnectionPool;
use crate::message::Format;
use crate::problem::Diagnostic;
use crate::render::{Chunk, Limits, Measure};
use crate::url::percent;
use crate::url::raw::RawUrl;

use super::common::{CommonParams, ParamValue};
use super::encoded::{Encoded, Shown};
use super::kind::{Service, ServiceKind};
use super::reader::ParamReader;
use super::target::Target;
use params::{NAME, PARAMETERS};
use piece::XmppPiece;
pub(super) use url::Xmpp;
use url::{Confirm, OmemoMode, ScramPlus, TRUST, room_password};

/// Definition of this service.
pub static KIND: ServiceKind = ServiceKind::new(NAME, "XMPP", parse)
    .with_schemas(&["xmpp"], &["xmpps"])
    .with_parameters(PARAMETERS)
    .with_url_forms(&[
        "{schema}://{user}:{password}@{host}",
        "{schema}://{user}:{password}@{host}:{port}",
        "{schema}://{user}:{password}@{host}/{targets}",
        "{schema}://{user}:{password}@{host}:{port}/{targets}",
    ])
    .with_setup_url("https://xmpp.org/getting-started")
    .with_guests();

const BODY_CHARS: usize = 32_768;
/// Longest body in bytes on the wire. A message carries an HTML text twice, and servers pass on 128 KiB to each other.
const BODY_BYTES: usize = 60 * 1024;
const TITLE_CHARS: usize = 250;

fn parse(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> {
    Ok(Box::new(url::parse(raw, reader)?))
}

impl Service for Xmpp {
    fn kind(&self) -> &'static ServiceKind {
        &KIND
    }

    fn url_base(&self, secrets: bool, only: Option<&Target>) -> String {
        let password = if secrets {
            percent::encode(self.password.expose_secret())
        } else {
            "****".to_owned()
        };
        let user = percent::encode(&self.jid);
        let mut url = format!("{}://{user}:{password}@{}", self.schema(), self.host);
        if let Some(port) = self.port.filter(|port| *port != self.default_port()) {
            url.push(':');
            url.push_str(&port.to_string());
        }
        url.push('/');
        let printed: Vec<(String, Option<String>)> = match only {
            Some(target) => self.printed_recipient(target).into_iter().collect(),
            None => self.printed.iter().cloned().map(room_password).collect(),
        };
        for (n, (jid, password)) in printed.into_iter().enumerate() {
            if n > 0 {
                url.push('/');
            }
            url.push_str(&percent::encode(&percent::guarded(&jid)));
            if let Some(password) = password {
                url.push_str("%3A");
                url.push_str(&if secrets {
                    percent::encode(&percent::encode(&password))
                } else {
                    "****".to_owned()
                });
            }
        }
        url
    }

    fn value(&self, name: &str, secrets: bool) -> ParamValue {
        let text = |text: &str| ParamValue::Text(text.to_owned());
        let optional = |value: Option<&str>| value.map_or(ParamValue::None, text);
        match name {
            "mode" => text(self.mode.as_str()),
            "roster" => ParamValue::Bool(self.roster),
            "subject" => ParamValue::Bool(self.subject),
            "keepalive" => ParamValue::Bool(self.keepalive),
            "scramplus" => match self.scramplus {
                ScramPlus::Yes => ParamValue::Bool(true),
                ScramPlus::No => ParamValue::Bool(false),
                ScramPlus::Require => text("require"),
            },
            "name" => text(&self.nick),
            "xmpp" => optional(self.connect_host.as_deref()),
            "confirm" => optional(self.confirm.map(Confirm::as_str)),
            "room_password" => optional(
                self.room_password.as_ref().map(
                    |password| {
                        if secrets { password.expose_secret() } else { "****" }
                    },
                ),
            ),
            "create" => ParamValue::Bool(self.create),
            "fast" => ParamValue::Bool(self.fast),
            "plain" => ParamValue::Bool(self.plain),
            "replace" => optional(self.replace.as_deref()),
            "edit" => optional(self.edit.as_deref()),
            "ca_file" => optional(self.ca_file.as_deref()),
            "omemo" => optional(self.omemo.map(OmemoMode::as_str)),
            "trust" => optional(
                TRUST
                    .into_iter()
                    .find(|(_, policy)| *policy == self.trust)
                    .map(|(name, _)| name),
            ),
            _ => ParamValue::None,
        }
    }

    fn is_default(&self, name: &str) -> Option<bool> {
        (name == "name").then_some(self.name.is_none())
    }

    fn id_text(&self) -> String {
        let port = self
            .port
            .map_or_else(|| "None".to_owned(), |port| port.to_string());
        let connect = self.connect_host.as_deref().unwrap_or("");
        let password = if self.has_password {
            self.password.expose_secret()
        } else {
            "None"
        };
        format!(
            "{}{}{connect}{}{password}{port}",
            self.schema(),
            self.host,
            self.user
        )
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
        if self.recipients.is_empty() {
            return vec![Target {
                address: self.bare_jid().to_owned(),
                room: false,
            }];
        }
        self.recipients
            .iter()
            .map(|one| Target {
                address: if one.room {
                    format!("#{}", one.jid)
                } else {
                    one.jid.clone()
                },
                room: one.room,
            })
            .collect()
    }

    fn target_label(&self, target: &Target) -> String {
        format!("{}://{} to {}", self.schema(), self.bare_jid(), target.address)
    }

    fn limits(&self) -> Limits {
        Limits {
            title: if self.subject { TITLE_CHARS } else { 0 },
            body: BODY_CHARS,
            bytes: BODY_BYTES,
            measure: Measure::Xml,
        }
    }

    fn convert(&self, common: &CommonParams, chunks: Vec<Chunk>) -> Vec<Chunk> {
        if common.format != Format::Html {
            return chunks;
        }
        chunks
            .into_iter()
            .map(|chunk| Chunk {
                xhtml: Some(chunk.body.to_string()),
                body: crate::render::html_to_text(&chunk.body).into(),
                ..chunk
            })
            .collect()
    }

    fn is_blank(&self, common: &CommonParams, chunk: &Chunk) -> bool {
        common.format != Format::Text
            && deliver::body_of(common, chunk)
                .chars()
                .all(crate::url::number::is_space)
    }

    fn encode(&self, common: &CommonParams, _target: &Target, chunk: &Chunk, id: &MessageId) -> Encoded {
        self.piece(common, chunk, id).encode().cut(chunk.cut)
    }

    fn shown(&self, piece: &Encoded) -> Shown {
        let shown = piece.to_value(NAME).map(|piece: XmppPiece| piece.shown());
        shown.unwrap_or_default()
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
