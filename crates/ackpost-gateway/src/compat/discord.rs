//! Discord's webhook: `content` and `embeds`.

use ackpost_notify::Kind;
use serde_json::Value;

use super::color;
use crate::hook::IncomingMessage;
use crate::json_value::{list, text};
use crate::reply::Reply;

/// A field with a longer value comes after the others.
const LONG_CHARS: usize = 100;

/// Reads a message. `has_files` says that files came with it, so that it may be without text.
pub(crate) fn read(value: &Value, has_files: bool) -> Result<IncomingMessage, Reply> {
    let mut incoming = IncomingMessage::default();
    incoming.line(text(value, "content").trim_end());
    let alone = incoming.body.is_empty();
    for embed in list(value, "embeds") {
        add_embed(&mut incoming, embed, alone);
    }
    for (name, what) in [("components", "buttons and menus"), ("poll", "a poll")] {
        if value
            .get(name)
            .is_some_and(|part| !part.is_null() && part.as_array().is_none_or(|list| !list.is_empty()))
        {
            incoming.notes.push(format!("{what} cannot be shown in a chat"));
        }
    }
    if incoming.body.is_empty() {
        incoming.body = std::mem::take(&mut incoming.title);
    }
    if incoming.body.is_empty() && !has_files {
        return Err(Reply::bad_request("the message is empty").remedy("send `content`, `embeds` or a file"));
    }
    Ok(incoming)
}

fn add_embed(incoming: &mut IncomingMessage, embed: &Value, may_have_title: bool) {
    if let Some(number) = embed
        .get("color")
        .and_then(Value::as_u64)
        .and_then(|number| u32::try_from(number).ok())
    {
        let kind = color::of_number(number);
        if incoming.kind == Kind::Info || kind == Kind::Failure {
            incoming.kind = kind;
        }
    }
    let title = text(embed, "title").trim();
    if may_have_title && incoming.title.is_empty() && incoming.body.is_empty() && !title.contains('\n') {
        title.clone_into(&mut incoming.title);
    } else {
        incoming.line(title);
    }
    incoming.line(text(embed, "description").trim_end());
    let is_long = |field: &&Value| text(field, "value").chars().count() > LONG_CHARS;
    let is_inline = |field: &&Value| field.get("inline").and_then(Value::as_bool).unwrap_or_default();
    let (long, short): (Vec<&Value>, Vec<&Value>) = list(embed, "fields").iter().partition(is_long);
    let (first, second): (Vec<&Value>, Vec<&Value>) = short.into_iter().partition(is_inline);
    for field in first.into_iter().chain(second).chain(long) {
        // Fields without a name have a space of no width.
        let name = text(field, "name").trim_matches(|c: char| c.is_whitespace() || c == '\u{200b}');
        match (name, text(field, "value").trim()) {
            (_, "" | "\u{200b}") => {}
            ("", value) => incoming.line(value),
            (name, value) => incoming.line(&format!("{name}: {value}")),
        }
    }
    incoming.line(text(embed, "url"));
    let footer = embed
        .pointer("/footer/text")
        .and_then(Value::as_str)
        .unwrap_or_default();
    incoming.line(footer);
    let at = |path: &str| {
        let text = embed.pointer(path).and_then(Value::as_str);
        text.filter(|text| !text.trim().is_empty() && !text.starts_with("attachment:"))
    };
    let is_empty = incoming.body.is_empty() && incoming.title.is_empty();
    match (at("/image/url"), at("/thumbnail/url")) {
        (Some(image), _) => incoming.line(image),
        (None, Some(thumbnail)) if is_empty => incoming.line(thumbnail),
        (None, Some(_)) => incoming
            .notes
            .push("the small picture of an embed is not shown".to_owned()),
        (None, None) => {}
    }
    if let Some(author) = at("/author/name") {
        incoming
            .notes
            .push(format!("the author `{author}` of an embed is not shown"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_of_sonarr_is_read() {
        let overview = "Jason leads the SEAL Team on a dangerous daytime mission where Sonny is wounded and must now rely on Clay.";
        let value = json!({"embeds": [{"description": "Episode Upgraded", "title": "SEAL Team - 1x16", "color": 4_089_856,
            "url": "http://thetvdb.com/?tab=series&id=328686", "author": {"name": "media1"},
            "fields": [{"name": "Overview", "value": overview, "inline": false}, {"name": "Genres", "value": "Action, Drama", "inline": false},
                       {"name": "Quality", "value": "WEBDL-1080p", "inline": true}]}]});
        let incoming = read(&value, false).expect("legal");
        assert_eq!(incoming.title, "SEAL Team - 1x16");
        assert_eq!(
            incoming.body,
            format!(
                "Episode Upgraded\nQuality: WEBDL-1080p\nGenres: Action, Drama\nOverview: {overview}\nhttp://thetvdb.com/?tab=series&id=328686"
            )
        );
        assert_eq!(incoming.kind, Kind::Success);
    }

    #[test]
    fn a_picture_beside_a_text_is_shown_and_an_author_is_named() {
        let value = json!({"embeds": [{"description": "the load of db1", "author": {"name": "grafana"},
            "image": {"url": "https://g.example/load.png"}, "thumbnail": {"url": "https://g.example/icon.png"}}]});
        let incoming = read(&value, false).expect("legal");
        assert_eq!(incoming.body, "the load of db1\nhttps://g.example/load.png");
        assert_eq!(incoming.notes, ["the author `grafana` of an embed is not shown"]);
        let value = json!({"content": "up", "embeds": [{"title": "db1", "thumbnail": {"url": "https://g.example/icon.png"}}]});
        let incoming = read(&value, false).expect("legal");
        assert_eq!(incoming.body, "up\ndb1");
        assert_eq!(incoming.notes, ["the small picture of an embed is not shown"]);
    }

    #[test]
    fn content_embeds_and_nothing() {
        let incoming = read(&json!({"content": "up", "embeds": [{"title": "db1", "color": 15_749_200}], "poll": {"question": 1}}), false).expect("legal");
        assert_eq!(
            (incoming.title.as_str(), incoming.body.as_str(), incoming.kind),
            ("", "up\ndb1", Kind::Failure)
        );
        assert_eq!(incoming.notes, ["a poll cannot be shown in a chat"]);
        assert!(read(&json!({"content": "", "embeds": [null], "components": []}), false).is_err());
        assert!(read(&json!({"content": ""}), true).is_ok());
    }
}
