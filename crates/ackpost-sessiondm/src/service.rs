//! The definition, and the data shared by all messages of a URL.

use std::time::Duration;

use ackpost_notify::service::{
    Finding, Param, ParamReader, Service, ServiceKind, Shown, Target, Values, Written,
};
use ackpost_notify::url::RawUrl;
use ackpost_notify::{
    Attempt, BoxFuture, Chunk, CommonParams, ConnectionPool, Delivery, Diagnostic, Encoded, Limits,
    MessageId, ParamValue,
};
use session_network::{Mode, SessionId};

use crate::piece::Piece;
use crate::proof::EXPERIMENTAL;
use crate::session_dm::{DEFAULT_NAME, NAME, SessionDm};
use crate::url;

/// Definition of the service.
pub static SESSIONDM: ServiceKind = ServiceKind::new(NAME, "Session direct message (experimental)", parse)
    .with_schemas(&[], &["sessiondm"])
    .with_parameters(&[
        Param::new(
            "to",
            Values::Text("Session IDs (05…), separated by commas"),
            "",
            "Further recipients.",
            "to=05ID,05ID",
        )
        .written(Written::Address),
        Param::new(
            "seed",
            Values::Text("64 hex digits or 13 words"),
            "",
            "Seed or recovery phrase of the account that sends. Without one: the stored default identity, else an account that is made \
             once and kept in the state folder (`ackpost dm id` shows it).",
            "seed=SEED",
        )
        .secret()
        .written(Written::Address),
        Param::new(
            "seed_file",
            Values::Text("a path"),
            "",
            "File with the seed. It takes precedence over a seed in the URL.",
            "seed_file=/etc/ackpost/seed",
        )
        .written(Written::Address),
        Param::new(
            "name",
            Values::Text("up to 100 bytes"),
            DEFAULT_NAME,
            "Name of the sender that the recipient sees.",
            "name=Backup",
        ),
        Param::new(
            "mode",
            Values::Words(&["onion", "direct"]),
            "onion",
            "Route of requests: `onion` through three nodes, `direct` to the node that keeps the mailbox, which then sees this \
             machine's address.",
            "mode=direct",
        ),
        Param::new(
            "ttl",
            Values::Text("a length of time from 10s to 14d"),
            "14d",
            "Time for which nodes keep a message that is not fetched.",
            "ttl=2d",
        ),
        Param::new(
            "expire",
            Values::Text("a length of time from 10s to 14d"),
            "",
            "Time after which a message disappears from the devices.",
            "expire=1h",
        ),
        Param::new(
            "network",
            Values::Text("seeds, separated by commas"),
            "",
            "Seeds of another network than the public one: `ED25519@IP:PORT` or `https://HOST:PORT#SHA256`.",
            "network=ED25519@127.0.0.1:22021",
        ),
        Param::new(
            "file_server",
            Values::Text("X25519@HOST:PORT"),
            "",
            "Server for the files of another network.",
            "file_server=X25519@files.example.org:80",
        ),
    ])
    .with_url_forms(&["{schema}://{targets}", "{schema}://:{seed}@{targets}"])
    .with_notice(EXPERIMENTAL)
    .with_setup_url("https://getsession.org");

/// Makes the service of a URL.
fn parse(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> {
    Ok(Box::new(url::parse(raw, reader)?))
}

/// A time as a URL has it.
fn span_text(span: Duration) -> String {
    if span.subsec_millis() == 0 {
        format!("{}s", span.as_secs())
    } else {
        format!("{}ms", span.as_millis())
    }
}

impl Service for SessionDm {
    fn kind(&self) -> &'static ServiceKind {
        &SESSIONDM
    }

    fn url_base(&self, secrets: bool, only: Option<&Target>) -> String {
        let seed = match &self.identity {
            None => String::new(),
            Some(identity) if secrets => format!(":{}@", *identity.expose_seed_hex()),
            Some(_) => ":****@".to_owned(),
        };
        let all = self.recipients.iter().map(ToString::to_string);
        let recipients: Vec<String> = match only {
            Some(target) => vec![target.address.clone()],
            None => all.collect(),
        };
        format!("sessiondm://{seed}{}", recipients.join("/"))
    }

    fn value(&self, name: &str, _secrets: bool) -> ParamValue {
        let span =
            |span: Option<Duration>| span.map_or(ParamValue::None, |span| ParamValue::Text(span_text(span)));
        match name {
            "name" => ParamValue::Text(self.name().to_owned()),
            "mode" => ParamValue::Text(
                match self.network.mode {
                    Mode::Direct => "direct",
                    _ => "onion",
                }
                .to_owned(),
            ),
            "ttl" => self.ttl.map_or_else(
                || ParamValue::Text("14d".to_owned()),
                |ttl| ParamValue::Text(span_text(ttl)),
            ),
            "expire" => span(self.expire),
            "network" if !self.network.seeds.is_empty() => {
                let seeds: Vec<_> = self.network.seeds.iter().map(ToString::to_string).collect();
                ParamValue::Text(seeds.join(","))
            }
            "file_server" => match &self.network.file_server {
                Some(server) => ParamValue::Text(server.to_string()),
                None => ParamValue::None,
            },
            _ => ParamValue::None,
        }
    }

    fn is_default(&self, name: &str) -> Option<bool> {
        match name {
            "name" => Some(self.name.is_none()),
            "ttl" => Some(self.ttl.is_none()),
            _ => None,
        }
    }

    fn id_text(&self) -> String {
        let account = self
            .identity
            .as_ref()
            .map(|identity| identity.session_id().to_string());
        format!(
            "sessiondm {} {}",
            account.as_deref().unwrap_or("default"),
            self.network.name()
        )
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn port(&self) -> Option<u16> {
        None
    }

    fn secure(&self) -> bool {
        true
    }

    fn targets(&self) -> Vec<Target> {
        let target = |id: &SessionId| Target {
            address: id.to_string(),
            room: false,
        };
        self.recipients.iter().map(target).collect()
    }

    fn target_label(&self, target: &Target) -> String {
        format!("sessiondm://{}", target.address)
    }

    fn limits(&self) -> Limits {
        Limits::code_points(session_protocol::content::MAX_BODY_CODE_POINTS)
    }

    fn encode(&self, _common: &CommonParams, _target: &Target, chunk: &Chunk, id: &MessageId) -> Encoded {
        Piece::new(&id.id, &chunk.body).encode().cut(chunk.cut)
    }

    fn shown(&self, piece: &Encoded) -> Shown {
        Shown::text(Piece::read(piece).map(|piece| piece.text).unwrap_or_default())
    }

    fn check<'a>(
        &'a self,
        _common: &'a CommonParams,
        pool: &'a ConnectionPool,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(self.findings(pool))
    }

    fn deliver<'a>(
        &'a self,
        _common: &'a CommonParams,
        pool: &'a ConnectionPool,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(self.send(pool, delivery))
    }
}
