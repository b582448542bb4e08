//! HTML of the pages, made from plain values. No script is needed.

use maud::{DOCTYPE, Markup, html};

use super::text;

/// The server, as every page names it.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Name of the server; empty = none.
    pub title: String,
    /// Address of the pages, without a slash at the end.
    pub base_url: String,
    /// True if there is a list of rooms to go back to.
    pub index: bool,
}

/// A room as the index shows it.
#[derive(Debug, Clone)]
pub struct RoomCard {
    /// Token of the room.
    pub token: String,
    /// Name of the room.
    pub name: String,
    /// Description of the room; may have several lines.
    pub description: Option<String>,
    /// True if there is a picture at `/r/TOKEN/image`.
    pub picture: bool,
    /// People active within the last days.
    pub active_users: i64,
}

/// A file of a message.
#[derive(Debug, Clone)]
pub struct PageFile {
    /// Number of the file; `None` if it expired or was deleted.
    pub id: Option<i64>,
    /// Name, or kind if it has none.
    pub name: String,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Width and height of the small version, if there is one.
    pub small: Option<(i64, i64)>,
}

/// Message to which another one replies.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A message that everybody may see.
    To {
        /// Its number.
        id: i64,
        /// Name or short id of its author.
        author: String,
        /// Its first words.
        text: String,
        /// True if it is on the same page.
        is_here: bool,
    },
    /// The message was deleted.
    Deleted,
    /// Not everybody may see the message.
    Hidden,
    /// The message is not in the room (any more).
    Missing,
}

/// A message as the page shows it.
#[derive(Debug, Clone)]
pub struct PageMessage {
    /// Number of the message, for the anchor.
    pub id: i64,
    /// Display name the poster gave, if any.
    pub name: Option<String>,
    /// The poster's id, cut by [`text::short_id`].
    pub who: String,
    /// Time of the post, Unix seconds.
    pub posted: f64,
    /// True if it was edited.
    pub edited: bool,
    /// The text; `None` when the message has none (or could not be read).
    pub body: Option<String>,
    /// The message that it is a reply to.
    pub reply: Option<Reply>,
    /// Attached files.
    pub files: Vec<PageFile>,
    /// Reactions and the number of times each was given.
    pub reactions: Vec<(String, i64)>,
}

/// A pinned message, in short.
#[derive(Debug, Clone)]
pub struct PinnedMessage {
    /// Its number.
    pub id: i64,
    /// Name or short id of its author.
    pub author: String,
    /// Its first words.
    pub text: String,
    /// True if it is on the same page.
    pub is_here: bool,
}

/// A page of messages.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Pinned messages, the latest pin first.
    pub pins: Vec<PinnedMessage>,
    /// Messages, newest first.
    pub list: Vec<PageMessage>,
    /// True if these are the newest messages of the room.
    pub is_newest: bool,
    /// Newer messages have numbers above this; `None` if there are none.
    pub newer: Option<i64>,
    /// Older messages have numbers below this; `None` if there are none.
    pub older: Option<i64>,
}

/// Results of a search.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Text of the search.
    pub query: String,
    /// Messages found, newest first.
    pub list: Vec<PageMessage>,
    /// Further results have numbers below this; `None` if there are none.
    pub more: Option<i64>,
    /// True if the search has no word that could be found.
    pub is_empty_query: bool,
    /// True if the database gave up because the search took too long.
    pub took_too_long: bool,
    /// True if the index is being built, so that messages are missing.
    pub is_indexing: bool,
}

/// Messages that a room page shows.
#[derive(Debug, Clone)]
pub enum RoomView {
    /// No messages: this room shows none to browsers.
    Info,
    /// Messages.
    Messages(Listing),
    /// Results of a search.
    Found(Found),
}

/// Everything of a room page.
#[derive(Debug, Clone)]
pub struct RoomPage {
    /// The server.
    pub site: Site,
    /// Name, description, picture.
    pub room: RoomCard,
    /// The link that apps take.
    pub join_link: String,
    /// True if the room has a search.
    pub search: bool,
    /// The account that takes reports as direct messages, where members can report.
    pub reports_to: Option<String>,
    /// The messages.
    pub view: RoomView,
}

/// Contents of the head of a page, without its title.
#[derive(Default)]
pub(super) struct Head<'a> {
    pub(super) description: &'a str,
    /// Path of the page, with a slash; `None` for pages that are not to be found by search engines.
    pub(super) path: Option<String>,
    /// Path of a picture.
    pub(super) picture: Option<String>,
    /// Paths of the pages before and after this one.
    pub(super) newer: Option<String>,
    pub(super) older: Option<String>,
    /// True if the page has a button that copies.
    pub(super) copies: bool,
}

pub(super) fn frame(site: &Site, title: &str, head: &Head<'_>, main: &Markup) -> Markup {
    let title = text::hide_ids(title);
    let whole = match site.title.as_str() {
        "" => title.clone(),
        name if name == title => title.clone(),
        name => format!("{title} – {name}"),
    };
    let description = text::hide_ids(head.description);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="description" content=(description);
                meta name="referrer" content="no-referrer";
                meta name="color-scheme" content="light dark";
                title { (whole) }
                @if let Some(path) = &head.path {
                    meta property="og:type" content="website";
                    meta property="og:title" content=(title);
                    meta property="og:description" content=(description);
                    meta property="og:url" content=(format!("{}{path}", site.base_url));
                    @if !site.title.is_empty() { meta property="og:site_name" content=(site.title); }
                    @if let Some(picture) = &head.picture {
                        meta property="og:image" content=(format!("{}{picture}", site.base_url));
                    }
                    meta name="twitter:card" content="summary";
                } @else {
                    meta name="robots" content="noindex";
                }
                @if let Some(newer) = &head.newer { link rel="prev" href=(newer); }
                @if let Some(older) = &head.older { link rel="next" href=(older); }
                link rel="stylesheet" href="/static/style.css";
                link rel="icon" type="image/svg+xml" href="/static/icon.svg";
                @if head.copies { (copy_script()) }
            }
            body {
                @if site.index && !site.title.is_empty() {
                    header class="site" { a href="/" dir="auto" { (site.title) } }
                }
                main { (main) }
                footer { p { "Session community server, powered by Ackpost." } }
            }
        }
    }
}

pub(super) fn picture(room: &RoomCard) -> Markup {
    html! {
        @if room.picture {
            img class="picture" src=(format!("/r/{}/image", room.token)) alt="" width="56" height="56";
        } @else {
            div class="picture letter" aria-hidden="true" { (room.name.chars().next().unwrap_or('#')) }
        }
    }
}

/// The number of active members, if there are any.
pub(super) fn active(count: i64) -> Markup {
    html! {
        @match count {
            ..=0 => {}
            1 => { p class="soft" { "1 active member" } }
            count => { p class="soft" { (count) " active members" } }
        }
    }
}

/// The list of rooms.
pub fn index(site: &Site, rooms: &[RoomCard]) -> Markup {
    let title = match site.title.as_str() {
        "" => "Rooms",
        title => title,
    };
    let head = Head {
        description: "Rooms of this Session community server",
        path: Some("/".to_owned()),
        ..Head::default()
    };
    // The heading names the server already.
    let own = Site {
        index: false,
        ..site.clone()
    };
    frame(
        &own,
        title,
        &head,
        &html! {
            h1 dir="auto" { (title) }
            @if rooms.is_empty() {
                p class="soft" { "No room of this server is listed." }
            } @else {
                ul class="rooms" {
                    @for room in rooms {
                        li {
                            div class="card" {
                                (picture(room))
                                div {
                                    h2 dir="auto" { a href=(format!("/r/{}/", room.token)) { (text::hide_ids(&room.name)) } }
                                    @if let Some(about) = &room.description { p class="about" dir="auto" { (text::hide_ids(about)) } }
                                    (active(room.active_users))
                                }
                            }
                        }
                    }
                }
            }
        },
    )
}

/// Page for a browser that asks for one that does not exist.
pub fn missing(site: &Site) -> Markup {
    frame(
        site,
        "Not found",
        &Head {
            description: "This page does not exist",
            ..Head::default()
        },
        &html! {
            h1 { "Not found" }
            p { "This address has no room, or the room is not shown to browsers." }
        },
    )
}

/// Page for a browser when too many searches are running.
pub fn busy(site: &Site) -> Markup {
    frame(
        site,
        "Too many searches",
        &Head {
            description: "Too many searches at the moment",
            ..Head::default()
        },
        &html! {
            h1 { "Too many searches" }
            p { "The server is searching for others. Load this page again in a few seconds." }
        },
    )
}

fn moment(seconds: f64) -> jiff::Timestamp {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole seconds of a time of day, saturating"
    )]
    let whole = seconds as i64;
    jiff::Timestamp::from_second(whole).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

pub(super) fn stamp(seconds: f64) -> String {
    moment(seconds).to_string()
}

pub(super) fn human_time(seconds: f64) -> String {
    moment(seconds).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The icon of the pages: an envelope with a tick.
pub const ICON: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\"><rect width=\"32\" height=\"32\" rx=\"7\" fill=\"#00713d\"/>\
<path d=\"M6 10h20v13H6z M6 10l10 8 10-8\" fill=\"none\" stroke=\"#fff\" stroke-width=\"2\" stroke-linejoin=\"round\"/>\
<path d=\"M19 24l3 3 6-7\" fill=\"none\" stroke=\"#3fe29a\" stroke-width=\"3\"/></svg>";

/// The style sheet of the pages.
pub const STYLE: &str = include_str!("style.css");

/// The script that shows the button which copies the join link.
pub(super) const COPY: &str = include_str!("copy.js");
/// Hash of [`COPY`], the only script that the pages let run.
pub(super) const COPY_HASH: &str = "sha256-Z2x/cYCcBfMDnNjlSn6qtb9Gpi0PrUhvBrNF6Wi5uNM=";

fn copy_script() -> Markup {
    html! { script defer src="/static/copy.js" integrity=(COPY_HASH) {} }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use sha2::Digest as _;

    use super::*;

    #[test]
    fn the_hash_is_that_of_the_script() {
        let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(COPY));
        assert_eq!(COPY_HASH, format!("sha256-{hash}"));
    }
}
