//! The pages themselves: plain values in, HTML out. No script is needed, and none is sent.

use maud::{DOCTYPE, Markup, html};

use super::text;

/// A room as the index shows it.
#[derive(Debug, Clone)]
pub struct RoomCard {
    /// Token of the room.
    pub token: String,
    /// Name of the room.
    pub name: String,
    /// What the room is about; may have several lines.
    pub description: Option<String>,
    /// Whether there is a picture at `/r/TOKEN/image`.
    pub picture: bool,
    /// People active within the last days.
    pub active_users: i64,
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
    /// When it was posted, Unix seconds.
    pub posted: f64,
    /// Whether it was edited.
    pub edited: bool,
    /// The text; `None` when the message has none (or could not be read).
    pub body: Option<String>,
    /// The text that is quoted.
    pub quote: Option<String>,
    /// Names or kinds of what is attached.
    pub attachments: Vec<String>,
    /// Reactions and how often.
    pub reactions: Vec<(String, i64)>,
}

/// Everything of a room page.
#[derive(Debug, Clone)]
pub struct RoomPage {
    /// Name, description, picture.
    pub room: RoomCard,
    /// The link that apps take.
    pub join_link: String,
    /// Newest first; `None` = this room shows no messages to browsers.
    pub messages: Option<Vec<PageMessage>>,
    /// Whether a way back to the index is shown.
    pub index: bool,
}

fn frame(title: &str, description: &str, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="description" content=(text::hide_ids(description));
                meta name="referrer" content="no-referrer";
                title { (text::hide_ids(title)) }
                link rel="stylesheet" href="/static/style.css";
                link rel="icon" type="image/svg+xml" href="/static/icon.svg";
            }
            body {
                main { (main) }
                footer { p { "Session community server, powered by Ackpost." } }
            }
        }
    }
}

fn picture(room: &RoomCard) -> Markup {
    html! {
        @if room.picture {
            img class="picture" src=(format!("/r/{}/image", room.token)) alt="" width="56" height="56";
        } @else {
            div class="picture letter" aria-hidden="true" { (room.name.chars().next().unwrap_or('#')) }
        }
    }
}

fn active(count: i64) -> String {
    match count {
        1 => "1 active member".to_owned(),
        count => format!("{count} active members"),
    }
}

/// The list of rooms.
pub fn index(rooms: &[RoomCard]) -> Markup {
    frame(
        "Communities",
        "Session communities on this server",
        &html! {
            h1 { "Communities" }
            @if rooms.is_empty() {
                p class="soft" { "No room of this server is listed." }
            }
            ul class="rooms" {
                @for room in rooms {
                    li {
                        div class="card" {
                            (picture(room))
                            div {
                                h2 { a href=(format!("/r/{}/", room.token)) { (text::hide_ids(&room.name)) } }
                                @if let Some(about) = &room.description { p class="about" { (text::hide_ids(about)) } }
                                p class="soft" { (active(room.active_users)) }
                            }
                        }
                    }
                }
            }
        },
    )
}

/// One room.
pub fn room(page: &RoomPage) -> Markup {
    let room = &page.room;
    frame(
        &room.name,
        room.description.as_deref().unwrap_or(&room.name),
        &html! {
            @if page.index { p { a href="/" { "All communities" } } }
            div class="top" {
                (picture(room))
                div {
                    h1 { (text::hide_ids(&room.name)) }
                    p class="soft" { (active(room.active_users)) }
                }
            }
            @if let Some(about) = &room.description { p class="about" { (text::body(about)) } }
            div class="columns" {
                section class="card" aria-label="Recent messages" {
                    (messages(page))
                }
                aside class="card join" aria-label="How to join" {
                    h2 { "Join this community" }
                    img src=(format!("/r/{}/invite.svg", room.token)) alt="QR code of the join link" width="224" height="224";
                    p class="soft" { "Scan the code in Session, or paste this link under “Join Community”:" }
                    code { (page.join_link) }
                }
            }
        },
    )
}

fn messages(page: &RoomPage) -> Markup {
    html! {
        @match &page.messages {
            None => { p class="soft" { "Messages of this room can be read in the Session app." } }
            Some(list) if list.is_empty() => { p class="soft" { "Nobody has written here yet." } }
            Some(list) => {
                ol class="messages" {
                    @for message in list { li id=(format!("m{}", message.id)) { (one(message)) } }
                }
            }
        }
    }
}

fn one(message: &PageMessage) -> Markup {
    html! {
        header {
            b { @match &message.name { Some(name) => (text::hide_ids(name)), None => (message.who) } }
            @if message.name.is_some() { span class="soft" { (message.who) } }
            time class="soft" datetime=(stamp(message.posted)) { (human_time(message.posted)) @if message.edited { ", edited" } }
        }
        @if let Some(quote) = &message.quote { p class="quote" { (text::hide_ids(quote)) } }
        @if let Some(body) = &message.body { p class="body" { (text::body(body)) } }
        @if !message.attachments.is_empty() {
            p class="tags" { @for file in &message.attachments { span { "📎 " (text::hide_ids(file)) } } }
        }
        @if !message.reactions.is_empty() {
            p class="tags" { @for (emoji, count) in &message.reactions { span { (emoji) " " (count) } } }
        }
    }
}

/// What a browser sees instead of a page that is not there.
pub fn missing() -> Markup {
    frame(
        "Not found",
        "There is no such page",
        &html! {
            h1 { "Not found" }
            p { "There is no community at this address, or it is not shown to browsers." }
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

fn stamp(seconds: f64) -> String {
    moment(seconds).to_string()
}

fn human_time(seconds: f64) -> String {
    moment(seconds).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The icon of the pages: an envelope with a tick.
pub const ICON: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\"><rect width=\"32\" height=\"32\" rx=\"7\" fill=\"#00713d\"/>\
<path d=\"M6 10h20v13H6z M6 10l10 8 10-8\" fill=\"none\" stroke=\"#fff\" stroke-width=\"2\" stroke-linejoin=\"round\"/>\
<path d=\"M19 24l3 3 6-7\" fill=\"none\" stroke=\"#3fe29a\" stroke-width=\"3\"/></svg>";

/// The style sheet of the pages.
pub const STYLE: &str = include_str!("style.css");
