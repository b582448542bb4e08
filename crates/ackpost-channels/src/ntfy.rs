//! `ntfy://` and `ntfys://`: reading URLs, and the data shared by all messages.

mod publish;

use std::fmt;

use ackpost_notify::service::{Finding, Param, ParamReader, Service, ServiceKind, Target, Values, Written};
use ackpost_notify::url::{RawUrl, percent};
use ackpost_notify::{
    Attempt, BoxFuture, Chunk, CommonParams, ConnectionPool, Delivery, Diagnostic, Encoded, Limits,
    MessageId, ParamValue, Shown,
};
use reqwest::Method;
use reqwest::header::HeaderMap;

use crate::http::{self, HttpRequest, HttpServer};
use crate::net::{Failure, said};
use crate::piece::{Piece, SendRun, in_order};

/// Definition of the service for ntfy.
pub static NTFY: ServiceKind = ServiceKind::new("ntfy", "ntfy", parse)
    .with_schemas(&["ntfy"], &["ntfys"])
    .with_parameters(&[
        Param::new("to", Values::Text("topics, separated by commas"), "", "Further topics.", "to=ops,night")
            .written(Written::Address),
        Param::new(
            "mode",
            Values::Words(&["private", "cloud"]),
            "",
            "`cloud` sends to https://ntfy.sh, `private` to the host of the URL. The default is `private` if the URL has a host and \
             a topic.",
            "mode=cloud",
        ),
        Param::new(
            "auth",
            Values::Words(&["basic", "token"]),
            "",
            "Login method. The default is `token` if the user begins with tk_, else `basic`.",
            "auth=token",
        ),
        Param::new("token", Values::Text("a token"), "", "Access token, instead of the user in the address.", "token=tk_SECRET")
            .secret()
            .written(Written::Address),
        Param::new(
            "priority",
            Values::Text("min, low, default, high, max, or 1 to 5"),
            "default",
            "Priority of the message.",
            "priority=high",
        ),
        Param::new("xtags", Values::Text("tags, separated by commas"), "", "Tags and emoji short codes.", "xtags=warning,disk")
            .aliases(&["tags"]),
        Param::new("click", Values::Text("an address"), "", "Address that a tap on the message opens.", "click=https://example.org"),
        Param::new("delay", Values::Text("a length of time or a time"), "", "Time of the delivery.", "delay=30m"),
        Param::new("email", Values::Text("a mail address"), "", "Mail address that gets a copy.", "email=me@example.org"),
        Param::new("actions", Values::Text("buttons as ntfy defines them"), "", "Buttons of the message.", "actions=view, Open, https://example.org"),
        Param::new("attach", Values::Text("an address"), "", "Address of a file that the message shows.", "attach=https://example.org/a.png"),
        Param::new("filename", Values::Text("a name"), "", "Name of the file in `attach`.", "filename=a.png"),
        Param::new("image", Values::YesNo, "yes", "Show the picture of `avatar_url`.", "image=no"),
        Param::new("avatar_url", Values::Text("an address"), "", "Picture beside the message.", "avatar_url=https://example.org/a.png"),
        http::CA_FILE,
    ])
    .with_url_forms(&[
        "{schema}://{topic}",
        "{schema}://{host}/{targets}",
        "{schema}://{host}:{port}/{targets}",
        "{schema}://{user}@{host}/{targets}",
        "{schema}://{user}:{password}@{host}/{targets}",
        "{schema}://{token}@{host}/{targets}",
    ])
    .with_setup_url("https://docs.ntfy.sh/publish/")
    .with_loose_host()
    .with_guests();

/// Priorities by the beginnings of the words for them.
const PRIORITIES: [(&str, &str); 14] = [
    ("l", "low"),
    ("mo", "low"),
    ("n", "default"),
    ("h", "high"),
    ("e", "max"),
    ("mi", "min"),
    ("ma", "max"),
    ("d", "default"),
    ("1", "min"),
    ("2", "low"),
    ("3", "default"),
    ("4", "high"),
    ("5", "max"),
    ("u", "max"),
];

/// The server of everybody.
const CLOUD: &str = "ntfy.sh";

/// Login at the server.
#[derive(PartialEq, Eq)]
enum Auth {
    None,
    Basic { user: String, password: Option<String> },
    Token(String),
}

/// Everything that goes into the headers of a message, by its parameter.
const TEXTS: [(&str, &str); 5] = [
    ("click", "x-click"),
    ("delay", "x-delay"),
    ("email", "x-email"),
    ("actions", "x-actions"),
    ("avatar_url", "x-icon"),
];

/// One server, and the topics of a URL.
struct Ntfy {
    server: HttpServer,
    cloud: bool,
    auth: Auth,
    topics: Vec<String>,
    priority: &'static str,
    tags: Vec<String>,
    /// The parameters of [`TEXTS`] that were written.
    texts: Vec<(&'static str, String)>,
    image: bool,
    attach: Option<String>,
    filename: Option<String>,
}

impl fmt::Debug for Ntfy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ntfy")
            .field("server", &self.server)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

fn parse(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> {
    let mut written = raw.targets(reader.text("to").as_deref())?;
    let is_host = !raw.has_loose_host();
    let guessed = !is_host || written.is_empty();
    let cloud = choice(reader, "mode", guessed, [("private", false), ("cloud", true)])?;
    let no_host =
        || Diagnostic::error("the host is not a valid name", "write ntfys://host/topic").key("host");
    if cloud {
        if !raw.host().to_ascii_lowercase().contains(CLOUD) {
            // A mistyped host must not send the rest of the URL to the server of everybody.
            if !is_topic(raw.host()) {
                return Err(no_host());
            }
            written.insert(0, raw.host().to_owned());
        }
    } else if !is_host {
        return Err(no_host());
    }
    let mut server = HttpServer::read(raw, raw.schema() == "ntfys" || cloud, reader)?;
    if cloud {
        CLOUD.clone_into(&mut server.host);
        server.port = None;
    }
    let auth = auth(raw, reader)?;
    let mut texts = Vec::new();
    for (name, header) in TEXTS {
        if let Some(text) = reader.text(name) {
            http::header(header, &text).map_err(|problem| problem.key(name))?;
            texts.push((name, text));
        }
    }
    let image = reader.yes_no("image", true);
    let tags = reader.text("xtags").or_else(|| reader.text("tags"));
    let tags: Vec<String> = (tags.iter())
        .flat_map(|tags| tags.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '[' | ']')))
        .filter(|tag| !tag.is_empty())
        .map(str::to_owned)
        .collect();
    http::header("X-Tags", &tags.join(",")).map_err(|problem| problem.key("xtags"))?;
    let attach = reader.text("attach");
    let filename = reader.text("filename");
    let filename = filename.or_else(|| attach.as_deref().and_then(last_segment));
    Ok(Box::new(Ntfy {
        server,
        cloud,
        auth,
        topics: topics(written, reader)?,
        priority: priority(reader),
        tags,
        texts,
        image,
        attach,
        filename,
    }))
}

/// One of two words; another one is an error.
fn choice(
    reader: &mut ParamReader<'_>,
    name: &'static str,
    default: bool,
    words: [(&str, bool); 2],
) -> Result<bool, Diagnostic> {
    let Some(written) = reader.text(name) else {
        return Ok(default);
    };
    let known = words.iter().find(|(word, _)| written.eq_ignore_ascii_case(word));
    known.map(|(_, value)| *value).ok_or_else(|| {
        let [(one, _), (other, _)] = words;
        Diagnostic::error(
            format!("`{name}` is not known"),
            format!("write {name}={one} or {name}={other}"),
        )
        .key(name)
    })
}

/// The last part of the path of an address.
fn last_segment(address: &str) -> Option<String> {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let (_, path) = path.split_once("://")?;
    let (_, name) = path.rsplit_once('/')?;
    (!name.is_empty()).then(|| percent::decode(name))
}

/// Returns true for 1 to 64 letters, digits, - and _.
fn is_topic(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && (text.bytes()).all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The topics that can be one; the others are reported.
fn topics(written: Vec<String>, reader: &mut ParamReader<'_>) -> Result<Vec<String>, Diagnostic> {
    let mut topics: Vec<String> = Vec::new();
    for topic in written {
        if !is_topic(&topic) {
            reader.warn(
                Diagnostic::error(
                    "a topic contains invalid characters and is left out",
                    "write up to 64 letters, digits, - and _",
                )
                .key("to"),
            );
        } else if !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    if topics.is_empty() {
        return Err(Diagnostic::error("no topic is given", "write ntfys://host/topic").key("to"));
    }
    Ok(topics)
}

fn priority(reader: &mut ParamReader<'_>) -> &'static str {
    let Some(written) = reader.text("priority") else {
        return "default";
    };
    let written = written.to_ascii_lowercase();
    let known = PRIORITIES.iter().find(|(begin, _)| written.starts_with(begin));
    if known.is_none() {
        reader.warn(
            Diagnostic::warning(
                "the priority is not known",
                "the default is used; write one of: min, low, default, high, max, 1 to 5",
            )
            .key("priority"),
        );
    }
    known.map_or("default", |(_, name)| name)
}

fn auth(raw: &RawUrl, reader: &mut ParamReader<'_>) -> Result<Auth, Diagnostic> {
    let token = reader.text("token");
    let user = raw.user().filter(|user| !user.is_empty());
    let password = raw.expose_password().filter(|password| !password.is_empty());
    let looks = password.is_none() && user.is_some_and(|user| user.to_ascii_lowercase().starts_with("tk_"));
    let guessed = token.is_some() || looks;
    let by_token = choice(reader, "auth", guessed, [("basic", false), ("token", true)])?;
    let auth = if by_token {
        let written = token.or_else(|| password.or(user).map(str::to_owned));
        Auth::Token(written.ok_or_else(|| {
            Diagnostic::error("the access token is missing", "write ntfys://tk_TOKEN@host/topic").key("token")
        })?)
    } else if let Some(user) = user {
        Auth::Basic {
            user: user.to_owned(),
            password: password.map(str::to_owned),
        }
    } else {
        Auth::None
    };
    if let Auth::Token(token) = &auth {
        http::header("Authorization", token).map_err(|_| {
            Diagnostic::error("the access token has a line end", "copy it again").key("token")
        })?;
    }
    Ok(auth)
}

impl Ntfy {
    fn schema(&self) -> &'static str {
        if self.server.secure { "ntfys" } else { "ntfy" }
    }

    fn text(&self, name: &str) -> Option<&str> {
        let found = self.texts.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| text.as_str())
    }
}

impl Service for Ntfy {
    fn kind(&self) -> &'static ServiceKind {
        &NTFY
    }

    fn url_base(&self, secrets: bool, only: Option<&Target>) -> String {
        let topics: Vec<String> = match only {
            Some(target) => vec![percent::encode(&target.address)],
            None => self.topics.iter().map(|topic| percent::encode(topic)).collect(),
        };
        let topics = topics.join("/");
        let auth = match &self.auth {
            Auth::None => String::new(),
            Auth::Basic { user, password } => http::credentials(Some(user), password.as_deref(), secrets),
            Auth::Token(token) if secrets => format!("{}@", percent::encode(token)),
            Auth::Token(_) => "****@".to_owned(),
        };
        let host = if self.cloud {
            CLOUD.to_owned()
        } else {
            self.server.address()
        };
        format!("{}://{auth}{host}/{topics}", self.schema())
    }

    fn value(&self, name: &str, _secrets: bool) -> ParamValue {
        let text =
            |text: Option<&str>| text.map_or(ParamValue::None, |text| ParamValue::Text(text.to_owned()));
        match name {
            "mode" => text(Some(if self.cloud { "cloud" } else { "private" })),
            "auth" => text(match self.auth {
                Auth::None => None,
                Auth::Basic { .. } => Some("basic"),
                Auth::Token(_) => Some("token"),
            }),
            "priority" => text(Some(self.priority)),
            "xtags" if !self.tags.is_empty() => ParamValue::Text(self.tags.join(",")),
            "attach" => text(self.attach.as_deref()),
            "filename" => text(self.filename.as_deref()),
            "image" => ParamValue::Bool(self.image),
            "ca_file" => text(self.server.ca_file.as_deref()),
            name => text(self.text(name)),
        }
    }

    fn id_text(&self) -> String {
        let auth = match &self.auth {
            Auth::None => String::new(),
            Auth::Basic { user, password } => format!("{user}:{}", password.as_deref().unwrap_or_default()),
            Auth::Token(token) => token.clone(),
        };
        format!("ntfy {} {auth}", self.server.origin())
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
        let target = |topic: &String| Target {
            address: topic.clone(),
            room: false,
        };
        self.topics.iter().map(target).collect()
    }

    fn target_label(&self, target: &Target) -> String {
        format!("{}://{}/{}", self.schema(), self.server.address(), target.address)
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::code_points(7800);
        limits.title = 200;
        limits
    }

    fn encode(&self, _common: &CommonParams, _target: &Target, chunk: &Chunk, id: &MessageId) -> Encoded {
        Piece::new(chunk, id).encode(NTFY.name, chunk.cut)
    }

    fn shown(&self, piece: &Encoded) -> Shown {
        Piece::shown(NTFY.name, piece)
    }

    fn check<'a>(
        &'a self,
        common: &'a CommonParams,
        pool: &'a ConnectionPool,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let request = HttpRequest {
                method: Method::GET,
                url: format!("{}/v1/health", self.server.origin()),
                headers: HeaderMap::new(),
                body: bytes::Bytes::new(),
            };
            let result = http::send(&self.server, common, pool, request).await;
            let health = result.map_err(Failure::diagnostic).and_then(|answer| {
                let json = answer.json().filter(|_| answer.is_good());
                match json.and_then(|json| json.get("healthy")?.as_bool()) {
                    Some(true) => Ok(format!("{} is healthy", said(&self.server.address()))),
                    Some(false) => Err(Diagnostic::error(
                        "the server says that it is not healthy",
                        "look into its log",
                    )),
                    None => Err(Diagnostic::error(
                        "there is no ntfy server at this address",
                        "check host and port in the URL",
                    )),
                }
            });
            vec![Finding::new("server", health)]
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
