//! HTML of a room page.

use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::page::{
    Found, Head, Listing, PageFile, PageMessage, PinnedMessage, Reply, RoomPage, RoomView, active, frame,
    human_time, picture, stamp,
};
use super::text;
use crate::http::FILE_NAME;
use crate::search::MAX_SEARCH;

/// Pixels of a picture on the page, at most.
const SHOWN: i64 = 240;

/// One room.
pub(super) fn room(page: &RoomPage) -> Markup {
    let room = &page.room;
    let path = format!("/r/{}/", room.token);
    let (newer, older, is_found) = match &page.view {
        RoomView::Info => (None, None, true),
        RoomView::Messages(listing) => (
            listing.newer.map(|id| format!("{path}?after={id}")),
            listing.older.map(|id| format!("{path}?before={id}")),
            listing.is_newest,
        ),
        RoomView::Found(_) => (None, None, false),
    };
    let head = Head {
        description: room.description.as_deref().unwrap_or(&room.name),
        path: is_found.then(|| path.clone()),
        picture: room.picture.then(|| format!("{path}image")),
        newer,
        older,
        copies: true,
    };
    let title = match &page.view {
        RoomView::Found(found) if !found.query.is_empty() => format!("{} – {}", found.query, room.name),
        _ => room.name.clone(),
    };
    let is_start = matches!(&page.view, RoomView::Messages(listing) if listing.is_newest)
        || matches!(page.view, RoomView::Info);
    frame(
        &page.site,
        &title,
        &head,
        &html! {
            @if page.site.index { nav class="back" aria-label="Rooms" { a href="/" { "All rooms" } } }
            div class="top" {
                (picture(room))
                div {
                    h1 dir="auto" {
                        @if is_start { (text::hide_ids(&room.name)) }
                        @else { a href=(path) { (text::hide_ids(&room.name)) } }
                    }
                    (active(room.active_users))
                }
            }
            @if is_start { @if let Some(about) = &room.description { p class="about" dir="auto" { (text::body(about)) } } }
            div class=(if is_start { "columns start" } else { "columns" }) {
                div {
                    @if page.search { (search_form(page, &path)) }
                    @match &page.view {
                        RoomView::Info => {
                            section class="card" aria-label="Messages" {
                                p class="soft" { "Messages of this room can be read in the Session app." }
                            }
                        }
                        RoomView::Messages(listing) => { (messages(listing, &head, &path)) }
                        RoomView::Found(found) => { (results(found, &path)) }
                    }
                }
                aside class="card join" aria-label="How to join" { (join(page, &path)) }
            }
        },
    )
}

fn join(page: &RoomPage, path: &str) -> Markup {
    html! {
        h2 { "Join this room" }
        img src=(format!("{path}invite.svg")) alt="QR code of the join link" width="224" height="224";
        p class="soft" { "Scan the code in Session, or paste this link under “Join Community”:" }
        code id="join-link" { (page.join_link) }
        p class="copy" {
            button type="button" data-copy="join-link" hidden { "Copy link" }
            span role="status" class="soft" {}
        }
        @if let Some(account) = &page.reports_to {
            h2 { "Report a message" }
            p class="soft" {
                "Send " code { "report NUMBER reason" } " as a direct message to this account, or reply "
                code { "/report reason" } " to the message:"
            }
            code id="reports-to" { (account) }
        }
    }
}

fn search_form(page: &RoomPage, path: &str) -> Markup {
    let query = match &page.view {
        RoomView::Found(found) => found.query.as_str(),
        _ => "",
    };
    html! {
        form class="search" role="search" method="get" action=(path) {
            label for="q" { "Search this room" }
            div {
                input type="search" id="q" name="q" value=(query) maxlength=(MAX_SEARCH) dir="auto" autocomplete="off";
                button type="submit" { "Search" }
            }
        }
    }
}

/// Returns the link to a message: on this page, or on the page that begins with it.
fn place(path: &str, id: i64, is_here: bool) -> String {
    if is_here {
        format!("#m{id}")
    } else {
        format!("{path}?before={}#m{id}", id.saturating_add(1))
    }
}

fn messages(listing: &Listing, head: &Head<'_>, path: &str) -> Markup {
    html! {
        @if !listing.pins.is_empty() { (pins(&listing.pins, path)) }
        section class="card" aria-label=(if listing.is_newest { "Recent messages" } else { "Messages" }) {
            h2 class="unseen" { (if listing.is_newest { "Recent messages" } else { "Messages" }) }
            @if listing.list.is_empty() {
                p class="soft" {
                    (if listing.is_newest { "Nobody has written here yet." } else { "There are no messages here." })
                }
            } @else {
                ol class="messages" {
                    @for message in &listing.list { li id=(format!("m{}", message.id)) { (one(message, path, false)) } }
                }
            }
        }
        @if head.newer.is_some() || head.older.is_some() || !listing.is_newest {
            nav class="pages" aria-label="Pages" {
                @if !listing.is_newest { a href=(path) { "Newest messages" } }
                @if let Some(newer) = &head.newer { a rel="prev" href=(newer) { "← Newer" } }
                @if let Some(older) = &head.older { a rel="next" href=(older) { "Older →" } }
            }
        }
    }
}

fn pins(pins: &[PinnedMessage], path: &str) -> Markup {
    html! {
        section class="card pins" aria-label="Pinned messages" {
            h2 { "Pinned" }
            ul {
                @for pin in pins {
                    li {
                        a href=(place(path, pin.id, pin.is_here)) {
                            b dir="auto" { (text::hide_ids(&pin.author)) } " "
                            span dir="auto" { (pin.text) }
                        }
                    }
                }
            }
        }
    }
}

fn results(found: &Found, path: &str) -> Markup {
    html! {
        section class="card" aria-label="Results" {
            h2 { "Results" }
            @if found.is_indexing {
                p class="note" { "The index is being built. Older messages may be missing until it is complete." }
            }
            @if found.is_empty_query {
                p class="soft" { "Write a word of the message. Quotation marks keep words together, and a minus sign excludes a word." }
            } @else if found.took_too_long {
                p class="soft" { "This search took too long. Use a less common word." }
            } @else if found.list.is_empty() {
                p class="soft" { "No message has these words." }
            } @else {
                ol class="messages" {
                    @for message in &found.list { li id=(format!("m{}", message.id)) { (one(message, path, true)) } }
                }
            }
        }
        nav class="pages" aria-label="Pages" {
            a href=(path) { "Newest messages" }
            @if let Some(more) = found.more {
                a rel="next" href=(format!("{path}?q={}&before={more}", utf8_percent_encode(&found.query, NON_ALPHANUMERIC))) {
                    "More results →"
                }
            }
        }
    }
}

fn one(message: &PageMessage, path: &str, is_result: bool) -> Markup {
    html! {
        header {
            b dir="auto" { @match &message.name { Some(name) => (text::hide_ids(name)), None => (message.who) } }
            @if message.name.is_some() { span class="soft" { (message.who) } }
            a class="soft" href=(place(path, message.id, !is_result)) {
                time datetime=(stamp(message.posted)) { (human_time(message.posted)) }
                @if message.edited { ", edited" }
            }
        }
        @if let Some(reply) = &message.reply { (answered(reply, path, is_result)) }
        @if let Some(body) = &message.body { p class="body" dir="auto" { (text::body(body)) } }
        @if !message.files.is_empty() { (files(&message.files, path)) }
        @if !message.reactions.is_empty() {
            ul class="tags" aria-label="Reactions" { @for (emoji, count) in &message.reactions { li { (emoji) " " (count) } } }
        }
    }
}

fn answered(reply: &Reply, path: &str, is_result: bool) -> Markup {
    html! {
        p class="quote" {
            @match reply {
                Reply::To { id, author, text, is_here } => {
                    a href=(place(path, *id, *is_here && !is_result)) {
                        span class="unseen" { "Reply to " }
                        b dir="auto" { (text::hide_ids(author)) } " "
                        span dir="auto" { (text) }
                    }
                }
                Reply::Deleted => "Reply to a message that was deleted",
                // One text: nobody learns from a guessed reply if there is a hidden message.
                Reply::Hidden | Reply::Missing => "Reply to a message that is not shown here",
            }
        }
    }
}

fn files(files: &[PageFile], path: &str) -> Markup {
    html! {
        ul class="files" {
            @for file in files {
                li {
                    @match (file.id, file.small) {
                        (Some(id), Some((width, height))) => {
                            @let (width, height) = fitting(width, height);
                            a class="thumb" href=(address(path, id, &file.name)) rel="noopener nofollow" {
                                img src=(format!("{path}thumb/{id}")) alt=(format!("Picture: {}", text::hide_ids(&file.name)))
                                    width=(width) height=(height) loading="lazy" decoding="async";
                            }
                        }
                        (Some(id), None) => {
                            a class="file" href=(address(path, id, &file.name)) rel="noopener nofollow" download {
                                span dir="auto" { (text::hide_ids(&file.name)) }
                                @if let Some(size) = file.size { span class="soft" { " " (text::size(size)) } }
                            }
                        }
                        (None, _) => {
                            span class="file gone" {
                                span dir="auto" { (text::hide_ids(&file.name)) } span class="soft" { " no longer here" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn address(path: &str, id: i64, name: &str) -> String {
    // The name is for people who save the link; the number decides.
    format!(
        "{path}file/{id}/{}",
        utf8_percent_encode(&text::hide_ids(name), FILE_NAME)
    )
}

/// The size at which a small version is shown.
fn fitting(width: i64, height: i64) -> (i64, i64) {
    let longest = width.max(height).max(1);
    if longest <= SHOWN {
        return (width, height);
    }
    let fit = |side: i64| (side * SHOWN / longest).max(1);
    (fit(width), fit(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_fit_and_keep_their_shape() {
        assert_eq!(fitting(480, 160), (240, 80));
        assert_eq!(fitting(30, 20), (30, 20));
        assert_eq!(fitting(480, 1), (240, 1));
    }
}
