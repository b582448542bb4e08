//! Files that come with a request: bytes in it, or an address to fetch.

use ackpost_platform::text::{is_media_type, safe_file_name};
use base64::Engine as _;
use bytes::Bytes;
use serde_json::Value;

use super::fields::Fields;
use crate::reply::Reply;

/// A file as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivenFile {
    pub(crate) name: Option<String>,
    pub(crate) media_type: Option<String>,
    pub(crate) given: Given,
}

/// Form in which a file was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    Bytes(Bytes),
    /// An http(s) address, not yet checked.
    Url(String),
    /// Neither bytes nor such an address: the reason.
    Unusable(&'static str),
}

/// The fields files are given in.
const FIELDS: [&str; 4] = ["attachments", "attachment", "attach", "file"];

/// Files of a JSON or form body: addresses, or objects with `base64` or `url`. One that is malformed is
/// [`Given::Unusable`], so that the text can go without it.
pub(crate) fn from_fields(fields: &Fields) -> Vec<GivenFile> {
    let mut files = Vec::new();
    for name in FIELDS {
        match fields.get(&[name]) {
            None => {}
            Some(Value::Array(items)) => {
                for item in items {
                    files.extend(one(item));
                }
            }
            Some(item) => files.extend(one(item)),
        }
    }
    files
}

fn one(value: &Value) -> Vec<GivenFile> {
    match value {
        Value::String(text) => text
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|part| !part.is_empty())
            .map(|part| address(part, None, None))
            .collect(),
        Value::Object(object) => {
            let text = |names: &[&str]| {
                names
                    .iter()
                    .find_map(|name| object.get(*name))
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            };
            let name = text(&["filename", "name"]).map(|name| safe_name(&name));
            let media_type =
                text(&["mimetype", "media_type", "content_type"]).filter(|kind| is_media_type(kind));
            let given = match (text(&["base64"]), text(&["url", "attach"])) {
                (Some(encoded), _) => base64::engine::general_purpose::STANDARD
                    .decode(encoded.trim())
                    .map_or(Given::Unusable("the base64 cannot be decoded"), |bytes| {
                        Given::Bytes(bytes.into())
                    }),
                (None, Some(url)) => return vec![address(&url, name, media_type)],
                (None, None) => Given::Unusable("it has neither `base64` nor `url`"),
            };
            vec![GivenFile {
                name,
                media_type,
                given,
            }]
        }
        _ => vec![GivenFile {
            name: None,
            media_type: None,
            given: Given::Unusable("it is neither an address nor an object"),
        }],
    }
}

/// The refusal of a request whose files are required, or all that it has, and one of which is unusable.
pub(crate) fn unusable(cause: &str) -> Reply {
    Reply::bad_request(format!("an attachment cannot be used: {cause}"))
        .remedy("attach files as multipart parts, as base64, or by an http(s) address")
}

fn address(text: &str, name: Option<String>, media_type: Option<String>) -> GivenFile {
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    // A path of this machine is never read for somebody who comes over HTTP.
    let given = if lower.starts_with("http://") || lower.starts_with("https://") {
        Given::Url(text.to_owned())
    } else {
        Given::Unusable("it is not an http(s) address")
    };
    GivenFile {
        name,
        media_type,
        given,
    }
}

/// A safe name of a file; `file` if nothing of it is left.
pub(crate) fn safe_name(name: &str) -> String {
    safe_file_name(name).unwrap_or_else(|| "file".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn apprises_own_attachments_are_read() {
        let value = json!({"attachments": [{"filename": "../../a.png", "base64": "aGVsbG8=", "mimetype": "image/png"}],
                           "attach": "https://example.org/b.png, http://example.org/c.png"});
        let files = from_fields(&Fields::from_json(value).expect("an object"));
        assert_eq!(files.len(), 3);
        assert_eq!(files[0].name.as_deref(), Some("a.png"));
        assert_eq!(files[0].media_type.as_deref(), Some("image/png"));
        assert!(matches!(&files[0].given, Given::Bytes(bytes) if bytes.as_ref() == b"hello"));
        assert!(matches!(&files[2].given, Given::Url(url) if url == "http://example.org/c.png"));
    }

    #[test]
    fn names_are_made_harmless() {
        for (name, expected) in [
            ("a/b/c.txt", "c.txt"),
            ("..\\x", "x"),
            ("", "file"),
            ("...", "file"),
            ("a\r\nb\"", "ab"),
            (".env", "env"),
        ] {
            assert_eq!(safe_name(name), expected);
        }
    }
}
