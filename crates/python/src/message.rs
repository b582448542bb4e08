//! Messages and reports, between JSON and the types of `ackpost_notify`.

use ackpost_apprise::TagFilter;
use ackpost_notify::{Attachment, Message, Outcome, Report, Status, TargetReport};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Failure, seconds};

/// A message as Python hands it over.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageArguments {
    body: String,
    title: String,
    kind: String,
    format: Option<String>,
    escapes: bool,
    emojis: Option<bool>,
    attach: Vec<AttachArguments>,
    /// `null` chooses every service.
    tags: Option<Vec<String>>,
}

/// A file as Python hands it over.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttachArguments {
    /// A path or an address.
    place: Option<String>,
    /// The number of the bytes that were handed over beside the JSON.
    bytes: Option<usize>,
    name: Option<String>,
    media_type: Option<String>,
}

impl AttachArguments {
    fn attachment(self, parts: &mut [Vec<u8>]) -> Attachment {
        let mut file = match (self.place, self.bytes) {
            (Some(place), _) => Attachment::parse(&place),
            (None, number) => {
                let part = number.and_then(|number| parts.get_mut(number));
                Attachment::bytes("file", part.map(std::mem::take).unwrap_or_default())
            }
        };
        file.name = self.name.or(file.name);
        file.media_type = self.media_type;
        file
    }
}

impl MessageArguments {
    /// The services that get the message.
    pub(crate) fn filter(&self) -> TagFilter {
        (self.tags.as_ref()).map_or(TagFilter::All, TagFilter::from_values)
    }

    /// The message; `parts` are the bytes of its files.
    ///
    /// # Errors
    /// An unknown kind or format, or nothing to say.
    pub(crate) fn message(self, mut parts: Vec<Vec<u8>>) -> Result<Message, Failure> {
        let unknown = |what: &str, error: &ackpost_notify::UnknownWord| {
            Failure::config(
                format!("unknown {what}"),
                format!("use one of: {}", error.expected),
            )
        };
        if self.body.is_empty() && self.title.trim().is_empty() && self.attach.is_empty() {
            return Err(Failure::config(
                "the message is empty",
                "give it a body, a title or a file",
            ));
        }
        let mut message = Message::new(self.body)
            .title(self.title)
            .kind(self.kind.parse().map_err(|error| unknown("kind", &error))?)
            .escapes(self.escapes)
            .emojis(self.emojis);
        if let Some(format) = self.format {
            message = message.input_format(format.parse().map_err(|error| unknown("format", &error))?);
        }
        for file in self.attach {
            message = message.attach(file.attachment(&mut parts));
        }
        Ok(message)
    }
}

/// The report that `ackpost --json` prints, and what Python shows besides.
pub(crate) fn report(report: &Report) -> Value {
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    json!({
        "status": report.status.as_str(),
        "success": report.status == Status::Success,
        "targets": report.targets.iter().map(target).collect::<Vec<_>>(),
        "problems": problems,
    })
}

fn target(target: &TargetReport) -> Value {
    let mut value = serde_json::to_value(target).unwrap_or_default();
    let retry_after = match &target.outcome {
        Outcome::Deferred { retry_after, .. } => *retry_after,
        _ => None,
    };
    for (name, part) in [
        ("url", json!(target.url)),
        ("url_id", json!(target.url_id)),
        ("address", json!(target.address)),
        ("tags", json!(target.tags)),
        ("optional", json!(target.optional)),
        ("timed_out", json!(target.timed_out)),
        ("delivered", json!(target.outcome.is_delivered())),
        ("taken", json!(target.outcome.is_taken())),
        ("retry_after", seconds(retry_after)),
    ] {
        value[name] = part;
    }
    value
}
