//! What browsers see: the index of rooms, a page for each room, its picture and its QR code; and, on a listener
//! of its own, health and metrics.

mod metrics;
pub mod page;
pub mod qr;
pub mod text;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, header};
use maud::Markup;
use session_protocol::RoomToken;
use session_protocol::content::Content;
use session_protocol::link::JoinLink;

use crate::app::App;
use crate::cache::Room;
use crate::http::reply::{Refusal, Reply, ReplyBody};
use crate::model::rules::WebView;
use crate::store::{MessageRow, Page, ReactionRow, StoreResult};

pub(crate) use metrics::{resident_bytes, start_metrics};
use page::{PageMessage, RoomCard, RoomPage};

/// Messages of a page.
const MESSAGES: i64 = 50;
/// Pixels of a module in a PNG.
const SCALE: usize = 6;

/// Nothing but our own style sheet and pictures is loaded, nothing runs, nothing may frame the page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Headers of every page.
fn headers(kind: &'static str, cache: &'static str) -> Vec<(HeaderName, HeaderValue)> {
    vec![
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(cache)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]
}

fn reply(kind: &'static str, cache: &'static str, body: impl Into<bytes::Bytes>) -> Reply {
    Reply {
        status: StatusCode::OK,
        headers: headers(kind, cache),
        body: ReplyBody::Bytes(body.into()),
    }
}

fn html(page: Markup) -> Reply {
    // Names and texts of others stand in every page.
    let page = text::harmless(&page.into_string());
    reply("text/html; charset=utf-8", "no-cache", page)
}

fn redirect(to: &str) -> Option<Reply> {
    let mut reply = reply("text/plain; charset=utf-8", "no-cache", "");
    reply.status = StatusCode::SEE_OTHER;
    reply
        .headers
        .push((header::LOCATION, HeaderValue::from_str(to).ok()?));
    Some(reply)
}

/// The page of a path; `None` when there is none, so that the answer is that of any unknown path.
pub(crate) async fn respond(app: &Arc<App>, path: &str) -> Option<Reply> {
    let config = app.config();
    if !config.web.enabled {
        return None;
    }
    match find(app, path).await {
        // Below /r/ only browsers look; every other unknown path has the answer that programs know.
        Ok(None) if path.starts_with("/r/") => {
            let mut reply = html(page::missing());
            reply.status = StatusCode::NOT_FOUND;
            Some(reply)
        }
        Ok(found) => found,
        Err(error) => Some(Refusal::from(error).into()),
    }
}

async fn find(app: &Arc<App>, path: &str) -> StoreResult<Option<Reply>> {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        [""] if app.config().web.index => index(app).await.map(Some),
        ["static", "style.css"] => Ok(Some(reply(
            "text/css; charset=utf-8",
            "max-age=3600",
            page::STYLE,
        ))),
        ["static", "icon.svg"] => Ok(Some(reply("image/svg+xml", "max-age=86400", page::ICON))),
        ["favicon.ico"] => Ok(redirect("/static/icon.svg")),
        ["robots.txt"] => Ok(Some(reply(
            "text/plain; charset=utf-8",
            "max-age=86400",
            "User-agent: *\nAllow: /\n",
        ))),
        ["r", token] => Ok(shown(app, token)
            .await?
            .and_then(|(room, _)| redirect(&format!("/r/{}/", room.token())))),
        // The join link itself, opened in a browser: show what it leads to instead of "not found".
        [token] => Ok(shown(app, token)
            .await?
            .and_then(|(room, _)| redirect(&format!("/r/{}/", room.token())))),
        ["r", token, ""] => room_page(app, token).await,
        ["r", token, "invite.svg"] => Ok(invite(app, token)
            .await?
            .map(|code| reply("image/svg+xml", "max-age=3600", code.svg()))),
        ["r", token, "invite.png"] => Ok(invite(app, token)
            .await?
            .map(|code| reply("image/png", "max-age=3600", code.png(SCALE)))),
        ["r", token, "image"] => image(app, token).await,
        _ => Ok(None),
    }
}

/// The room of a token and how much of it browsers see; `None` when that is nothing.
async fn shown(app: &Arc<App>, token: &str) -> StoreResult<Option<(Arc<Room>, WebView)>> {
    if RoomToken::new(token).is_err() {
        return Ok(None);
    }
    let Some(room) = app.room(token).await? else {
        return Ok(None);
    };
    Ok(view(app, &room).map(|view| (room, view)))
}

fn view(app: &Arc<App>, room: &Room) -> Option<WebView> {
    let rights = room.rights(None);
    match app.guard.web_view(room.id()) {
        WebView::Off => None,
        WebView::Messages if rights.read => Some(WebView::Messages),
        _ if rights.read || rights.accessible => Some(WebView::Info),
        _ => None,
    }
}

fn card(room: &Room) -> RoomCard {
    let row = &room.full.room;
    RoomCard {
        token: row.token.clone(),
        name: row.name.clone(),
        description: row.description.clone(),
        picture: row.image_id.is_some(),
        active_users: room.live.active.load(std::sync::atomic::Ordering::Relaxed),
    }
}

async fn index(app: &Arc<App>) -> StoreResult<Reply> {
    let rooms = app.rooms().await?;
    let cards: Vec<RoomCard> = rooms
        .iter()
        .filter(|room| view(app, room).is_some())
        .map(|room| card(room))
        .collect();
    Ok(html(page::index(&cards)))
}

fn link(app: &Arc<App>, room: &Room) -> String {
    RoomToken::new(room.token()).map_or_else(
        |_| app.base_url(),
        |token| JoinLink::new(app.base_url(), token, app.public_key()).to_string(),
    )
}

async fn invite(app: &Arc<App>, token: &str) -> StoreResult<Option<qr::Picture>> {
    Ok(shown(app, token)
        .await?
        .and_then(|(room, _)| qr::Picture::of(&link(app, &room))))
}

async fn room_page(app: &Arc<App>, token: &str) -> StoreResult<Option<Reply>> {
    let Some((room, view)) = shown(app, token).await? else {
        return Ok(None);
    };
    let messages = match view {
        WebView::Messages => Some(recent(app, &room).await?),
        _ => None,
    };
    let page = RoomPage {
        room: card(&room),
        join_link: link(app, &room),
        messages,
        index: app.config().web.index,
    };
    Ok(Some(html(page::room(&page))))
}

async fn recent(app: &Arc<App>, room: &Room) -> StoreResult<Vec<PageMessage>> {
    let mut rows = app.store.messages(room.id(), Page::Recent, MESSAGES).await?;
    rows.retain(|row| !row.is_whisper());
    let ids = rows.iter().map(|row| row.id).collect();
    let reactions = app.store.reactions(room.id(), ids, 0).await?.rows;
    Ok(rows
        .into_iter()
        .filter_map(|row| message(row, &reactions))
        .collect())
}

fn message(row: MessageRow, reactions: &[ReactionRow]) -> Option<PageMessage> {
    let content = Content::decode_bounded(&row.data?).ok()?.data_message?;
    let quote = content
        .quote
        .and_then(|quote| quote.text)
        .filter(|text| !text.is_empty());
    let attachments = content
        .attachments
        .into_iter()
        .map(|file| {
            file.file_name
                .or(file.content_type)
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "file".to_owned())
        })
        .collect();
    Some(PageMessage {
        id: row.id,
        name: content
            .profile
            .and_then(|profile| profile.display_name)
            .filter(|name| !name.trim().is_empty()),
        who: text::short_id(&row.session_id),
        posted: row.posted,
        edited: row.edited.is_some(),
        body: content.body.filter(|body| !body.is_empty()),
        quote,
        attachments,
        reactions: reactions
            .iter()
            .filter(|reaction| reaction.message_id == row.id)
            .map(|reaction| (reaction.reaction.clone(), reaction.count))
            .collect(),
    })
}

async fn image(app: &Arc<App>, token: &str) -> StoreResult<Option<Reply>> {
    let Some((room, _)) = shown(app, token).await? else {
        return Ok(None);
    };
    let Some(id) = room.full.room.image_id else {
        return Ok(None);
    };
    let Some(file) = app.store.file(room.id(), id).await? else {
        return Ok(None);
    };
    let size = u64::try_from(file.size).unwrap_or(0);
    let Ok(mut content) = app.contents.open(&file.content, size).await else {
        return Ok(None);
    };
    let Ok(head) = content.peek().await else {
        return Ok(None);
    };
    // What a browser would run is never served: only pictures that are known by their first bytes.
    let Some(kind) = picture_type(head) else {
        return Ok(None);
    };
    Ok(Some(Reply {
        status: StatusCode::OK,
        headers: headers(kind, "max-age=300"),
        body: ReplyBody::File(content),
    }))
}

/// The media type of a picture that browsers show, by its first bytes.
pub(crate) fn picture_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_by_their_first_bytes() {
        assert_eq!(picture_type(b"\x89PNG\r\n\x1a\nrest"), Some("image/png"));
        assert_eq!(picture_type(b"RIFF\x01\x02\x03\x04WEBPVP8 "), Some("image/webp"));
        for none in [&b"<svg onload=alert(1)>"[..], b"RIFF....WAVE", b"", b"GIF8"] {
            assert_eq!(picture_type(none), None);
        }
    }
}
