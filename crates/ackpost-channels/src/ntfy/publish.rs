//! Publishing a message.

use ackpost_notify::{Attempt, BoxFuture, Confirmation, File, Format, Outcome};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::{Auth, Ntfy, TEXTS};
use crate::http::{self, HttpRequest, HttpResponse};
use crate::net::Failure;
use crate::piece::{Channel, Piece, SendRun};

/// Longest message as JSON; a longer one goes as a file, as the reference sends it.
const JSON_BYTES: usize = 8000;
/// Longest text that goes into an address, beside a file.
const ADDRESS_BYTES: usize = 3000;

/// The text of one request.
#[derive(Clone, Copy)]
struct MessageText<'a> {
    title: &'a str,
    body: &'a str,
}

impl Ntfy {
    fn headers(&self, piece: &Piece) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name: &str, value: &str, secret: bool| {
            // Every value was checked when the URL was read.
            if let Ok((name, mut value)) = http::header(name, value) {
                value.set_sensitive(secret);
                headers.insert(name, value);
            }
        };
        // The server of everybody is used without a login, unless the URL names its host.
        match &self.auth {
            _ if self.cloud => {}
            Auth::None => {}
            Auth::Basic { user, password } => {
                let value = http::basic(user, password.as_deref().unwrap_or_default());
                set("authorization", &value, true);
            }
            Auth::Token(token) => set("authorization", &format!("Bearer {token}"), true),
        }
        if piece.format() == Format::Markdown {
            set("x-markdown", "yes", false);
        }
        if self.priority != "default" {
            set("x-priority", self.priority, false);
        }
        if !self.tags.is_empty() {
            set("x-tags", &self.tags.join(","), false);
        }
        for (name, header) in TEXTS {
            if let Some(text) = self.text(name).filter(|_| name != "avatar_url" || self.image) {
                set(header, text, false);
            }
        }
        http::count_hops(&mut headers, piece.hops);
        headers
    }

    /// Returns the request for a text alone.
    fn text_request(&self, topic: &str, piece: &Piece, text: MessageText<'_>) -> HttpRequest {
        let mut data = Map::new();
        let mut put = |name: &str, value: &str| data.insert(name.to_owned(), Value::from(value));
        put("topic", topic);
        if let Some(attach) = &self.attach {
            put("attach", attach);
            if let Some(name) = &self.filename {
                put("filename", name);
            }
        }
        if !text.title.is_empty() {
            put("title", text.title);
        }
        if !text.body.is_empty() {
            put("message", text.body);
        }
        let data = Value::Object(data).to_string();
        if data.len() > JSON_BYTES {
            let head = if text.title.is_empty() {
                String::new()
            } else {
                format!("{}\n", text.title)
            };
            let (name, media_type) = match piece.format() {
                Format::Text => ("message.txt", "text/plain"),
                Format::Markdown => ("message.md", "text/markdown"),
                Format::Html => ("message.html", "text/html"),
            };
            let file = File {
                name: name.to_owned(),
                media_type: media_type.to_owned(),
                bytes: format!("{head}{}", text.body).into(),
            };
            return self.file_request(topic, piece, None, &file);
        }
        let mut headers = self.headers(piece);
        headers.insert(
            HeaderName::from_static("content-type"),
            HeaderValue::from_static("application/json"),
        );
        HttpRequest {
            method: Method::POST,
            url: self.server.origin(),
            headers,
            body: data.into(),
        }
    }

    /// Returns the request for a file, with a short text beside it.
    fn file_request(
        &self,
        topic: &str,
        piece: &Piece,
        text: Option<MessageText<'_>>,
        file: &File,
    ) -> HttpRequest {
        let encode = ackpost_notify::url::percent::encode;
        let mut url = format!("{}/{topic}?filename={}", self.server.origin(), encode(&file.name));
        if let Some(text) = text {
            for (name, text) in [("title", text.title), ("message", text.body)] {
                if !text.is_empty() {
                    url.push_str(&format!("&{name}={}", encode(text)));
                }
            }
        }
        HttpRequest {
            method: Method::POST,
            url,
            headers: self.headers(piece),
            body: Bytes::clone(&file.bytes),
        }
    }

    /// Sends a request, and returns the id of the message that the server stored.
    async fn publish(&self, run: &SendRun<'_>, request: HttpRequest) -> Result<String, Failure> {
        let answer = http::send(&self.server, run.common, run.pool, request).await?;
        if !answer.is_good() {
            return Err(refusal(run, &answer));
        }
        let id = answer.json().and_then(|json| {
            let is_message = json.get("event").and_then(Value::as_str) == Some("message");
            let is_ours = json.get("topic").and_then(Value::as_str) == Some(&*run.delivery.target.address);
            let id = json.get("id")?.as_str()?;
            (is_message && is_ours && !id.is_empty()).then(|| crate::net::said(id))
        });
        id.ok_or_else(|| {
            Failure::permanent(
                format!("{} does not answer like an ntfy server", self.server.address()),
                "check host and port in the URL",
            )
        })
    }

    async fn send_piece(&self, run: &SendRun<'_>, piece: &Piece, files: &[File]) -> Result<Attempt, Failure> {
        let topic = &run.delivery.target.address;
        let text = MessageText {
            title: &piece.title,
            body: &piece.body,
        };
        let nothing = text.title.is_empty() && text.body.is_empty();
        let mut id = None;
        let mut missing = Vec::new();
        let mut sent = false;
        // A text that fits goes with the first file.
        let beside = !nothing && text.title.len() + text.body.len() <= ADDRESS_BYTES;
        if files.is_empty() || !(beside || nothing) {
            id = Some(self.publish(run, self.text_request(topic, piece, text)).await?);
            sent = true;
        }
        for file in files {
            let with = Some(text).filter(|_| !sent && !nothing);
            match self
                .publish(run, self.file_request(topic, piece, with, file))
                .await
            {
                Ok(first) => {
                    id.get_or_insert(first);
                    sent = true;
                }
                // Once something was sent, the message is not sent again because of a file.
                Err(failure) if sent || (failure.permanent && !nothing) => {
                    missing.push(format!("`{}`: {}", file.name, failure.cause));
                }
                Err(failure) => return Err(failure),
            }
        }
        if !sent {
            id = Some(self.publish(run, self.text_request(topic, piece, text)).await?);
        }
        let outcome = Outcome::Delivered {
            confirmed_by: Confirmation::Server,
            id,
        };
        Ok(Attempt::new(outcome.without_files(&missing)))
    }
}

/// Returns the failure that the server names.
fn refusal(run: &SendRun<'_>, answer: &HttpResponse) -> Failure {
    let json = answer.json();
    let text = json
        .as_ref()
        .and_then(|json| json.get("error"))
        .and_then(Value::as_str);
    answer.failure(run.common, text)
}

impl Channel for Ntfy {
    fn name(&self) -> &'static str {
        super::NTFY.name
    }

    fn send<'a>(
        &'a self,
        run: &'a SendRun<'a>,
        piece: &'a Piece,
        files: &'a [File],
    ) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            self.send_piece(run, piece, files)
                .await
                .unwrap_or_else(Failure::attempt)
        })
    }
}
