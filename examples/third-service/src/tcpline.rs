//! The service.

use std::fmt;
use std::time::Duration;

use ackpost_notify::service::{Finding, Param, ParamReader, Service, ServiceKind, Target, Values, Written};
use ackpost_notify::url::{RawUrl, percent};
use ackpost_notify::{
    Attempt, BoxFuture, Chunk, CommonParams, Confirmation, ConnectionPool, Delivery, Diagnostic, Encoded,
    File, Limits, MessageId, Outcome, ParamValue, Shown,
};

use crate::connections::{Broken, Connections, exchange};

/// Definition of the service: what a URL may say, and how it is read.
pub static TCPLINE: ServiceKind = ServiceKind::new("tcpline", "TCP line", parse)
    .with_schemas(&["tcpline"], &[])
    .with_parameters(&[
        Param::new(
            "to",
            Values::Text("channels, separated by commas"),
            "",
            "Further channels.",
            "to=ops,night",
        )
        .written(Written::Address),
        Param::new(
            "level",
            Values::Words(&["low", "normal", "high"]),
            "normal",
            "Urgency that the peer shows.",
            "level=high",
        ),
    ])
    .with_url_forms(&["{schema}://{token}@{host}:{port}/{targets}"])
    .with_setup_url("https://example.org/tcpline");

/// Port of a URL that names none.
const PORT: u16 = 7000;

/// One peer, and the channels of a URL.
struct TcpLine {
    token: String,
    host: String,
    port: Option<u16>,
    channels: Vec<String>,
    level: &'static str,
}

impl fmt::Debug for TcpLine {
    /// Does not show the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpLine")
            .field("host", &self.host)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

fn parse(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> {
    let missing = |what: &str, key: &str| {
        Diagnostic::error(
            format!("no {what} is given"),
            "write tcpline://TOKEN@host:port/channel",
        )
        .key(key)
    };
    let channels = raw.targets(reader.text("to").as_deref())?;
    if channels.is_empty() {
        return Err(missing("channel", "to"));
    }
    let levels = [("low", "low"), ("normal", "normal"), ("high", "high")];
    Ok(Box::new(TcpLine {
        token: raw.user().ok_or_else(|| missing("token", "user"))?.to_owned(),
        host: raw.host().to_owned(),
        port: raw.port(),
        channels,
        level: reader.one_of("level", "normal", &levels),
    }))
}

impl TcpLine {
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port.unwrap_or(PORT))
    }

    /// Sends one piece over a kept or a new connection.
    async fn send(
        &self,
        common: &CommonParams,
        pool: &ConnectionPool,
        piece: &Encoded,
        repeat: bool,
    ) -> Attempt {
        let connections = pool.of_service(|_| Connections::default());
        let address = self.address();
        let answered = async {
            let mut connection = connections.take(&address, common.connect_timeout()).await?;
            let answer = exchange(&mut connection, piece.bytes(), common.read_timeout()).await?;
            connections.keep(&address, connection);
            Ok(answer)
        };
        match answered.await {
            Ok(answer) => outcome_of(&answer, id_of(piece)),
            Err(Broken { cause, written }) => {
                let mut attempt = Attempt::new(Outcome::deferred(cause, "check that the peer runs"));
                // The peer recognises the id, so that a repeat is safe; the report says that it may have arrived.
                attempt.may_have_arrived = written || repeat;
                attempt
            }
        }
    }
}

/// Reads an answer of the peer to the message with this id.
fn outcome_of(answer: &str, id: &str) -> Attempt {
    let mut words = answer.splitn(3, ' ');
    let (verb, about) = (words.next().unwrap_or_default(), words.next());
    let rest = words.next().unwrap_or_default().to_owned();
    Attempt::new(match verb {
        // Only an answer about this very message is a proof.
        "OK" if about == Some(id) => Outcome::Delivered {
            confirmed_by: Confirmation::Server,
            id: Some(id.to_owned()),
        },
        "LATER" if about == Some(id) => Outcome::Deferred {
            reason: "the peer is busy".to_owned(),
            remedy: "wait".to_owned(),
            retry_after: rest.parse().ok().map(Duration::from_secs),
        },
        "NO" if about == Some(id) => {
            Outcome::refused(format!("the peer refused it: {rest}"), "check the URL")
        }
        _ => {
            let mut attempt = Attempt::new(Outcome::deferred(
                "the answer of the peer is not understood",
                "check that the port belongs to a tcpline peer",
            ));
            attempt.may_have_arrived = true;
            return attempt;
        }
    })
}

/// The id in an encoded line.
fn id_of(piece: &Encoded) -> &str {
    let line = std::str::from_utf8(piece.bytes()).unwrap_or_default();
    line.split(' ').nth(3).unwrap_or_default()
}

impl Service for TcpLine {
    fn kind(&self) -> &'static ServiceKind {
        &TCPLINE
    }

    fn url_base(&self, secrets: bool, only: Option<&Target>) -> String {
        let token = if secrets {
            percent::encode(&self.token)
        } else {
            "****".to_owned()
        };
        let port = self
            .port
            .filter(|port| *port != PORT)
            .map(|port| format!(":{port}"));
        let channels: Vec<String> = match only {
            Some(target) => vec![percent::encode(&target.address)],
            None => self
                .channels
                .iter()
                .map(|channel| percent::encode(channel))
                .collect(),
        };
        let port = port.unwrap_or_default();
        format!("tcpline://{token}@{}{port}/{}", self.host, channels.join("/"))
    }

    fn value(&self, name: &str, _secrets: bool) -> ParamValue {
        match name {
            "level" => ParamValue::Text(self.level.to_owned()),
            _ => ParamValue::None,
        }
    }

    fn id_text(&self) -> String {
        format!("tcpline {} {}", self.address(), self.token)
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn port(&self) -> Option<u16> {
        self.port
    }

    fn secure(&self) -> bool {
        false
    }

    fn targets(&self) -> Vec<Target> {
        let target = |channel: &String| Target {
            address: channel.clone(),
            room: false,
        };
        self.channels.iter().map(target).collect()
    }

    fn target_label(&self, target: &Target) -> String {
        format!("tcpline://{}/{}", self.address(), target.address)
    }

    fn limits(&self) -> Limits {
        Limits::code_points(1000)
    }

    fn encode(&self, _common: &CommonParams, target: &Target, chunk: &Chunk, id: &MessageId) -> Encoded {
        let words = [&self.token, &target.address, &id.id, self.level, &chunk.body].map(percent::encode);
        Encoded::new(TCPLINE.name, format!("SEND {}\n", words.join(" "))).cut(chunk.cut)
    }

    fn shown(&self, piece: &Encoded) -> Shown {
        let line = String::from_utf8_lossy(piece.bytes());
        let text = line.trim_end().rsplit(' ').next().unwrap_or_default();
        Shown::text(percent::decode(text))
    }

    fn check<'a>(
        &'a self,
        common: &'a CommonParams,
        pool: &'a ConnectionPool,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async {
            let connections = pool.of_service(|_| Connections::default());
            let address = self.address();
            let result = match connections.take(&address, common.connect_timeout()).await {
                Ok(connection) => {
                    connections.keep(&address, connection);
                    Ok(format!("connected to {address}"))
                }
                Err(broken) => Err(Diagnostic::error(broken.cause, "check that the peer runs")),
            };
            vec![Finding::new("connect", result)]
        })
    }

    fn deliver<'a>(
        &'a self,
        common: &'a CommonParams,
        pool: &'a ConnectionPool,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(async move {
            let mut attempts: Vec<Attempt> = Vec::with_capacity(delivery.pieces.len());
            for (number, piece) in delivery.pieces.iter().enumerate() {
                // A later piece must not overtake one that failed.
                let before = attempts.last().is_none_or(|attempt| attempt.outcome.is_taken());
                let mut attempt = if before {
                    self.send(common, pool, piece, delivery.is_repeat(number)).await
                } else {
                    Attempt::new(Outcome::deferred("an earlier piece failed", "send again"))
                };
                if number == 0 {
                    let no_file = |file: &File| format!("`{}`: the protocol carries no files", file.name);
                    let missing: Vec<String> = delivery.files.iter().map(no_file).collect();
                    attempt.outcome = attempt.outcome.without_files(&missing);
                }
                attempts.push(attempt);
            }
            attempts
        })
    }
}
