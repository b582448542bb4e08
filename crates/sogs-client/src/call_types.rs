//! Options and results of the calls of a room.

use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use session_protocol::content::AttachmentPointer;

use crate::transport::Answer;
use crate::transport::http::Progress;
use crate::types::{Message, Withheld};

/// Most rows in one answer.
pub const MAX_LIMIT: u32 = 256;

/// Limits and options for a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Rows, 1 to 256; the server's default is 100.
    pub limit: Option<u32>,
    /// Names of reactors per emoji, 0 to 20; the server's default is 4.
    pub reactors: Option<u32>,
    /// Rows for messages of which nothing but the reactions changed.
    pub with_reaction_rows: bool,
}

impl ListOptions {
    /// Returns options for at most `limit` rows.
    pub fn limit(limit: u32) -> Self {
        Self {
            limit: Some(limit),
            ..Self::default()
        }
    }

    pub(crate) fn query(self, since: bool) -> String {
        let mut query = String::new();
        let mut add = |text: String| {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(&text);
        };
        if since && self.with_reaction_rows {
            add("t=r".to_owned());
        }
        if let Some(limit) = self.limit {
            add(format!("limit={limit}"));
        }
        if let Some(reactors) = self.reactors {
            add(format!("reactors={reactors}"));
        }
        query
    }
}

/// A change of a room's settings; `None` leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomUpdate {
    /// New name of the room.
    pub name: Option<String>,
    /// New description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// File number of the new image, a file of this room.
    pub image: Option<u64>,
    /// True if everybody may read.
    pub default_read: Option<bool>,
    /// True if people without permission to read can see that the room exists.
    pub default_accessible: Option<bool>,
    /// True if everybody may post.
    pub default_write: Option<bool>,
    /// True if everybody may upload files.
    pub default_upload: Option<bool>,
}

impl RoomUpdate {
    pub(crate) fn to_json(&self) -> Value {
        let mut body = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(key.to_owned(), value);
            }
        };
        put("name", self.name.clone().map(Value::from));
        put("description", self.description.clone().map(Value::from));
        put("image", self.image.map(Value::from));
        put("default_read", self.default_read.map(Value::from));
        put("default_accessible", self.default_accessible.map(Value::from));
        put("default_write", self.default_write.map(Value::from));
        put("default_upload", self.default_upload.map(Value::from));
        Value::Object(body)
    }
}

/// A post that the server took, as its answer shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Posted {
    /// Number of the message.
    pub id: u64,
    /// The message as the server gave it back; `None` when a field besides number, author and data is missing.
    pub message: Option<Box<Message>>,
    /// Set when the server shows the message to nobody: then it is stored, but not delivered.
    pub withheld: Option<Withheld>,
}

/// An edit that the server took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edited {
    /// Set when the server shows the message to nobody since the edit.
    pub withheld: Option<Withheld>,
    /// The message was replaced whole: by [`Room::replace`](crate::Room::replace), or because the server did not show it to us, as it is with
    /// a message that a filter hides.
    pub whole: bool,
}

/// A file to upload.
#[derive(Clone)]
pub struct Upload {
    pub(crate) name: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) bytes: Bytes,
    pub(crate) size: Option<(u32, u32)>,
    pub(crate) progress: Option<Progress>,
}

impl Upload {
    /// A file without a name.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self {
            name: None,
            content_type: None,
            bytes: bytes.into(),
            size: None,
            progress: None,
        }
    }

    /// The file's name, as receivers will see it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The media type, e.g. `image/png`: apps show pictures as such by it.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Width and height of a picture, pixels.
    pub fn dimensions(mut self, width: u32, height: u32) -> Self {
        self.size = Some((width, height));
        self
    }

    /// Called with the bytes that have gone out and the total.
    pub fn on_progress(mut self, progress: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }
}

/// A file on the server, ready to be attached to a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedFile {
    /// Its number in the room.
    pub id: u64,
    /// `SERVER_URL/room/TOKEN/file/ID`.
    pub url: String,
    /// Length, bytes.
    pub size: u32,
    /// Name of the file.
    pub name: Option<String>,
    /// Media type of the file.
    pub content_type: Option<String>,
    /// Width and height, pixels.
    pub dimensions: Option<(u32, u32)>,
}

impl UploadedFile {
    pub(crate) fn pointer(&self) -> AttachmentPointer {
        AttachmentPointer {
            id: self.id,
            content_type: self
                .content_type
                .clone()
                .or_else(|| Some("application/octet-stream".to_owned())),
            size: Some(self.size),
            file_name: self.name.clone(),
            width: self.dimensions.map(|(width, _)| width),
            height: self.dimensions.map(|(_, height)| height),
            url: Some(self.url.clone()),
            ..AttachmentPointer::default()
        }
    }
}

/// A file that was downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Content of the file.
    pub bytes: Bytes,
    /// Name that the uploader gave. Never use it as a path unchecked.
    pub name: Option<String>,
    /// Time of expiry, as the server wrote it (an HTTP date); `None` for files that do not expire.
    pub expires: Option<String>,
}

impl Download {
    pub(crate) fn from_answer(answer: &Answer) -> Self {
        let name = answer
            .header("content-disposition")
            .and_then(|value| {
                value
                    .split(';')
                    .find_map(|part| part.trim().strip_prefix("filename*=UTF-8''"))
            })
            .map(|name| percent_decode_str(name).decode_utf8_lossy().into_owned());
        Self {
            bytes: answer.body.clone(),
            name,
            expires: answer.header("expires").map(str::to_owned),
        }
    }
}
