//! `json://`, `jsons://`, `form://` and `forms://`: requests whose method, headers and fields the URL chooses.

mod body;

use std::fmt;

use ackpost_notify::service::{Finding, Param, ParamReader, Service, ServiceKind, Target, Values, Written};
use ackpost_notify::url::{Mark, RawUrl};
use ackpost_notify::{
    Attempt, BoxFuture, Chunk, CommonParams, Confirmation, ConnectionPool, Delivery, Diagnostic, Encoded,
    File, Format, Limits, MessageId, Outcome, ParamValue, Shown,
};
use reqwest::Method;
use reqwest::header::HeaderMap;

use crate::http::{self, HttpRequest, HttpServer};
use crate::net::{self, Failure};
use crate::piece::{Channel, Piece, SendRun, in_order};

/// Methods that a URL may choose.
const METHODS: &[&str] = &[
    "POST", "GET", "DELETE", "PUT", "HEAD", "PATCH", "UPDATE", "OPTIONS",
];

const METHOD: Param = Param::new(
    "method",
    Values::Words(METHODS),
    "POST",
    "Method of the request.",
    "method=PUT",
)
.written(Written::Changed);

const FORMS: &[&str] = &[
    "{schema}://{host}",
    "{schema}://{host}:{port}{path}",
    "{schema}://{user}:{password}@{host}{path}",
    "{schema}://{host}{path}?+Header=value&-parameter=value&:field=value",
];

/// Definition of the service for webhooks that take JSON.
pub static JSON: ServiceKind = ServiceKind::new("json", "JSON webhook", parse)
    .with_schemas(&["json"], &["jsons"])
    .with_parameters(&[METHOD, http::CA_FILE])
    .with_url_forms(FORMS)
    .with_setup_url("https://appriseit.com/services/json/")
    .with_formats(&[Format::Text, Format::Html, Format::Markdown])
    .with_guests();

/// Definition of the service for webhooks that take a form.
pub static FORM: ServiceKind = ServiceKind::new("form", "Form webhook", parse)
    .with_schemas(&["form"], &["forms"])
    .with_parameters(&[
        METHOD,
        Param::new(
            "attach-as",
            Values::Text("a name with one of * ? + $ : . % for the number"),
            "file*",
            "Field of a file.",
            "attach-as=document*",
        ),
        http::CA_FILE,
    ])
    .with_url_forms(FORMS)
    .with_setup_url("https://appriseit.com/services/form/")
    .with_formats(&[Format::Text, Format::Html, Format::Markdown])
    .with_guests();

/// Headers that say where a request ends.
const FRAMING: [&str; 6] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
];

/// Names of the fields that every message has.
const FIELDS: [&str; 5] = ["version", "title", "message", "attachments", "type"];

/// One address that takes messages.
struct Webhook {
    kind: &'static ServiceKind,
    server: HttpServer,
    path: String,
    user: Option<String>,
    password: Option<String>,
    method: &'static str,
    pairs: Vec<(Mark, String, String)>,
    attach_as: body::AttachAs,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("kind", &self.kind.name)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

fn parse(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> {
    let kind = if raw.schema().starts_with("form") {
        &FORM
    } else {
        &JSON
    };
    let secure = kind.secure_schemas.contains(&raw.schema());
    let method = match reader.text("method") {
        None => METHODS[0],
        Some(written) => METHODS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(&written))
            .ok_or_else(|| {
                let remedy = format!("write one of: {}", METHODS.join(", "));
                Diagnostic::error("the method is not known", remedy).key("method")
            })?,
    };
    let pairs: Vec<_> = raw
        .pairs()
        .map(|(mark, name, value)| (mark, name.to_owned(), value.to_owned()))
        .collect();
    for (_, name, value) in pairs.iter().filter(|(mark, _, _)| *mark == Mark::Header) {
        http::header(name, value)?;
        if FRAMING.contains(&&*name.to_ascii_lowercase()) {
            return Err(Diagnostic::error(
                "this header is written by Ackpost",
                "remove it: it would say where the request ends",
            )
            .key(name));
        }
    }
    let attach_as = if kind.name == "form" {
        body::AttachAs::read(reader.text("attach-as").as_deref())?
    } else {
        body::AttachAs::default()
    };
    let mut path = http::path(raw.path());
    if raw.has_trailing_slash() && !path.is_empty() {
        path.push('/');
    }
    Ok(Box::new(Webhook {
        kind,
        server: HttpServer::read(raw, secure, reader)?,
        path,
        user: raw.user().map(str::to_owned),
        password: raw.expose_password().map(str::to_owned),
        method,
        pairs,
        attach_as,
    }))
}

impl Webhook {
    fn schema(&self) -> &'static str {
        let schemas = if self.server.secure {
            self.kind.secure_schemas
        } else {
            self.kind.plain_schemas
        };
        schemas.first().copied().unwrap_or_default()
    }

    fn is_form(&self) -> bool {
        self.kind.name == "form"
    }

    fn of(&self, mark: Mark) -> impl Iterator<Item = (&str, &str)> {
        let same = move |pair: &&(Mark, String, String)| pair.0 == mark;
        (self.pairs.iter().filter(same)).map(|(_, name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the request for a message.
    fn request(&self, piece: &Piece, files: &[File]) -> HttpRequest {
        let mut parameters: Vec<(String, String)> = self
            .of(Mark::Query)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let (content_type, body) = if self.is_form() {
            let fields = self.form_fields(piece);
            if self.method == "GET" {
                // The fields are parameters of the address then; those that are written as such stay.
                let written = std::mem::replace(&mut parameters, fields);
                for (name, value) in written {
                    match parameters.iter_mut().find(|(known, _)| *known == name) {
                        Some(known) => known.1 = value,
                        None => parameters.push((name, value)),
                    }
                }
                (None, bytes::Bytes::new())
            } else {
                self.form_body(piece, &fields, files)
            }
        } else {
            let json = self.json_body(piece, files);
            (Some("application/json".to_owned()), json.into())
        };
        let mut headers = HeaderMap::new();
        let mut set = |name: &str, value: &str, secret: bool| {
            // Every value was checked when the URL was read.
            if let Ok((name, mut value)) = http::header(name, value) {
                value.set_sensitive(secret);
                headers.insert(name, value);
            }
        };
        if let Some(content_type) = content_type {
            set("content-type", &content_type, false);
        }
        for (name, value) in self.of(Mark::Header) {
            set(name, value, true);
        }
        if let Some(user) = self.user.as_deref().filter(|user| !user.is_empty()) {
            let login = http::basic(user, self.password.as_deref().unwrap_or_default());
            set("authorization", &login, true);
        }
        http::count_hops(&mut headers, piece.hops);
        HttpRequest {
            // The methods are those of the table.
            method: Method::from_bytes(self.method.as_bytes()).unwrap_or(Method::POST),
            url: format!(
                "{}{}{}",
                self.server.origin(),
                self.path,
                body::query(&parameters)
            ),
            headers,
            body,
        }
    }

    async fn post(&self, run: &SendRun<'_>, piece: &Piece, files: &[File]) -> Result<Attempt, Failure> {
        let request = self.request(piece, files);
        let answer = http::send(&self.server, run.common, run.pool, request).await?;
        if !answer.is_good() {
            let words = String::from_utf8_lossy(&answer.body);
            return Err(answer.failure(run.common, Some(&words)));
        }
        let mut attempt = Attempt::new(Outcome::Delivered {
            confirmed_by: Confirmation::Server,
            id: None,
        });
        let mut missing = Vec::new();
        if self.is_form() && self.method == "GET" {
            missing.extend(
                files
                    .iter()
                    .map(|file| format!("`{}`: GET carries no files", file.name)),
            );
        }
        attempt.outcome = attempt.outcome.without_files(&missing);
        Ok(attempt)
    }
}

impl Channel for Webhook {
    fn name(&self) -> &'static str {
        self.kind.name
    }

    fn send<'a>(
        &'a self,
        run: &'a SendRun<'a>,
        piece: &'a Piece,
        files: &'a [File],
    ) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let sent = match self.post(run, piece, files).await {
                // The text is not lost with its files.
                Err(failure) if failure.too_large && !files.is_empty() => {
                    let all = files.iter().map(|file| format!("`{}`", file.name));
                    let missing = format!("{}: too large for the server", all.collect::<Vec<_>>().join(", "));
                    self.post(run, piece, &[]).await.map(|mut attempt| {
                        attempt.outcome = attempt.outcome.without_files(&[missing]);
                        attempt
                    })
                }
                sent => sent,
            };
            sent.unwrap_or_else(Failure::attempt)
        })
    }
}

impl Service for Webhook {
    fn kind(&self) -> &'static ServiceKind {
        self.kind
    }

    fn url_base(&self, secrets: bool, _only: Option<&Target>) -> String {
        let login = http::credentials(self.user.as_deref(), self.password.as_deref(), secrets);
        format!(
            "{}://{login}{}{}",
            self.schema(),
            self.server.address(),
            self.path
        )
    }

    fn pairs(&self) -> Vec<(Mark, String, String)> {
        self.pairs.clone()
    }

    fn value(&self, name: &str, _secrets: bool) -> ParamValue {
        match (name, &self.server.ca_file) {
            ("method", _) => ParamValue::Text(self.method.to_owned()),
            ("attach-as", _) => ParamValue::Text(self.attach_as.to_string()),
            ("ca_file", Some(path)) => ParamValue::Text(path.clone()),
            _ => ParamValue::None,
        }
    }

    fn id_text(&self) -> String {
        let (user, password) = (self.user.as_deref(), self.password.as_deref());
        format!(
            "{} {}{} {}:{}",
            self.kind.name,
            self.server.origin(),
            self.path,
            user.unwrap_or_default(),
            password.unwrap_or_default()
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
            address: format!("{}{}", self.server.address(), self.path),
            room: false,
        }]
    }

    fn target_label(&self, target: &Target) -> String {
        format!("{}://{}", self.schema(), target.address)
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::code_points(32_768);
        limits.title = 250;
        limits
    }

    fn encode(&self, _common: &CommonParams, _target: &Target, chunk: &Chunk, id: &MessageId) -> Encoded {
        Piece::new(chunk, id).encode(self.kind.name, chunk.cut)
    }

    fn shown(&self, piece: &Encoded) -> Shown {
        Piece::shown(self.kind.name, piece)
    }

    fn check<'a>(
        &'a self,
        common: &'a CommonParams,
        _pool: &'a ConnectionPool,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            // A request could be taken for a message.
            let default = if self.server.secure { 443 } else { 80 };
            let connected =
                net::connect(&self.server.host, self.server.port.unwrap_or(default), common).await;
            let result = connected.map(|_| format!("connected to {}", self.server.address()));
            vec![Finding::new("connect", result.map_err(Failure::diagnostic))]
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
