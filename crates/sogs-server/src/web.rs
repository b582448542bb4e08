//! Pages for browsers, health and metrics.
//!
//! The pages are the index of rooms and a page for each room with its pictures, files and QR code. Health and metrics
//! have their own listener.

mod metrics;
pub mod page;
pub mod qr;
mod replies;
mod room;
mod room_page;
mod search;
mod search_limit;
pub mod text;
mod thumbnail;
mod upkeep;

use std::sync::Arc;

use bounded_http::MemoryPermit;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use maud::Markup;
use percent_encoding::utf8_percent_encode;
use session_protocol::RoomToken;
use session_protocol::link::JoinLink;

use crate::app::App;
use crate::cache::Room;
use crate::clock::unix_now;
use crate::contents::{ContentError, Opened};
use crate::http::memory::SMALL_ANSWER;
use crate::http::reply::{Refusal, Reply, ReplyBody};
use crate::http::request::Req as Request;
use crate::http::{FILE_NAME, clean_file_name};
use crate::model::rules::WebView;
use crate::moderation;
use crate::store::{FileRow, Id, StoreResult};

pub(crate) use metrics::{resident_bytes, start_metrics};
use page::{RoomCard, RoomPage, RoomView, Site};
pub use replies::Replies;
use room::Part;
pub use search_limit::Searches;
pub(crate) use upkeep::start as start_upkeep;

const HTML: &str = "text/html; charset=utf-8";
/// Pixels of a module in a PNG.
const SCALE: usize = 6;

/// Builds the content security policy of the pages.
///
/// Browsers load only our own style sheet, pictures and the one script with this hash, send forms to this server, and
/// show the page in no frame.
fn policy() -> HeaderValue {
    HeaderValue::from_str(&format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; script-src '{}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        page::COPY_HASH
    ))
    .unwrap_or(FILE_POLICY)
}

/// Files that people uploaded are shown alone, if at all, and nothing in them runs.
const FILE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox",
);

fn headers(kind: &'static str, cache: &'static str, policy: HeaderValue) -> Vec<(HeaderName, HeaderValue)> {
    vec![
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(cache)),
        (header::CONTENT_SECURITY_POLICY, policy),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]
}

fn reply(kind: &'static str, cache: &'static str, body: impl Into<Bytes>) -> Reply {
    Reply {
        status: StatusCode::OK,
        headers: headers(kind, cache, policy()),
        body: ReplyBody::Bytes(body.into()),
    }
}

/// Reply with a file that another person uploaded.
fn file_reply(kind: &'static str, cache: &'static str, content: Opened) -> Reply {
    Reply {
        status: StatusCode::OK,
        headers: headers(kind, cache, FILE_POLICY),
        body: ReplyBody::File(content),
    }
}

fn html(page: Markup) -> Reply {
    // Every page contains names and texts of other people.
    let page = text::harmless(&page.into_string());
    reply(HTML, "no-cache", page)
}

fn redirect(to: &str) -> Option<Reply> {
    let mut reply = reply("text/plain; charset=utf-8", "no-cache", "");
    reply.status = StatusCode::SEE_OTHER;
    reply
        .headers
        .push((header::LOCATION, HeaderValue::from_str(to).ok()?));
    Some(reply)
}

fn site(app: &App) -> Site {
    let config = app.config();
    Site {
        title: config.web.title.trim().to_owned(),
        base_url: app.base_url(),
        index: config.web.index,
    }
}

/// Answers with the page of a path; `None` when there is none, so that the answer is that of any unknown path.
pub(crate) async fn respond(app: &Arc<App>, request: &Request) -> Option<Reply> {
    let config = app.config();
    if !config.web.enabled {
        return None;
    }
    match find(app, request).await {
        // Below /r/ only browsers look; every other unknown path has the answer that programs know.
        Ok(None) if request.path.starts_with("/r/") => {
            let mut reply = html(page::missing(&site(app)));
            reply.status = StatusCode::NOT_FOUND;
            Some(reply)
        }
        Ok(found) => found,
        Err(error) => Some(Refusal::from(error).into()),
    }
}

async fn find(app: &Arc<App>, request: &Request) -> StoreResult<Option<Reply>> {
    let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        [""] if app.config().web.index => index(app).await.map(Some),
        ["static", "style.css"] => Ok(Some(reply(
            "text/css; charset=utf-8",
            "max-age=3600",
            page::STYLE,
        ))),
        ["static", "copy.js"] => Ok(Some(reply(
            "text/javascript; charset=utf-8",
            "max-age=3600",
            page::COPY,
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
        ["r", token, ""] => room_page(app, token, request).await,
        ["r", token, "invite.svg"] => Ok(invite(app, token)
            .await?
            .map(|code| reply("image/svg+xml", "max-age=3600", code.svg()))),
        ["r", token, "invite.png"] => Ok(invite(app, token)
            .await?
            .map(|code| reply("image/png", "max-age=3600", code.png(SCALE)))),
        ["r", token, "image"] => image(app, token).await,
        ["r", token, "thumb", id] => thumb(app, token, id).await,
        ["r", token, "file", id] | ["r", token, "file", id, _] => download(app, token, id).await,
        _ => Ok(None),
    }
}

/// Returns the room of a token and how much of it browsers see; `None` if they see nothing.
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
    Ok(html(page::index(&site(app), &cards)))
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

async fn room_page(app: &Arc<App>, token: &str, request: &Request) -> StoreResult<Option<Reply>> {
    let Some((room, view)) = shown(app, token).await? else {
        return Ok(None);
    };
    let number = |name| {
        let text = request.param(name)?;
        text.parse::<Id>().ok().filter(|id| *id >= 0)
    };
    let mut share = app.memory.permit(SMALL_ANSWER);
    let has_search = view == WebView::Messages && app.guard.has_search(room.id());
    let query = request.param("q").filter(|_| has_search);
    let view = match (view, query) {
        (WebView::Messages, Some(query)) => {
            let Some(found) = search::find(app, &room, &query, number("before")).await? else {
                return Ok(Some(busy(app)));
            };
            RoomView::Found(found)
        }
        (WebView::Messages, None) => {
            let part = match (number("before"), number("after")) {
                (Some(id), _) => Part::Before(id),
                (None, Some(id)) => Part::After(id),
                (None, None) => Part::Newest,
            };
            let Some(view) = messages(app, &room, part, &mut share).await? else {
                return Ok(Some(busy(app)));
            };
            view
        }
        _ => RoomView::Info,
    };
    let page = RoomPage {
        site: site(app),
        room: card(&room),
        join_link: link(app, &room),
        search: has_search,
        reports_to: reports_to(app, &room).await?,
        view,
    };
    let body = Bytes::from(text::harmless(&room_page::room(&page).into_string()));
    drop(page);
    share.shrink(body.len());
    if share.cover(body.len()).await.is_err() {
        return Ok(Some(busy(app)));
    }
    Ok(Some(reply(HTML, "no-cache", share.hold(body))))
}

/// Reads a part of a room. Long messages take their memory before they are read; `None` when there is none at the moment.
async fn messages(
    app: &Arc<App>,
    room: &Room,
    part: Part,
    share: &mut MemoryPermit,
) -> StoreResult<Option<RoomView>> {
    let few = room::messages(app, room, part, room::FEW_BYTES).await?;
    if few.is_some() {
        return Ok(few);
    }
    let most = room::MANY_BYTES
        .min(app.memory.size() / 2 / room::COPIES)
        .max(room::FEW_BYTES + 1);
    if share.cover(most * room::COPIES).await.is_err() {
        return Ok(None);
    }
    room::messages(app, room, part, most).await
}

/// The server's own account, if members of the room can send it reports.
async fn reports_to(app: &App, room: &Room) -> StoreResult<Option<String>> {
    let is_open = moderation::takes_reports(app, room).await?;
    Ok(is_open.then(|| app.moderation.account.id().to_string()))
}

fn busy(app: &App) -> Reply {
    let mut reply = html(page::busy(&site(app)));
    reply.status = StatusCode::SERVICE_UNAVAILABLE;
    reply
        .headers
        .push((header::RETRY_AFTER, HeaderValue::from_static("5")));
    reply
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
    match picture(app, &file.content, size).await {
        Ok(found) => Ok(found.map(|(kind, content)| file_reply(kind, "max-age=300", content))),
        Err(ContentError::Missing | ContentError::Damaged(_)) => Ok(None),
        Err(error) => Ok(Some(Refusal::from(error).into())),
    }
}

/// A content and its kind, if it is a picture: nothing that a browser would run is served.
async fn picture(
    app: &Arc<App>,
    content: &str,
    size: u64,
) -> Result<Option<(&'static str, Opened)>, ContentError> {
    let mut content = app.contents.open(content, size).await?;
    let kind = picture_type(content.peek().await?);
    Ok(kind.map(|kind| (kind, content)))
}

/// A file that hangs on a message which everybody may see on the page of the room.
async fn visible_file(app: &Arc<App>, token: &str, id: &str) -> StoreResult<Option<FileRow>> {
    let (Some((room, WebView::Messages)), Ok(id)) = (shown(app, token).await?, id.parse::<Id>()) else {
        return Ok(None);
    };
    let now = unix_now();
    let file = app.store.file(room.id(), id).await?;
    let Some(file) = file.filter(|file| file.expiry.is_none_or(|expiry| expiry > now)) else {
        return Ok(None);
    };
    let Some(message_id) = file.message_id else {
        return Ok(None);
    };
    let message = app.store.message_view(room.id(), message_id).await?;
    let is_visible = message.is_some_and(|message| {
        !message.filtered
            && message.whisper_to.is_none()
            && !message.whisper_mods
            && message.for_moderators_of.is_none()
    });
    Ok(is_visible.then_some(file))
}

async fn thumb(app: &Arc<App>, token: &str, id: &str) -> StoreResult<Option<Reply>> {
    let Some(file) = visible_file(app, token, id).await? else {
        return Ok(None);
    };
    let Some(small) = app.store.thumbnails(vec![file.id]).await?.pop() else {
        return Ok(None);
    };
    let size = u64::try_from(small.size).unwrap_or(0);
    match picture(app, &small.content, size).await {
        Ok(Some((kind, content))) => Ok(Some(file_reply(kind, "max-age=300", content))),
        // A restore or a move left out the thumbnail, or damaged it.
        Ok(None) | Err(ContentError::Missing | ContentError::Damaged(_)) => {
            app.store.remake_thumbnail(file.id).await?;
            Ok(None)
        }
        Err(error) => Ok(Some(Refusal::from(error).into())),
    }
}

async fn download(app: &Arc<App>, token: &str, id: &str) -> StoreResult<Option<Reply>> {
    let Some(file) = visible_file(app, token, id).await? else {
        return Ok(None);
    };
    let size = u64::try_from(file.size).unwrap_or(0);
    let content = match app.contents.open(&file.content, size).await {
        Ok(content) => content,
        Err(error) => return Ok(Some(Refusal::from(error).into())),
    };
    let mut reply = file_reply("application/octet-stream", "max-age=300", content);
    let disposition = match file.filename.as_deref().and_then(clean_file_name) {
        Some(name) => format!(
            "attachment; filename*=UTF-8''{}",
            utf8_percent_encode(&name, FILE_NAME)
        ),
        None => "attachment".to_owned(),
    };
    let disposition = HeaderValue::from_str(&disposition).ok();
    reply
        .headers
        .extend(disposition.map(|value| (header::CONTENT_DISPOSITION, value)));
    Ok(Some(reply))
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
