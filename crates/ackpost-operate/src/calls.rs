//! Calls to the alerting program: version 2 of Alertmanager's interface, which Grafana offers below its own path.

use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ackpost_tls::Verify;
use jiff::Timestamp;
use reqwest::{Client, Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::model::alert::{Labels, SourceKind};
use crate::model::people::AllowList;

/// Longest time of one call.
const TOTAL: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const ANSWER_BYTES: usize = 4 << 20;
/// Maximum number of characters of the program's own words in an error.
const QUOTED: usize = 200;

/// An alerting program: its address, and how it knows us.
#[derive(Clone)]
#[non_exhaustive]
pub struct Source {
    /// Its name in the configuration.
    pub name: String,
    /// The kind of program.
    pub kind: SourceKind,
    /// Its address, such as `http://127.0.0.1:9093`.
    pub url: Url,
    /// The token that is sent as `Authorization: Bearer`.
    pub token: Option<SecretString>,
    /// Rule for the certificates that are accepted.
    pub verify: Verify,
    /// Keys of the gateway whose alerts it raised.
    pub keys: Vec<String>,
    /// The people who may answer its alerts; `None`: those of the settings.
    pub allow: Option<AllowList>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// A source that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No `http://` or `https://` address, or one with credentials, a query or a fragment.
    #[error(
        "`{0}` is not the address of an alerting program; write http://HOST:PORT or https://HOST, and the token in a file"
    )]
    Url(String),
    /// The TLS settings cannot be used.
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] ackpost_tls::TlsError),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
    /// A file of the configuration, such as the token.
    #[error("the file {path} cannot be used: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// Cause of the failure.
        cause: String,
    },
}

impl Source {
    /// Makes a source from its address.
    ///
    /// # Errors
    /// [`SourceError::Url`] if the address cannot be used.
    pub fn new(
        name: impl Into<String>,
        kind: SourceKind,
        url: &str,
        keys: Vec<String>,
    ) -> Result<Self, SourceError> {
        // Credentials do not belong there, and must not be printed.
        let shown = url.rsplit_once('@').map_or(url, |(_, place)| place);
        let wrong = || SourceError::Url(ackpost_platform::text::one_line(shown));
        let mut url = Url::parse(url).map_err(|_| wrong())?;
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !plain || !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(wrong());
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self {
            name: name.into(),
            kind,
            url,
            token: None,
            verify: Verify::default(),
            keys,
            allow: None,
        })
    }

    /// Lets these people answer its alerts, and nobody else.
    #[must_use]
    pub fn with_allow(mut self, allow: Option<AllowList>) -> Self {
        self.allow = allow;
        self
    }

    /// Sends this token with each call.
    #[must_use]
    pub fn with_token(mut self, token: Option<SecretString>) -> Self {
        self.token = token;
        self
    }

    /// Accepts these certificates.
    #[must_use]
    pub fn with_verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }
}

/// Reason why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct CallError {
    /// The cause.
    cause: String,
    /// The remedy, as an imperative.
    remedy: &'static str,
}

impl CallError {
    fn new(cause: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            cause: cause.into(),
            remedy,
        }
    }

    /// The remedy, as an imperative.
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }
}

/// A silence that is to be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewSilence<'a> {
    /// Each label must have exactly this value.
    pub matchers: &'a Labels,
    /// Begin of the silence.
    pub starts_at: Timestamp,
    /// End of the silence.
    pub ends_at: Timestamp,
    /// Author of the silence.
    pub created_by: String,
    /// Words of the author, and the place where they were written.
    pub comment: String,
}

impl<'a> NewSilence<'a> {
    /// A silence for this time.
    pub fn new(matchers: &'a Labels, (starts_at, ends_at): (Timestamp, Timestamp)) -> Self {
        Self {
            matchers,
            starts_at,
            ends_at,
            created_by: "ackpost".to_owned(),
            comment: String::new(),
        }
    }

    /// Names the person.
    #[must_use]
    pub fn by(mut self, created_by: impl Into<String>, comment: impl Into<String>) -> Self {
        self.created_by = created_by.into();
        self.comment = comment.into();
        self
    }
}

/// An alerting program that can be called.
#[derive(Clone, Debug)]
pub struct Alerting {
    source: Source,
    client: Client,
}

#[derive(Deserialize)]
struct Made {
    #[serde(rename = "silenceID")]
    silence_id: String,
}

#[derive(Deserialize)]
struct Found {
    status: State,
}

#[derive(Deserialize)]
struct State {
    state: String,
}

#[derive(Deserialize)]
struct FiringAlert {
    labels: Labels,
}

impl Alerting {
    /// Prepares calls. Nothing is sent yet.
    ///
    /// # Errors
    /// [`SourceError`] if TLS or the HTTP client cannot be set up.
    pub fn new(source: Source) -> Result<Self, SourceError> {
        let tls = if source.url.scheme() == "https" {
            source.verify.client_config()?
        } else {
            ackpost_tls::without_certificates()?
        };
        // Its address is the operator's: neither a redirect nor a proxy of the environment may lead elsewhere.
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(TOTAL)
            .pool_idle_timeout(Duration::from_mins(5))
            .tcp_nodelay(true)
            .user_agent("ackpost")
            .build()?;
        Ok(Self { source, client })
    }

    /// The source.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Asks for the alerts, which needs the address and the token. Changes nothing.
    ///
    /// # Errors
    /// [`CallError`] if the program did not answer.
    pub async fn look(&self) -> Result<(), CallError> {
        // No alert has this name, so that the answer is short.
        let nothing = Labels::from([("alertname".to_owned(), "ackpost doctor".to_owned())]);
        self.firing(&nothing).await.map(drop)
    }

    /// Makes a silence and returns its id.
    ///
    /// # Errors
    /// [`CallError`] if the program did not confirm it.
    pub async fn silence(&self, silence: &NewSilence<'_>) -> Result<String, CallError> {
        let matchers: Vec<_> = silence
            .matchers
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value, "isRegex": false, "isEqual": true }))
            .collect();
        let body = json!({
            "matchers": matchers,
            "startsAt": silence.starts_at.to_string(),
            "endsAt": silence.ends_at.to_string(),
            "createdBy": silence.created_by,
            "comment": silence.comment,
        });
        let answer = self.call(Method::POST, &["silences"], &[], Some(&body)).await?;
        let made: Made = read(&answer)?;
        Ok(made.silence_id)
    }

    /// Returns true while a silence is pending or active, false if it ended or is unknown.
    ///
    /// # Errors
    /// [`CallError`] if the program did not answer.
    pub async fn is_silenced(&self, id: &str) -> Result<bool, CallError> {
        match self.call(Method::GET, &["silence", id], &[], None).await {
            Ok(answer) => Ok(read::<Found>(&answer)?.status.state != "expired"),
            Err(error) if error.remedy == NOT_FOUND => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends a silence. A silence that ended already, or is unknown, is not an error.
    ///
    /// # Errors
    /// [`CallError`] if the program did not confirm it.
    pub async fn unsilence(&self, id: &str) -> Result<(), CallError> {
        match self.call(Method::DELETE, &["silence", id], &[], None).await {
            Err(error) if error.remedy == NOT_FOUND => Ok(()),
            // Alertmanager has no other status for a silence that ended already.
            Err(error) => match self.is_silenced(id).await {
                Ok(false) => Ok(()),
                _ => Err(error),
            },
            Ok(_) => Ok(()),
        }
    }

    /// Returns how many alerts with these labels fire, without those that are silenced.
    ///
    /// # Errors
    /// [`CallError`] if the program did not answer.
    pub async fn firing(&self, matchers: &Labels) -> Result<usize, CallError> {
        let mut query = vec![
            ("active", "true".to_owned()),
            ("silenced", "false".to_owned()),
            ("inhibited", "false".to_owned()),
        ];
        for (name, value) in matchers {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            query.push(("filter", format!("{name}=\"{value}\"")));
        }
        let answer = self.call(Method::GET, &["alerts"], &query, None).await?;
        let alerts: Vec<FiringAlert> = read(&answer)?;
        // A program that does not know the filter must not make this count other alerts.
        let fits = |alert: &&FiringAlert| {
            matchers
                .iter()
                .all(|(name, value)| alert.labels.get(name) == Some(value))
        };
        Ok(alerts.iter().filter(fits).count())
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&serde_json::Value>,
    ) -> Result<Vec<u8>, CallError> {
        let mut url = self.source.url.clone();
        {
            let mut segments = url
                .path_segments_mut()
                .map_err(|()| CallError::new("the address has no path", ADDRESS))?;
            segments.pop_if_empty();
            if self.source.kind == SourceKind::Grafana {
                segments.extend(["api", "alertmanager", "grafana"]);
            }
            segments.extend(["api", "v2"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self
            .client
            .request(method, url)
            .header("accept", "application/json");
        if let Some(token) = &self.source.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        self.answer(response).await
    }

    async fn answer(&self, mut response: reqwest::Response) -> Result<Vec<u8>, CallError> {
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + part.len() > ANSWER_BYTES {
                let cause = format!("{} answers with more than 4 MiB", self.source.name);
                return Err(CallError::new(cause, "check the address of this source"));
            }
            body.extend_from_slice(&part);
        }
        if status.is_success() {
            return Ok(body);
        }
        let words = said(&String::from_utf8_lossy(&body));
        let words = if words.is_empty() {
            String::new()
        } else {
            format!(": {words}")
        };
        let cause = format!(
            "{} refuses the call ({}{words})",
            self.source.name,
            status.as_u16()
        );
        let remedy = match status.as_u16() {
            401 | 403 => "check the token of this source and its rights",
            404 => NOT_FOUND,
            300..=399 => "write the address that the program redirects to",
            400..=499 => "look into the log of the alerting program",
            _ => "look at the alerting program, then repeat the answer",
        };
        Err(CallError::new(cause, remedy))
    }

    fn unreachable(&self, error: &reqwest::Error) -> CallError {
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            cause = inner.to_string();
            source = inner.source();
        }
        let name = &self.source.name;
        if error.is_timeout() {
            return CallError::new(
                format!("{name} did not answer in time"),
                "look at the alerting program, then repeat the answer",
            );
        }
        CallError::new(format!("{name} cannot be reached: {}", said(&cause)), ADDRESS)
    }
}

const NOT_FOUND: &str = "check the address and the kind of this source";
const ADDRESS: &str = "check that the alerting program runs, and its address in [operate]";

fn read<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, CallError> {
    serde_json::from_slice(answer).map_err(|error| {
        let cause = format!("the answer cannot be read: {}", said(&error.to_string()));
        CallError::new(cause, NOT_FOUND)
    })
}

/// Words of another program on one short line.
fn said(text: &str) -> String {
    let text = ackpost_platform::text::one_line(text);
    let text = text.trim();
    if text.chars().count() <= QUOTED {
        return text.to_owned();
    }
    text.chars().take(QUOTED).chain(['…']).collect()
}
