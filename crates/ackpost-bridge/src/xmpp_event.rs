//! Properties of an event of the XMPP room.

use ackpost_xmpp::{Event, Received};

use crate::clock::now_ms;
use crate::job::FileRef;
use crate::people::OCCUPANT;
use crate::shared::Shared;

/// Longest id that is stored, bytes. Senders choose ids.
pub(crate) const MAX_ID: usize = 1_024;

/// Returns the size of the text of an event, bytes.
pub(crate) fn size(event: &Event) -> usize {
    match event {
        Event::Room(received) | Event::File(received) | Event::Correction(received) => received.body.len(),
        Event::Reaction { emoji, .. } => emoji.iter().map(String::len).sum(),
        _ => 0,
    }
}

/// Returns a line about the messages that were not carried.
pub(crate) fn gap_line(left_out: u64) -> String {
    match left_out {
        1 => "1 earlier message was not carried.".to_owned(),
        n => format!("{n} earlier messages were not carried."),
    }
}

/// An emoji that both sides take: 1 to 12 code points, no text. Of ASCII, only the digits and the star of key caps are part of one.
pub(crate) fn is_emoji(emoji: &str) -> bool {
    (1..=12).contains(&emoji.chars().count())
        && !emoji.is_ascii()
        && !emoji
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c.is_ascii() && !c.is_ascii_digit() && c != '*')
}

pub(crate) fn in_room(event: &Event, shared: &Shared) -> bool {
    let from = match event {
        Event::Room(received) | Event::File(received) | Event::Correction(received) => {
            received.from.as_ref().filter(|_| received.room)
        }
        Event::Reaction { from, room, .. } => Some(from).filter(|_| *room),
        Event::Retracted(retraction) => Some(&retraction.from).filter(|_| retraction.room),
        _ => None,
    };
    from.is_some_and(|from| from.same_bare(&shared.place.room))
}

/// Returns the author: by the permanent id where the room gives such ids, else by nick.
pub(crate) fn author(nick: Option<&str>, occupant_id: Option<&str>) -> String {
    match occupant_id {
        Some(id) => format!("{OCCUPANT}{id}"),
        None => format!("nick:{}", nick.unwrap_or_default()),
    }
}

/// The id of a message in the room.
pub(crate) fn native(received: &Received) -> String {
    match (&received.archive, &received.origin_id, &received.id) {
        (Some(place), _, _) => place.id.clone(),
        (None, Some(id), _) | (None, None, Some(id)) if id.len() <= MAX_ID => {
            format!(
                "{}-{id}",
                received
                    .from
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default()
            )
        }
        (None, ..) => format!("at-{}", now_ms()),
    }
}

pub(crate) fn said_at(received: &Received) -> i64 {
    received
        .stamp
        .as_deref()
        .and_then(read_stamp)
        .unwrap_or_else(now_ms)
}

pub(crate) fn stamp(event: &Event) -> Option<&str> {
    match event {
        Event::Room(received) | Event::File(received) | Event::Correction(received) => {
            received.stamp.as_deref()
        }
        Event::Reaction { stamp, .. } => stamp.as_deref(),
        Event::Retracted(retraction) => retraction.stamp.as_deref(),
        _ => None,
    }
}

pub(crate) fn place(event: &Event) -> Option<String> {
    let place = match event {
        Event::Room(received) | Event::File(received) | Event::Correction(received) => {
            received.archive.as_ref()
        }
        Event::Reaction { archive, .. } => archive.as_ref(),
        Event::Retracted(retraction) => retraction.archive.as_ref(),
        _ => None,
    };
    place.map(|place| place.id.clone())
}

/// Returns the position up to which the room was read.
pub(crate) fn places(event: &Event) -> Vec<(&'static str, String)> {
    place(event).map(|id| ("xmpp.after", id)).into_iter().collect()
}

pub(crate) fn read_stamp(stamp: &str) -> Option<i64> {
    stamp
        .parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_millisecond)
}

pub(crate) fn file_ref(url: &str) -> FileRef {
    let name = url::Url::parse(url).ok().and_then(|url| {
        let last = url.path_segments()?.next_back()?.to_owned();
        Some(last).filter(|name| !name.is_empty())
    });
    FileRef {
        url: url.to_owned(),
        name,
        ..FileRef::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_emoji_are_reactions() {
        for emoji in ["👍", "❤\u{fe0f}", "1\u{fe0f}\u{20e3}", "🏳\u{fe0f}\u{200d}🌈"] {
            assert!(is_emoji(emoji), "{emoji}");
        }
        for text in [
            "",
            "..",
            ".",
            "ok",
            "%2e%2e",
            "a👍",
            "👍/..",
            "👍?",
            "👍\n",
            "1",
            &"👍".repeat(13),
        ] {
            assert!(!is_emoji(text), "{text:?}");
        }
    }
}
