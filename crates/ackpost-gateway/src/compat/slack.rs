//! Slack's incoming webhook: `text`, `blocks` and `attachments`.

use ackpost_notify::Kind;
use serde_json::Value;

use super::color;
use crate::hook::IncomingMessage;
use crate::json_value::{list, text};
use crate::reply::Reply;

/// Deepest nesting of blocks that is read.
const MAX_DEPTH: usize = 8;

/// Reads a message.
pub(crate) fn read(value: &Value) -> Result<IncomingMessage, Reply> {
    let mut incoming = IncomingMessage::default();
    let text = plain(text(value, "text"));
    let mut blocks = IncomingMessage::default();
    for block in list(value, "blocks") {
        add_block(&mut blocks, block);
    }
    // Slack shows the text only where it cannot show the blocks.
    if !blocks.body.contains(text.trim()) && blocks.title != text.trim() {
        incoming.line(text.trim());
    }
    incoming.line(&blocks.body);
    incoming.title = blocks.title;
    incoming.notes = blocks.notes;
    let alone = incoming.body.is_empty() && incoming.title.is_empty();
    for attachment in list(value, "attachments") {
        add_attachment(&mut incoming, attachment, alone);
    }
    if incoming.body.is_empty() {
        incoming.body = std::mem::take(&mut incoming.title);
    }
    if incoming.body.is_empty() {
        return Err(Reply::bad_request("the message has no text")
            .remedy("send `text`, `blocks` or `attachments`")
            .field("slack", "no_text"));
    }
    Ok(incoming)
}

fn add_attachment(incoming: &mut IncomingMessage, attachment: &Value, may_have_title: bool) {
    let kind = color::kind(text(attachment, "color"));
    if rank(kind) > rank(incoming.kind) {
        incoming.kind = kind;
    }
    let before = (incoming.title.len(), incoming.body.len());
    for (name, link) in [
        ("pretext", ""),
        ("author_name", "author_link"),
        ("title", "title_link"),
    ] {
        let line = plain(text(attachment, name));
        if line.trim().is_empty() {
            continue;
        }
        if may_have_title
            && name != "author_name"
            && incoming.title.is_empty()
            && incoming.body.is_empty()
            && !line.contains('\n')
        {
            incoming.title = line;
        } else {
            incoming.line(&line);
        }
        if link == "author_link" {
            incoming.line(text(attachment, link));
        }
    }
    incoming.line(plain(text(attachment, "text")).trim_end());
    for field in list(attachment, "fields") {
        let (title, value) = (plain(&scalar(field, "title")), plain(&scalar(field, "value")));
        match (title.trim(), value.trim()) {
            // A field without a value says nothing.
            (_, "") => {}
            ("", value) => incoming.line(value),
            (title, value) => incoming.line(&format!("{title}: {value}")),
        }
    }
    for block in list(attachment, "blocks") {
        add_block(incoming, block);
    }
    if (incoming.title.len(), incoming.body.len()) == before {
        incoming.line(plain(text(attachment, "fallback")).trim_end());
        return;
    }
    for action in list(attachment, "actions") {
        add_button(incoming, action);
    }
    for link in ["title_link", "image_url", "thumb_url"] {
        incoming.line(text(attachment, link));
    }
    incoming.line(&plain(text(attachment, "footer")));
}

fn add_block(incoming: &mut IncomingMessage, block: &Value) {
    match text(block, "type") {
        "header" => {
            let line = plain(text(&block["text"], "text"));
            if incoming.title.is_empty() && incoming.body.is_empty() && !line.contains('\n') {
                incoming.title = line;
            } else {
                incoming.line(&line);
            }
        }
        "section" => {
            incoming.line(&plain(text(&block["text"], "text")));
            for field in list(block, "fields") {
                incoming.line(&plain(text(field, "text")));
            }
            add_button(incoming, &block["accessory"]);
        }
        "context" => {
            let words: Vec<String> = list(block, "elements")
                .iter()
                .map(|one| plain(text(one, "text")))
                .collect();
            incoming.line(words.join(" ").trim());
        }
        "actions" => list(block, "elements")
            .iter()
            .for_each(|button| add_button(incoming, button)),
        "image" => {
            let title = block
                .pointer("/title/text")
                .and_then(Value::as_str)
                .unwrap_or_default();
            incoming.line(title);
            incoming.line(text(block, "image_url"));
        }
        "rich_text" => incoming.line(rich(block, MAX_DEPTH).trim_end()),
        "markdown" => incoming.line(text(block, "text")),
        "divider" | "" => {}
        other => incoming
            .notes
            .push(format!("a block of the type `{other}` cannot be shown in a chat")),
    }
}

/// A button with an address becomes a line; another one cannot work.
fn add_button(incoming: &mut IncomingMessage, button: &Value) {
    let label = match &button["text"] {
        Value::String(label) => label.as_str(),
        other => text(other, "text"),
    };
    match (text(button, "type"), text(button, "url")) {
        ("image", _) => incoming.line(text(button, "image_url")),
        (_, "") if label.is_empty() => {}
        (_, "") => incoming
            .notes
            .push(format!("the button `{label}` cannot be shown in a chat")),
        (_, address) => incoming.line(&format!("{label}: {address}")),
    }
}

/// The text of a `rich_text` block.
fn rich(value: &Value, depth: usize) -> String {
    let Some(depth) = depth.checked_sub(1) else {
        return "… (nested too deeply)".to_owned();
    };
    let mut out = String::new();
    for element in list(value, "elements") {
        match text(element, "type") {
            "text" => out.push_str(text(element, "text")),
            "link" => {
                let (label, address) = (text(element, "text"), text(element, "url"));
                out.push_str(&if label.is_empty() {
                    address.to_owned()
                } else {
                    format!("{label} ({address})")
                });
            }
            "emoji" => {
                let name = text(element, "name");
                out.push_str(
                    &emojis::get_by_shortcode(name)
                        .map_or_else(|| format!(":{name}:"), |found| found.as_str().to_owned()),
                );
            }
            "user" | "channel" | "usergroup" => {
                out.push('@');
                out.push_str(
                    ["user_id", "channel_id", "usergroup_id"]
                        .iter()
                        .map(|name| text(element, name))
                        .find(|id| !id.is_empty())
                        .unwrap_or_default(),
                );
            }
            "broadcast" => {
                out.push('@');
                out.push_str(text(element, "range"));
            }
            "rich_text_list" => {
                for item in list(element, "elements") {
                    out.push_str(&format!("• {}\n", rich(item, depth)));
                }
            }
            _ => {
                out.push_str(&rich(element, depth));
                out.push('\n');
            }
        }
    }
    out
}

/// Turns Slack's marks into words: `<https://x|text>`, `<!channel>`, `<@U1>`, `&amp;`.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        out.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('>').map(|length| start + length) else {
            rest = &rest[start..];
            break;
        };
        let mark = &rest[start + 1..end];
        let (target, label) = mark.split_once('|').unwrap_or((mark, ""));
        match target.as_bytes().first() {
            Some(b'!' | b'@' | b'#') if !label.is_empty() => out.push_str(label),
            Some(b'!') => {
                out.push('@');
                out.push_str(&target[1..]);
            }
            Some(b'@' | b'#') => out.push_str(target),
            _ if !target.contains(':') => out.push_str(&rest[start..=end]),
            _ => {
                let target = target.strip_prefix("mailto:").unwrap_or(target);
                if label.is_empty() || label == target {
                    out.push_str(target);
                } else {
                    out.push_str(&format!("{label} ({target})"));
                }
            }
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Info => 0,
        Kind::Success => 1,
        Kind::Warning => 2,
        Kind::Failure => 3,
    }
}

/// Text, a number or a truth value as text.
fn scalar(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(yes)) => yes.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn attachments_become_title_and_lines() {
        let value = json!({"attachments": [{"color": "good", "fields": [
            {"title": "Requested by", "value": "jane", "short": true},
            {"title": "Duration", "value": "00:02:03"},
            {"title": "Title without value", "value": null},
            {"title": null, "value": "Value without title"},
            {"title": null, "value": null}],
            "pretext": "Build ConsumerAddressModule succeeded", "fallback": "Build succeeded"}]});
        let incoming = read(&value).expect("legal");
        assert_eq!(
            incoming,
            IncomingMessage::new(
                "Build ConsumerAddressModule succeeded",
                "Requested by: jane\nDuration: 00:02:03\nValue without title",
                Kind::Success
            )
        );
        let value = json!({"username": "alertmanager", "attachments": [{"title": "[FIRING:1] InstanceDown",
            "title_link": "http://am/", "text": "db1 is down", "fallback": "[FIRING:1] InstanceDown | http://am/",
            "color": "danger"}]});
        let incoming = read(&value).expect("legal");
        assert_eq!(
            incoming,
            IncomingMessage::new(
                "[FIRING:1] InstanceDown",
                "db1 is down\nhttp://am/",
                Kind::Failure
            )
        );
    }

    #[test]
    fn blocks_marks_and_buttons() {
        let value = json!({"text": "fallback", "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": "Deploy"}},
            {"type": "section", "text": {"type": "mrkdwn", "text": "<https://x.example|Build 1> by <@U1> a &lt; b <!channel>"},
             "fields": [{"type": "mrkdwn", "text": "*Took:* 3 s"}]},
            {"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "Open"}, "url": "https://y.example"},
                {"type": "button", "text": {"type": "plain_text", "text": "Undo"}, "value": "1"}]},
            {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
                {"type": "text", "text": "see "}, {"type": "link", "url": "https://z.example", "text": "z"}, {"type": "emoji", "name": "tada"}]}]},
            {"type": "video", "title": {}}]});
        let incoming = read(&value).expect("legal");
        assert_eq!(incoming.title, "Deploy");
        assert_eq!(
            incoming.body,
            "fallback\nBuild 1 (https://x.example) by @U1 a < b @channel\n*Took:* 3 s\nOpen: https://y.example\n\
             see z (https://z.example)🎉"
        );
        assert_eq!(incoming.notes.len(), 2, "{:?}", incoming.notes);
    }

    #[test]
    fn nulls_and_nothing() {
        assert!(
            read(&json!({"text": null, "attachments": [null, {"fields": null}], "blocks": null})).is_err()
        );
        assert!(read(&json!("x")).is_err());
        assert_eq!(
            plain("a < b <x> <mailto:j@x.example|j@x.example>"),
            "a < b <x> j@x.example"
        );
        let mut deep = json!({"type": "rich_text_section", "elements": []});
        for _ in 0..40 {
            deep = json!({"type": "rich_text_section", "elements": [deep]});
        }
        assert!(
            read(&json!({"text": "x", "blocks": [{"type": "rich_text", "elements": [deep]}]}))
                .expect("legal")
                .body
                .contains("too deeply")
        );
    }
}
