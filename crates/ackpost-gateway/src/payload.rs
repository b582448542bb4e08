//! Content of a request, whatever form it came in: JSON, form or multipart.

mod characters;
mod estimate;
mod fields;
mod files;
mod parts;
mod read;
mod surrogates;

pub(crate) use fields::Fields;
pub(crate) use files::{Given, GivenFile, safe_name, unusable};
pub(crate) use read::{Limit, Received, body, is_multipart, media};

use std::time::Duration;

use ackpost_apprise::TagFilter;
use ackpost_notify::{Format, Kind};

use super::memory::Share;
use super::reply::Reply;
use super::{tags, units};

/// A notification as a client asked for it.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) kind: Kind,
    pub(crate) format: Format,
    pub(crate) filter: Option<TagFilter>,
    /// URLs for `/notify` without a key.
    pub(crate) urls: Vec<String>,
    pub(crate) files: Vec<GivenFile>,
    /// The message does not go without its files.
    pub(crate) requires_files: bool,
    /// Time to wait for outcomes; `None` leaves it to the configuration.
    pub(crate) wait: Option<Duration>,
    /// Time to live in the outbox.
    pub(crate) ttl: Option<Duration>,
    /// The memory that the request holds.
    pub(crate) share: Share,
}

/// Longest body of text; what is longer than any service carries in many pieces is a mistake or an attack.
pub(crate) const MAX_TEXT_BYTES: usize = 1 << 20;

impl Payload {
    /// Reads the fields; `files` are those of a multipart body.
    pub(crate) fn from_fields(
        fields: &Fields,
        mut files: Vec<GivenFile>,
        share: Share,
    ) -> Result<Self, Reply> {
        let title = fields.text(&["title", "subject"])?.unwrap_or_default();
        let body = fields.text(&["body", "message"])?.unwrap_or_default();
        if title.len() + body.len() > MAX_TEXT_BYTES {
            return Err(Reply::larger("the text of title and body", MAX_TEXT_BYTES));
        }
        files.extend(files::from_fields(fields));
        if body.trim().is_empty() {
            check_files_alone(fields, &files)?;
        }
        let kind = match fields.text(&["type", "notify_type"])? {
            Some(word) if !word.trim().is_empty() => word
                .parse::<Kind>()
                .map_err(|error| Reply::bad_request("unknown notification type").remedy(error.to_string()))?,
            _ => Kind::Info,
        };
        let format = match fields.text(&["format"])? {
            Some(word) if !word.trim().is_empty() => word.parse::<Format>().map_err(|error| {
                Reply::bad_request("unknown format of the body").remedy(error.to_string())
            })?,
            _ => Format::Text,
        };
        let filter = match fields.get(&["tag", "tags"]) {
            Some(value) => tags::parse_json(value)?,
            None => None,
        };
        let time = |name: &str| {
            fields
                .text(&[name])?
                .filter(|text| !text.trim().is_empty())
                .map_or(Ok(None), |text| {
                    units::duration(&text)
                        .map(Some)
                        .map_err(|reason| Reply::bad_request(format!("{name}: {reason}")))
                })
        };
        Ok(Self {
            title,
            body,
            kind,
            format,
            filter,
            urls: fields.list(&["urls", "url"])?,
            files,
            requires_files: fields.switch("require_files")?,
            wait: time("wait")?,
            ttl: time("ttl")?,
            share,
        })
    }
}

/// A message without a text needs a file that can be used.
fn check_files_alone(fields: &Fields, files: &[GivenFile]) -> Result<(), Reply> {
    let mut reasons = files.iter().map(|file| match file.given {
        Given::Unusable(reason) => Some(reason),
        Given::Bytes(_) | Given::Url(_) => None,
    });
    match reasons.next() {
        Some(Some(reason)) if reasons.all(|other| other.is_some()) => return Err(unusable(reason)),
        Some(_) => return Ok(()),
        None => {}
    }
    let remedy = match fields.names() {
        None => "send `body`, or at least one attachment".to_owned(),
        Some(names) => format!(
            "send `body`, or at least one attachment; the request has {names}: if one of these is the text, add \
             `?:FIELD=body` to the address, or send the JSON of another program to /hook/json/KEY"
        ),
    };
    Err(Reply::bad_request("the message has no body").remedy(remedy))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: serde_json::Value) -> Result<Payload, Reply> {
        let share = crate::memory::Memory::new(0, 0).share();
        Payload::from_fields(&Fields::from_json(value).expect("an object"), Vec::new(), share)
    }

    #[test]
    fn the_json_of_another_program_is_told_the_two_ways() {
        let reply =
            read(json!({"alert": "disk", "state\u{1b}[2J": 1, "password": "hunter2"})).expect_err("no body");
        let words = reply.sentence();
        assert!(words.contains("`alert`, `state [2J`, `password`"), "{words}");
        assert!(
            words.contains("/hook/json/KEY") && words.contains("?:FIELD=body"),
            "{words}"
        );
        assert!(!words.contains("hunter2") && !words.contains('\u{1b}'), "{words}");
        let many: serde_json::Map<_, _> = (0..60).map(|n| (format!("field{n:02}"), json!(1))).collect();
        let words = read(many.into()).expect_err("no body").sentence();
        assert!(
            words.contains("`field07` and 52 more") && !words.contains("field08"),
            "{words}"
        );
    }

    #[test]
    fn the_usual_fields() {
        let payload =
            read(json!({"title": "t", "body": "b", "type": "Warning", "format": "markdown", "tag": "a b"}))
                .expect("legal");
        assert_eq!((payload.title.as_str(), payload.body.as_str()), ("t", "b"));
        assert_eq!((payload.kind, payload.format), (Kind::Warning, Format::Markdown));
        assert!(payload.filter.is_some());
        let payload = read(json!({"message": 5, "urls": ["a://b", "c://d"], "wait": 2})).expect("legal");
        assert_eq!(payload.body, "5");
        assert_eq!(payload.urls, ["a://b", "c://d"]);
        assert_eq!(payload.wait, Some(Duration::from_secs(2)));
    }

    #[test]
    fn unreadable_payloads_are_a_bad_request() {
        for bad in [
            json!({}),
            json!({"title": "only"}),
            json!({"body": " "}),
            json!({"body": "x", "type": "loud"}),
            json!({"body": "x", "format": "pdf"}),
            json!({"body": ["x"]}),
            json!({"body": "x", "tag": {"a": 1}}),
            json!({"body": "x", "tag": "$"}),
            json!({"body": "x", "wait": "soon"}),
            json!({"body": "x", "require_files": "perhaps"}),
            json!({"attach": "/etc/passwd"}),
            json!({"body": " ", "attachments": [{"base64": "%%%"}, 5]}),
        ] {
            let reply = read(bad.clone()).expect_err(&bad.to_string());
            assert_eq!(reply.status(), axum::http::StatusCode::BAD_REQUEST, "{bad}");
        }
        for with_text in [
            json!({"body": "x", "attach": "/etc/passwd"}),
            json!({"body": "x", "attach": "file:///etc/passwd"}),
            json!({"body": "x", "attachments": [{"base64": "%%%"}]}),
            json!({"body": "x", "attachments": [{"name": "a.png"}]}),
            json!({"body": "x", "attachment": 5}),
        ] {
            let payload = read(with_text.clone()).expect("the text goes");
            assert_eq!(payload.files.len(), 1, "{with_text}");
            assert!(
                matches!(payload.files[0].given, Given::Unusable(_)),
                "{with_text}"
            );
        }
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        let reply = read(json!({"body": long})).expect_err("too long");
        assert_eq!(reply.status().as_u16(), 431);
        assert_eq!(
            reply.sentence(),
            "the text of title and body is larger than 1048576 bytes; send less; no setting raises this limit"
        );
    }
}
