//! ntfy: a message in headers, in the query or as JSON.

use ackpost_notify::{Format, Kind};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use serde_json::{Value, json};

use super::encoded_word;
use crate::hook::IncomingMessage;
use crate::payload::{Given, GivenFile, safe_name};
use crate::reply::Reply;

/// Text of a message without one, as ntfy has it.
const TRIGGERED: &str = "triggered";
/// Maximum number of tags and actions that are shown.
const MAX_LISTED: usize = 32;

/// A message, and the values that ntfy's answer repeats.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) incoming: IncomingMessage,
    pub(crate) answer: Value,
}

/// The fields of a message, however they came.
#[derive(Debug, Default)]
struct Fields {
    title: String,
    message: String,
    priority: Option<u8>,
    tags: Vec<String>,
    click: String,
    attach: String,
    filename: String,
    actions: Vec<Action>,
    markdown: bool,
    notes: Vec<String>,
}

/// A button below a message.
#[derive(Debug, PartialEq, Eq)]
struct Action {
    kind: String,
    label: String,
    url: String,
}

/// Reads a message whose fields are in headers or in the query; the body is its text or a file.
pub(crate) fn from_headers(headers: &HeaderMap, query: &str, body: Bytes) -> Result<Published, Reply> {
    let field = |names: &[&str]| header_or_query(headers, query, names);
    let text = |names: &[&str]| field(names).unwrap_or_default();
    refuse_what_cannot_be_done(
        &text(&["x-delay", "delay", "x-at", "at", "x-in", "in"]),
        &text(&["x-template", "template", "tpl"]),
    )?;
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_markdown = media.is_some_and(|kind| kind.trim_start().starts_with("text/markdown"));
    let mut given = Fields {
        title: text(&["x-title", "title", "ti", "t"]),
        message: text(&["x-message", "message", "m"]).replace("\\n", "\n"),
        priority: priority(&text(&["x-priority", "priority", "prio", "p"]))?,
        tags: words(&text(&["x-tags", "tags", "tag", "ta"])),
        click: text(&["x-click", "click"]),
        attach: text(&["x-attach", "attach", "a"]),
        filename: text(&["x-filename", "filename", "file", "f"]),
        actions: actions(&text(&["x-actions", "actions", "action"]))?,
        markdown: is_markdown || is_yes(&text(&["x-markdown", "markdown", "md"])),
        notes: Vec::new(),
    };
    for (names, what) in [
        (
            &["x-email", "x-e-mail", "email", "e-mail", "mail", "e"][..],
            "e-mail",
        ),
        (&["x-call", "call"], "phone call"),
    ] {
        if field(names).is_some() {
            given.notes.push(format!("no {what} was sent"));
        }
    }
    let mut file = None;
    match String::from_utf8(body.into()) {
        Ok(text) if given.filename.is_empty() || !given.attach.is_empty() => {
            if given.message.is_empty() {
                given.message = text;
            } else if !text.trim().is_empty() {
                file = Some(text.into_bytes().into());
            }
        }
        Ok(text) if text.is_empty() => {}
        Ok(text) => file = Some(text.into_bytes().into()),
        Err(binary) => file = Some(binary.into_bytes().into()),
    }
    Ok(publish(given, file))
}

/// Reads a message as JSON; returns it with its topic.
pub(crate) fn from_json(value: &Value) -> Result<(String, Published), Reply> {
    let text = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let topic = text("topic");
    if topic.is_empty() {
        return Err(Reply::bad_request("the JSON has no topic")
            .remedy("send {\"topic\": \"KEY\", \"message\": \"…\"}, or post to /KEY"));
    }
    refuse_what_cannot_be_done(&text("delay"), "")?;
    let list = |name: &str| value.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut given = Fields {
        title: text("title"),
        message: text("message"),
        priority: match value.get("priority") {
            None | Some(Value::Null) => None,
            Some(Value::String(word)) => priority(word)?,
            Some(number) => priority(&number.to_string())?,
        },
        tags: list("tags")
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        click: text("click"),
        attach: text("attach"),
        filename: text("filename"),
        actions: list("actions").map(action).collect(),
        markdown: value.get("markdown").and_then(Value::as_bool).unwrap_or_default(),
        notes: Vec::new(),
    };
    for (name, what) in [("email", "e-mail"), ("call", "phone call")] {
        if !text(name).is_empty() {
            given.notes.push(format!("no {what} was sent"));
        }
    }
    Ok((topic, publish(given, None)))
}

fn refuse_what_cannot_be_done(delay: &str, template: &str) -> Result<(), Reply> {
    if !delay.is_empty() {
        return Err(Reply::bad_request("a message cannot be sent later").remedy("leave out the delay"));
    }
    if !template.is_empty() && !matches!(template, "no" | "0" | "false") {
        return Err(Reply::bad_request("ntfy's templates are not supported")
            .remedy("use a named webhook with templates, [hooks.NAME] in gateway.toml"));
    }
    Ok(())
}

fn publish(mut given: Fields, file: Option<Bytes>) -> Published {
    let unlisted = [(given.tags.len(), "tags"), (given.actions.len(), "actions")]
        .map(|(count, what)| (count.saturating_sub(MAX_LISTED), what));
    given.tags.truncate(MAX_LISTED);
    given.actions.truncate(MAX_LISTED);
    let mut answer = json!({"event": "message", "message": given.message});
    for (name, text) in [("title", &given.title), ("click", &given.click)] {
        if !text.is_empty() {
            answer[name] = json!(text);
        }
    }
    if let Some(priority) = given.priority.filter(|priority| *priority != 3) {
        answer["priority"] = json!(priority);
    }
    if !given.tags.is_empty() {
        answer["tags"] = json!(given.tags);
    }
    let mut incoming = IncomingMessage::new("", given.message.trim_end(), kind(given.priority, &given.tags));
    incoming.notes = given.notes;
    if given.markdown {
        incoming.format = Format::Markdown;
    }
    let name = Some(given.filename.as_str())
        .filter(|name| !name.is_empty())
        .map(safe_name);
    if let Some(bytes) = file.filter(|bytes| !bytes.is_empty()) {
        if incoming.body.is_empty() {
            incoming.body = format!("You received a file: {}", name.as_deref().unwrap_or("attachment"));
        }
        incoming.files.push(GivenFile {
            name,
            media_type: None,
            given: Given::Bytes(bytes),
        });
    } else if !given.attach.is_empty() {
        incoming.files.push(GivenFile {
            name,
            media_type: None,
            given: Given::Url(given.attach),
        });
    }
    if incoming.body.is_empty() {
        TRIGGERED.clone_into(&mut incoming.body);
    }
    decorate(&mut incoming, &given.title, &given.tags);
    incoming.line(&given.click);
    for action in given.actions {
        if action.kind.eq_ignore_ascii_case("view") {
            incoming.line(&format!("{}: {}", action.label, action.url));
        } else {
            incoming.notes.push(format!(
                "the button `{}` ({}) cannot be shown in a chat",
                action.label, action.kind
            ));
        }
    }
    for (count, what) in unlisted.into_iter().filter(|(count, _)| *count > 0) {
        incoming.line(&format!("… and {count} more {what}"));
    }
    answer["message"] = json!(if given.message.is_empty() {
        incoming.body.clone()
    } else {
        given.message
    });
    Published { incoming, answer }
}

/// Puts emoji tags before the title, as ntfy's apps do, and the others below the text.
fn decorate(incoming: &mut IncomingMessage, title: &str, tags: &[String]) {
    let (mut signs, mut others) = (String::new(), Vec::new());
    for tag in tags {
        match emojis::get_by_shortcode(tag) {
            Some(emoji) => {
                signs.push_str(emoji.as_str());
                signs.push(' ');
            }
            None => others.push(tag.as_str()),
        }
    }
    if title.is_empty() {
        incoming.body.insert_str(0, &signs);
    } else {
        incoming.title = format!("{signs}{title}");
    }
    if !others.is_empty() {
        incoming.line(&format!("Tags: {}", others.join(", ")));
    }
}

/// The kind of a message by priority; some tags make it more serious.
fn kind(priority: Option<u8>, tags: &[String]) -> Kind {
    let has = |words: &[&str]| tags.iter().any(|tag| words.contains(&tag.as_str()));
    match priority.unwrap_or(3) {
        5.. => Kind::Failure,
        _ if has(&["rotating_light", "skull", "x", "no_entry"]) => Kind::Failure,
        4 => Kind::Warning,
        _ if has(&["warning"]) => Kind::Warning,
        _ if has(&["white_check_mark", "heavy_check_mark", "tada", "+1"]) => Kind::Success,
        _ => Kind::Info,
    }
}

fn priority(text: &str) -> Result<Option<u8>, Reply> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" => Ok(None),
        // The header of RFC 9218, which browsers send.
        word if word.starts_with("u=") || word == "i" => Ok(None),
        "1" | "min" => Ok(Some(1)),
        "2" | "low" => Ok(Some(2)),
        "3" | "default" => Ok(Some(3)),
        "4" | "high" => Ok(Some(4)),
        "5" | "max" | "urgent" => Ok(Some(5)),
        _ => {
            Err(Reply::bad_request("invalid priority").remedy("send 1 to 5, min, low, default, high or max"))
        }
    }
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn is_yes(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "1" | "yes" | "true")
}

fn action(value: &Value) -> Action {
    let text = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Action {
        kind: text("action"),
        label: text("label"),
        url: text("url"),
    }
}

/// Reads `view, LABEL, URL; http, …`, or a list of objects in JSON.
fn actions(text: &str) -> Result<Vec<Action>, Reply> {
    let bad = || Reply::bad_request("the actions cannot be read").remedy("write `view, LABEL, URL`, or JSON");
    if text.trim_start().starts_with('[') {
        let list: Vec<Value> = serde_json::from_str(text).map_err(|_| bad())?;
        return Ok(list.iter().map(action).collect());
    }
    let mut found = Vec::new();
    for one in pieces(text, ';').into_iter().filter(|one| !one.trim().is_empty()) {
        let mut action = Action {
            kind: String::new(),
            label: String::new(),
            url: String::new(),
        };
        for (number, part) in pieces(&one, ',').into_iter().enumerate() {
            let part = part.trim();
            let (name, value) = match part.split_once('=') {
                Some((name, value)) if name.bytes().all(|b| b.is_ascii_alphabetic()) && !name.is_empty() => {
                    (name, value)
                }
                _ => (
                    ["action", "label", "url"]
                        .get(number)
                        .copied()
                        .unwrap_or_default(),
                    part,
                ),
            };
            let value = value.trim().trim_matches(|c| c == '"' || c == '\'').to_owned();
            match name {
                "action" => action.kind = value,
                "label" => action.label = value,
                "url" => action.url = value,
                _ => {}
            }
        }
        if action.kind.is_empty() || action.label.is_empty() {
            return Err(bad());
        }
        found.push(action);
    }
    Ok(found)
}

/// Splits at a sign that is not in quotes.
fn pieces(text: &str, at: char) -> Vec<String> {
    let (mut all, mut quote) = (vec![String::new()], None);
    for letter in text.chars() {
        match (quote, letter) {
            (None, letter) if letter == at => {
                all.push(String::new());
                continue;
            }
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
        if let Some(last) = all.last_mut() {
            last.push(letter);
        }
    }
    all
}

/// The first of these headers, else the first of these fields of the query.
fn header_or_query(headers: &HeaderMap, query: &str, names: &[&str]) -> Option<String> {
    let header = names
        .iter()
        .filter_map(|name| headers.get(*name))
        .find(|value| !value.is_empty());
    if let Some(value) = header {
        return Some(encoded_word::decode(&String::from_utf8_lossy(value.as_bytes())));
    }
    names.iter().find_map(|name| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let found = pairs.find(|(one, value)| one.eq_ignore_ascii_case(name) && !value.is_empty());
        found.map(|(_, value)| value.into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (
                name.parse().expect("a name"),
                axum::http::HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
            )
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_documented_json_becomes_text_with_its_link() {
        let value = json!({"topic": "myhome", "message": "You left the house. RequestPermit down the A/C?", "actions": [
            {"action": "view", "label": "Open portal", "url": "https://home.example.org/", "clear": true},
            {"action": "http", "label": "RequestPermit down", "url": "https://api.example.org/", "body": "{}"}]});
        let (topic, published) = from_json(&value).expect("legal");
        assert_eq!(topic, "myhome");
        let incoming = published.incoming;
        assert_eq!(incoming.title, "");
        assert_eq!(
            incoming.body,
            "You left the house. RequestPermit down the A/C?\nOpen portal: https://home.example.org/"
        );
        assert_eq!(
            incoming.notes,
            ["the button `RequestPermit down` (http) cannot be shown in a chat"]
        );
        assert_eq!(
            published.answer["message"],
            "You left the house. RequestPermit down the A/C?"
        );
    }

    #[test]
    fn the_documented_headers_are_read() {
        let headers = headers(&[
            ("title", "=?UTF-8?B?QmFja3Vw?="),
            ("priority", "high"),
            ("tags", "warning,skull,nas"),
            ("click", "https://home.example.org/"),
            ("attach", "https://home.example.org/camera.jpg"),
            (
                "actions",
                "view, 'Open, now', https://a.example/?x=1; http, Off, https://b.example",
            ),
        ]);
        let incoming = from_headers(&headers, "", Bytes::from("Backup successful 😀"))
            .expect("legal")
            .incoming;
        assert_eq!(incoming.title, "⚠\u{fe0f} 💀 Backup");
        assert_eq!(
            incoming.body,
            "Backup successful 😀\nTags: nas\nhttps://home.example.org/\nOpen, now: https://a.example/?x=1"
        );
        assert_eq!(incoming.kind, Kind::Failure);
        assert_eq!(incoming.files.len(), 1);
        assert_eq!(incoming.notes.len(), 1);
    }

    #[test]
    fn a_file_is_attached_and_a_query_is_a_message() {
        let published = from_headers(
            &headers(&[("filename", "../a.png")]),
            "",
            Bytes::from_static(b"\x89PNG"),
        )
        .expect("legal");
        assert_eq!(published.incoming.body, "You received a file: a.png");
        assert_eq!(published.incoming.files[0].name.as_deref(), Some("a.png"));
        let query = "message=line+one%5Cntwo&t=Title&p=5";
        let incoming = from_headers(&HeaderMap::new(), query, Bytes::new())
            .expect("legal")
            .incoming;
        assert_eq!(
            (incoming.title.as_str(), incoming.body.as_str(), incoming.kind),
            ("Title", "line one\ntwo", Kind::Failure)
        );
        let nothing = from_headers(&HeaderMap::new(), "", Bytes::new())
            .expect("legal")
            .incoming;
        assert_eq!(nothing.body, "triggered");
    }

    #[test]
    fn tags_and_actions_beyond_the_limit_are_counted() {
        let tags: Vec<String> = (0..40).map(|number| format!("tag{number}")).collect();
        let action = json!({"action": "view", "label": "Open", "url": "https://a.example"});
        let value = json!({"topic": "t", "message": "m", "tags": tags, "actions": vec![action; 35]});
        let body = from_json(&value).expect("legal").1.incoming.body;
        assert!(body.contains("tag31") && !body.contains("tag32"), "{body}");
        assert!(
            body.ends_with("\n… and 8 more tags\n… and 3 more actions"),
            "{body}"
        );
        let headers = headers(&[("tags", &tags.join(","))]);
        let body = from_headers(&headers, "", Bytes::from("m"))
            .expect("legal")
            .incoming
            .body;
        assert!(body.ends_with("\n… and 8 more tags"), "{body}");
    }

    #[test]
    fn impossible_requests_are_refused() {
        for (name, value) in [
            ("delay", "30min"),
            ("x-template", "yes"),
            ("priority", "loud"),
            ("actions", "[1"),
            ("actions", "view"),
        ] {
            assert!(
                from_headers(&headers(&[(name, value)]), "", Bytes::from("x")).is_err(),
                "{name}"
            );
        }
        assert!(from_json(&json!({"message": "x"})).is_err());
        assert!(from_headers(&headers(&[("priority", "u=1, i")]), "", Bytes::from("x")).is_ok());
    }
}
