//! Words that the answers of several commands share.

use crate::store::{RoomPatch, RoomRow, Where};

/// The rooms to which a store operation applies.
pub(super) fn place_of(rooms: Option<&[RoomRow]>) -> Where {
    rooms.map_or(Where::Global, |rooms| {
        Where::Rooms(rooms.iter().map(|room| room.id).collect())
    })
}

/// Describes rooms or the whole server in words.
pub(super) fn place_words(rooms: Option<&[RoomRow]>) -> String {
    match rooms {
        None => "the whole server".to_owned(),
        Some(rooms) => {
            let tokens: Vec<&str> = rooms.iter().map(|room| room.token.as_str()).collect();
            tokens.join(", ")
        }
    }
}

/// The token for the log when one room is meant.
pub(super) fn one_token(rooms: Option<&[RoomRow]>) -> Option<&str> {
    match rooms {
        Some([room]) => Some(&room.token),
        _ => None,
    }
}

/// `1 thing`, `2 things`.
pub(super) fn count(number: u64, thing: &str) -> String {
    if number == 1 {
        format!("1 {thing}")
    } else {
        format!("{number} {thing}s")
    }
}

/// A time as an operator reads it: in the zone of this machine, with the name of the zone.
pub(super) fn time(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds, saturating")]
    let whole = seconds as i64;
    jiff::Timestamp::from_second(whole).map_or_else(
        |_| seconds.to_string(),
        |at| {
            at.to_zoned(jiff::tz::TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S %Z")
                .to_string()
        },
    )
}

/// The changes of a room in words.
pub(super) fn changes(patch: &RoomPatch, image: bool) -> String {
    let mut parts = Vec::new();
    if let Some(name) = &patch.name {
        parts.push(format!("name = {name}"));
    }
    if let Some(description) = &patch.description {
        parts.push(
            if description.is_some() {
                "description"
            } else {
                "no description"
            }
            .to_owned(),
        );
    }
    for (value, what) in [
        (patch.read, "read"),
        (patch.accessible, "accessible"),
        (patch.write, "write"),
        (patch.upload, "upload"),
    ] {
        if let Some(value) = value {
            parts.push(format!("{what} = {}", if value { "yes" } else { "no" }));
        }
    }
    if image {
        parts.push("picture".to_owned());
    }
    parts.join(", ")
}
