//! Bodies of requests, with the fields that the URL renames, removes or adds.

use std::fmt;

use ackpost_notify::url::{Mark, percent};
use ackpost_notify::{Diagnostic, File};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{FIELDS, Webhook};
use crate::piece::Piece;

/// Version of the fields, as Apprise names it.
const VERSION: &str = "1.0";

/// Name of the field of a file: a text, and the place of the number in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AttachAs {
    before: String,
    /// `None`: every file has the same name.
    behind: Option<String>,
    mark: char,
}

impl Default for AttachAs {
    fn default() -> Self {
        Self {
            before: "file".to_owned(),
            behind: Some(String::new()),
            mark: '*',
        }
    }
}

impl fmt::Display for AttachAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.behind {
            Some(behind) => write!(f, "{}{}{behind}", self.before, self.mark),
            None => f.write_str(&self.before),
        }
    }
}

impl AttachAs {
    pub(super) fn read(written: Option<&str>) -> Result<Self, Diagnostic> {
        let Some(written) = written.map(str::trim) else {
            return Ok(Self::default());
        };
        let is_mark = |c: char| "*?+$:.%".contains(c);
        let (before, rest) = written.split_at(written.find(is_mark).unwrap_or(written.len()));
        let behind = rest.trim_start_matches(is_mark);
        let good = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        if !good(before) || !good(behind) || (before.is_empty() && behind.is_empty()) {
            return Err(Diagnostic::error(
                "the field name for files contains invalid characters",
                "write letters, digits, - and _, and * for the number, such as document*",
            )
            .key("attach-as"));
        }
        Ok(Self {
            before: before.to_owned(),
            behind: (!rest.is_empty()).then(|| behind.to_owned()),
            mark: rest.chars().next().unwrap_or('*'),
        })
    }

    fn name(&self, number: usize) -> String {
        match &self.behind {
            Some(behind) => format!("{}{number:02}{behind}", self.before),
            None => self.before.clone(),
        }
    }
}

/// Returns the parameters of an address, with the question mark.
pub(super) fn query(parameters: &[(String, String)]) -> String {
    let pairs: Vec<String> = parameters.iter().map(pair).collect();
    if pairs.is_empty() {
        return String::new();
    }
    format!("?{}", pairs.join("&"))
}

fn pair((name, value): &(String, String)) -> String {
    format!("{}={}", percent::encode(name), percent::encode(value))
}

impl Webhook {
    /// Returns the JSON of a message.
    pub(super) fn json_body(&self, piece: &Piece, files: &[File]) -> String {
        let attachments: Vec<Value> = files
            .iter()
            .map(|file| {
                json!({
                    "filename": file.name,
                    "base64": BASE64.encode(&file.bytes),
                    "mimetype": file.media_type,
                })
            })
            .collect();
        let mut payload = Map::new();
        for name in FIELDS {
            let value = match name {
                "version" => Value::from(VERSION),
                "title" => Value::from(piece.title.as_str()),
                "message" => Value::from(piece.body.as_str()),
                "attachments" => Value::from(attachments.clone()),
                _ => Value::from(piece.kind.as_str()),
            };
            payload.insert(name.to_owned(), value);
        }
        for (name, value) in self.of(Mark::Field) {
            match payload.remove(name) {
                None => payload.insert(name.to_owned(), Value::from(value)),
                // A field without a name is left out.
                Some(_) if value.is_empty() => None,
                Some(known) => payload.insert(value.to_owned(), known),
            };
        }
        Value::Object(payload).to_string()
    }

    /// Returns the fields of a form.
    pub(super) fn form_fields(&self, piece: &Piece) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: &str| match fields.iter_mut().find(|(known, _)| known == name) {
            Some(known) => value.clone_into(&mut known.1),
            None => fields.push((name.to_owned(), value.to_owned())),
        };
        let known = FIELDS.into_iter().filter(|name| *name != "attachments");
        for name in known.clone() {
            let text = match name {
                "version" => VERSION,
                "title" => &piece.title,
                "message" => &piece.body,
                _ => &piece.kind,
            };
            let renamed = self.of(Mark::Field).find(|(field, _)| *field == name);
            let name = renamed.map_or(name, |(_, name)| name);
            if !name.is_empty() {
                set(name, text);
            }
        }
        for (name, value) in self.of(Mark::Field) {
            if known.clone().all(|field| field != name) {
                set(name, value);
            }
        }
        fields
    }

    /// Returns the media type and the body of a form.
    pub(super) fn form_body(
        &self,
        piece: &Piece,
        fields: &[(String, String)],
        files: &[File],
    ) -> (Option<String>, Bytes) {
        if files.is_empty() {
            let pairs: Vec<String> = fields.iter().map(pair).collect();
            let media_type = "application/x-www-form-urlencoded".to_owned();
            return (Some(media_type), pairs.join("&").into());
        }
        let boundary = boundary(&piece.id);
        let mut body = Vec::new();
        for (name, value) in fields {
            let head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n",
                quoted(name)
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(value.as_bytes());
            body.extend_from_slice(b"\r\n");
        }
        for (number, file) in files.iter().enumerate() {
            let head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
                quoted(&self.attach_as.name(number + 1)),
                quoted(&file.name),
                plain(&file.media_type),
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(&file.bytes);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        (
            Some(format!("multipart/form-data; boundary={boundary}")),
            body.into(),
        )
    }
}

/// A text that no file holds: the id of the message is random.
fn boundary(id: &str) -> String {
    let safe: String = id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(48)
        .collect();
    format!("ackpost-{safe}")
}

/// A name between quotes, as browsers write it: no quote and no line end.
fn quoted(text: &str) -> String {
    text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// A media type without line ends.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
