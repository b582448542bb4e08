//! `gotify://` and `gotifys://`.

use std::fmt;

use ackpost_notify::service::{Finding, Param, ParamReader, Service, ServiceKind, Target, Values};
use ackpost_notify::url::{RawUrl, percent};
use ackpost_notify::{
    Attempt, BoxFuture, Chunk, CommonParams, Confirmation, ConnectionPool, Delivery, Diagnostic, Encoded,
    File, Format, Limits, MessageId, Outcome, ParamValue, Shown,
};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::http::{self, HttpRequest, HttpServer};
use crate::net::Failure;
use crate::piece::{Channel, Piece, SendRun, in_order};

/// Definition of the service for Gotify.
pub static GOTIFY: ServiceKind = ServiceKind::new("gotify", "Gotify", parse)
    .with_schemas(&["gotify"], &["gotifys"])
    .with_parameters(&[
        Param::new(
            "priority",
            Values::Text("low, moderate, normal, high, emergency, or 0 to 10"),
            "normal",
            "Priority of the message: 0, 3, 5, 8 or 10 on the server.",
            "priority=high",
        ),
        http::CA_FILE,
    ])
    .with_url_forms(&[
        "{schema}://{host}/{token}",
        "{schema}://{host}:{port}/{token}",
        "{schema}://{host}{path}{token}",
        "{schema}://{host}:{port}{path}{token}",
    ])
    .with_setup_url("https://gotify.net/docs/pushmsg")
    .with_guests();

/// Priorities with their numbers and the beginnings by which they are read, the longer ones first.
const PRIORITIES: [(&str, u8, &[&str]); 5] = [
    ("emergency", 10, &["e", "10"]),
    ("low", 0, &["l", "0", "1", "2"]),
    ("moderate", 3, &["m", "3", "4"]),
    ("normal", 5, &["n", "5", "6", "7"]),
    ("high", 8, &["h", "8", "9"]),
];

/// One server, and the token of an application there.
struct Gotify {
    server: HttpServer,
    /// Segments in front of the token.
    path: Vec<String>,
    token: String,
    priority: &'static str,
}

impl fmt::Debug for Gotify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gotify")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

fn parse(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> {
    let missing = || {
        Diagnostic::error(
            "the token of the application is missing",
            "write gotifys://host/TOKEN; the token is shown under Apps of the Gotify server",
        )
        .key("token")
    };
    let (token, path) = raw.path().split_last().ok_or_else(missing)?;
    if token.trim().is_empty() {
        return Err(missing());
    }
    http::header("X-Gotify-Key", token.trim()).map_err(|_| missing())?;
    let written = reader.text("priority");
    let priority = written.as_deref().map_or(Some("normal"), |written| {
        let word = written.to_ascii_lowercase();
        let found = PRIORITIES
            .iter()
            .find(|(_, _, begins)| begins.iter().any(|begin| word.starts_with(begin)));
        found.map(|(name, _, _)| *name)
    });
    if priority.is_none() {
        let words = "low, moderate, normal, high, emergency, 0 to 10";
        reader.warn(
            Diagnostic::warning(
                "the priority is not known",
                format!("normal is used; write one of: {words}"),
            )
            .key("priority"),
        );
    }
    Ok(Box::new(Gotify {
        server: HttpServer::read(raw, raw.schema() == "gotifys", reader)?,
        path: path.to_vec(),
        token: token.trim().to_owned(),
        priority: priority.unwrap_or("normal"),
    }))
}

impl Gotify {
    fn schema(&self) -> &'static str {
        if self.server.secure { "gotifys" } else { "gotify" }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // The token was checked when the URL was read.
        if let Ok((name, mut value)) = http::header("x-gotify-key", &self.token) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers
    }

    async fn post(&self, run: &SendRun<'_>, piece: &Piece) -> Result<Attempt, Failure> {
        let number = PRIORITIES.iter().find(|(name, _, _)| *name == self.priority);
        let mut payload = json!({
            "priority": number.map_or(5, |(_, number, _)| *number),
            "title": piece.title,
            "message": piece.body,
        });
        if piece.format() == Format::Markdown {
            payload["extras"] = json!({"client::display": {"contentType": "text/markdown"}});
        }
        let mut headers = self.headers();
        http::count_hops(&mut headers, piece.hops);
        headers.insert(
            HeaderName::from_static("content-type"),
            HeaderValue::from_static("application/json"),
        );
        let request = HttpRequest {
            method: Method::POST,
            url: format!("{}{}/message", self.server.origin(), http::path(&self.path)),
            headers,
            body: payload.to_string().into(),
        };
        let answer = http::send(&self.server, run.common, run.pool, request).await?;
        let json = answer.json();
        if !answer.is_good() {
            let field = |name: &str| json.as_ref()?.get(name)?.as_str().map(str::to_owned);
            let words = field("errorDescription").or_else(|| field("error"));
            return Err(answer.failure(run.common, words.as_deref()));
        }
        let id = json
            .as_ref()
            .and_then(|json| json.get("id"))
            .and_then(Value::as_u64);
        let Some(id) = id else {
            return Err(Failure::permanent(
                format!("{} does not answer like a Gotify server", self.server.address()),
                "check host, port and path in the URL",
            ));
        };
        Ok(Attempt::new(Outcome::Delivered {
            confirmed_by: Confirmation::Server,
            id: Some(id.to_string()),
        }))
    }
}

impl Channel for Gotify {
    fn name(&self) -> &'static str {
        GOTIFY.name
    }

    fn send<'a>(
        &'a self,
        run: &'a SendRun<'a>,
        piece: &'a Piece,
        files: &'a [File],
    ) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let mut attempt = self.post(run, piece).await.unwrap_or_else(Failure::attempt);
            let missing: Vec<String> = files
                .iter()
                .map(|file| format!("`{}`: Gotify carries no files", file.name))
                .collect();
            attempt.outcome = attempt.outcome.without_files(&missing);
            attempt
        })
    }
}

impl Service for Gotify {
    fn kind(&self) -> &'static ServiceKind {
        &GOTIFY
    }

    fn url_base(&self, secrets: bool, _only: Option<&Target>) -> String {
        let token = if secrets {
            percent::encode(&self.token)
        } else {
            "****".to_owned()
        };
        format!(
            "{}://{}{}/{token}",
            self.schema(),
            self.server.address(),
            http::path(&self.path)
        )
    }

    fn value(&self, name: &str, _secrets: bool) -> ParamValue {
        match (name, &self.server.ca_file) {
            ("priority", _) => ParamValue::Text(self.priority.to_owned()),
            ("ca_file", Some(path)) => ParamValue::Text(path.clone()),
            _ => ParamValue::None,
        }
    }

    fn id_text(&self) -> String {
        format!(
            "gotify {}{} {}",
            self.server.origin(),
            http::path(&self.path),
            self.token
        )
    }

    fn host(&self) -> &str {
        &self.server.host
    }

    fn port(&self) -> Option<u16> {
        self.server.port
    }

    fn secure(&self) -> bool {
        self.server.secure
    }

    fn targets(&self) -> Vec<Target> {
        vec![Target {
            address: self.server.address(),
            room: false,
        }]
    }

    fn target_label(&self, _target: &Target) -> String {
        format!(
            "{}://{}{}",
            self.schema(),
            self.server.address(),
            http::path(&self.path)
        )
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::code_points(32_768);
        limits.title = 250;
        limits
    }

    fn encode(&self, _common: &CommonParams, _target: &Target, chunk: &Chunk, id: &MessageId) -> Encoded {
        Piece::new(chunk, id).encode(GOTIFY.name, chunk.cut)
    }

    fn shown(&self, piece: &Encoded) -> Shown {
        Piece::shown(GOTIFY.name, piece)
    }

    fn check<'a>(
        &'a self,
        common: &'a CommonParams,
        pool: &'a ConnectionPool,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let request = HttpRequest {
                method: Method::GET,
                url: format!("{}{}/version", self.server.origin(), http::path(&self.path)),
                headers: HeaderMap::new(),
                body: bytes::Bytes::new(),
            };
            let result = http::send(&self.server, common, pool, request).await;
            let version = result.map_err(Failure::diagnostic).and_then(|answer| {
                let json = answer.json().filter(|_| answer.is_good());
                let version = json.and_then(|json| json.get("version")?.as_str().map(crate::net::said));
                version.ok_or_else(|| {
                    Diagnostic::error(
                        "there is no Gotify server at this address",
                        "check host, port and path in the URL",
                    )
                })
            });
            vec![Finding::new(
                "server",
                version.map(|version| format!("Gotify {version}")),
            )]
        })
    }

    fn deliver<'a>(
        &'a self,
        common: &'a CommonParams,
        pool: &'a ConnectionPool,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(in_order(
            self,
            SendRun {
                common,
                pool,
                delivery,
            },
        ))
    }
}
