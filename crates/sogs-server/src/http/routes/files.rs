//! Files: upload and download.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackpost_platform::text::misleads;
use http::{HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::json;

use super::page::Viewer;
use crate::app::App;
use crate::arrivals::Sender;
use crate::cache::{Room, User};
use crate::contents::{ContentError, SpoolError};
use crate::guard::Newcomer;
use crate::http::context::{HandlerResult, RequestContext, visible_room};
use crate::http::reply::{Refusal, Reply, ReplyBody};
use crate::http::request::Body;
use crate::model::permission::Rights;
use crate::store::cases::CaseKind;
use crate::store::{FileRow, Id, NewFile};

/// Characters that are not escaped in a file name of a header.
pub(crate) const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~');
/// Longest file name kept, in code points.
const MAX_NAME: usize = 255;

/// The file name of a `Content-Disposition` header: `filename*` before `filename`.
fn file_name(value: &str) -> Option<String> {
    let mut plain = None;
    for part in split_parameters(value) {
        let Some((key, value)) = part.split_once('=') else {
            continue;
        };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        if key == "filename*" {
            let mut pieces = value.splitn(3, '\'');
            if let (Some(_charset), Some(_language), Some(name)) =
                (pieces.next(), pieces.next(), pieces.next())
            {
                return clean(&percent_decode_str(name).decode_utf8_lossy());
            }
        } else if key == "filename" {
            plain = clean(
                &value
                    .trim_matches('"')
                    .replace("\\\"", "\"")
                    .replace("\\\\", "\\"),
            );
        }
    }
    plain
}

/// Splits at semicolons outside of quotes.
fn split_parameters(value: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                parts.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&value[start..]);
    parts
}

/// Returns the last part of a path without control characters and characters that turn the direction of text;
/// `None` when nothing is left that names a file.
pub(crate) fn clean(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last
        .chars()
        .filter(|c| !misleads(*c))
        .take(MAX_NAME)
        .collect::<String>()
        .trim()
        .to_owned();
    (!matches!(name.as_str(), "" | "." | "..")).then_some(name)
}

/// Refusal if a file cannot be stored now.
pub(crate) fn disk(error: &std::io::Error) -> Refusal {
    Refusal::from(ContentError::Disk(std::io::Error::new(
        error.kind(),
        error.to_string(),
    )))
}

impl From<SpoolError> for Refusal {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Busy => {
                tracing::warn!("a file was refused: too many uploads are arriving at the moment");
                Self::uploads_busy()
            }
            SpoolError::Disk(error) => disk(&error),
        }
    }
}

/// Returns the room of an upload and the largest file it takes, in bytes. `user` is the person who uploads, or claims
/// to; an unknown person counts as a new member.
pub(crate) async fn may_upload(
    app: &App,
    token: &str,
    user: Option<&User>,
    now: f64,
) -> Result<(Arc<Room>, u64), Refusal> {
    let (room, rights) = visible_room(app, token, user).await?;
    if !rights.upload {
        return Err(Refusal::permission_denied());
    }
    let who = Newcomer {
        room_id: room.id(),
        token: room.token(),
        // Nobody has the number 0.
        user_id: user.map_or(0, |user| user.row.id),
        first_seen: user.map_or(now, |user| user.row.created),
        rights: &rights,
        now,
    };
    if let Some((status, text)) = app.guard.before_upload(who) {
        return Err(Refusal::text(status, text));
    }
    let own = app.guard.limits(room.id()).file_bytes;
    Ok((room, own.unwrap_or(app.config().files.max_size)))
}

/// Refuses a file that is too large for a room.
pub(crate) fn too_large(limit: u64) -> Refusal {
    Refusal::text(413, format!("Files in this room are at most {limit} bytes"))
}

/// `POST /room/T/file`
pub(crate) async fn upload(cx: &RequestContext<'_>, token: &str) -> HandlerResult {
    let (room, rights) = cx.room(token).await?;
    cx.user()?;
    if !rights.upload {
        return Err(Refusal::permission_denied());
    }
    let user = cx.member().await?;
    let (_, limit) = may_upload(cx.app, token, Some(&user), cx.now).await?;
    let config = cx.app.config();
    let size = match &cx.req.body {
        Body::Memory(bytes) => bytes.len() as u64,
        Body::Spooled(spooled) => spooled.size,
    };
    if size > limit {
        return Err(too_large(limit));
    }
    let contents = &cx.app.contents;
    let spooled;
    let spooled = match &cx.req.body {
        Body::Spooled(spooled) => spooled,
        Body::Memory(bytes) => {
            let mut spool = contents.spool(Sender::default()).await?;
            spool.write(bytes).await?;
            spooled = spool.finish().await.map_err(|e| disk(&e))?;
            &spooled
        }
    };
    let filename = cx.req.headers.get(header::CONTENT_DISPOSITION).and_then(|value| {
        // Some clients put raw UTF-8 here.
        file_name(&String::from_utf8_lossy(value.as_bytes()))
    });
    let kept = contents.keep(spooled).await?;
    let id = cx
        .app
        .store
        .add_file(NewFile {
            room_id: room.id(),
            uploader_id: user.row.id,
            size: i64::try_from(size).unwrap_or(i64::MAX),
            now: cx.now,
            expiry: Some(cx.now + config.files.unattached_seconds),
            filename,
            content: kept.name.clone(),
        })
        .await?;
    drop(kept);
    Ok(Reply::json(&json!({ "id": id })).status(StatusCode::CREATED))
}

/// A time as HTTP headers write it.
fn http_date(seconds: f64) -> Option<HeaderValue> {
    let time: SystemTime = UNIX_EPOCH + Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    HeaderValue::from_str(&imf_date(time)).ok()
}

/// `Sat, 21 Nov 2026 20:12:55 GMT`
fn imf_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 1970 to a date: years of 400-year cycles that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let name = |list: &[&'static str], at: u64| {
        usize::try_from(at)
            .ok()
            .and_then(|at| list.get(at).copied())
            .unwrap_or("")
    };
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        name(&DAYS, days % 7),
        name(&MONTHS, month - 1),
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Returns a file of a room that this caller may fetch, or 404.
///
/// A file is as visible as the message it is attached to: whispers and hidden messages keep theirs, and a deleted
/// message has none. A file that waits to be attached is fetched by its uploader alone. Files of a former server
/// that hang on no message and the picture of a room are public. Moderators also fetch the files of hidden messages, which they decide about.
pub(crate) async fn visible_file(
    cx: &RequestContext<'_>,
    room: &Room,
    rights: &Rights,
    file_id: Id,
) -> Result<FileRow, Refusal> {
    let mut file = cx.app.store.file(room.id(), file_id).await?;
    if file.is_none() && room.is_for_moderators() {
        file = file_of_notice(cx, file_id).await?;
    }
    let file = file
        .filter(|file| file.expiry.is_none_or(|expiry| expiry > cx.now))
        .ok_or(Refusal::not_found())?;
    if room.full.room.image_id == Some(file.id) || file.room_id != Some(room.id()) {
        return Ok(file);
    }
    let caller = cx.caller.as_ref().map(|user| user.row.id);
    let is_visible = match file.message_id {
        None => (caller.is_some() && caller == file.uploader_id) || file.imported == Some(true),
        Some(message_id) => match cx.app.store.message_view(room.id(), message_id).await? {
            Some(message) => {
                let viewer = Viewer::new(cx.caller.as_deref(), rights);
                let is_shown = !message.filtered || rights.moderator || caller == Some(message.user_id);
                is_shown && viewer.sees(&message.audience())
            }
            None => false,
        },
    };
    if is_visible {
        Ok(file)
    } else {
        Err(Refusal::not_found())
    }
}

/// A file of another room that a notice in the moderators' room shows: only while its message is held or reported, and
/// only for moderators of that room.
async fn file_of_notice(cx: &RequestContext<'_>, file_id: Id) -> Result<Option<FileRow>, Refusal> {
    let Some(file) = cx.app.store.any_file(file_id).await? else {
        return Ok(None);
    };
    let (Some(room_id), Some(message_id)) = (file.room_id, file.message_id) else {
        return Ok(None);
    };
    if !cx.caller.as_ref().is_some_and(|user| user.moderates(room_id)) {
        return Ok(None);
    }
    for kind in [CaseKind::Held, CaseKind::Report] {
        let case = cx.app.store.case(kind, message_id).await?;
        if case.is_some_and(|case| case.is_open() && case.room_id == room_id) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// `GET /room/T/file/ID[/anything]`
pub(crate) async fn download(cx: &RequestContext<'_>, token: &str, file_id: Id) -> HandlerResult {
    let (room, rights) = cx.readable(token).await?;
    let file = visible_file(cx, &room, &rights, file_id).await?;
    let size = u64::try_from(file.size).unwrap_or(0);
    let content = cx.app.contents.open(&file.content, size).await?;
    let disposition = match file.filename.as_deref().and_then(clean) {
        Some(ref name) => format!("attachment; filename*=UTF-8''{}", utf8_percent_encode(name, NAME)),
        None => "attachment".to_owned(),
    };
    let mut headers = Vec::with_capacity(5);
    headers.extend(http_date(file.uploaded).map(|date| (header::DATE, date)));
    headers.extend(
        HeaderValue::from_str(&disposition)
            .ok()
            .map(|value| (header::CONTENT_DISPOSITION, value)),
    );
    headers.extend(
        file.expiry
            .and_then(http_date)
            .map(|date| (header::EXPIRES, date)),
    );
    headers.push((
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    ));
    Ok(Reply {
        status: StatusCode::OK,
        headers,
        body: ReplyBody::File(content),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_out_of_either_form() {
        assert_eq!(
            file_name("attachment; filename*=UTF-8''my%20%f0%9f%8e%82.txt").as_deref(),
            Some("my 🎂.txt")
        );
        assert_eq!(
            file_name(r#"attachment; filename="a;b \"c\".txt""#).as_deref(),
            Some(r#"a;b "c".txt"#)
        );
        assert_eq!(
            file_name("attachment; filename=x.txt; filename*=UTF-8''y.txt").as_deref(),
            Some("y.txt")
        );
        assert_eq!(file_name("attachment"), None);
        for (sent, kept) in [
            ("..%2F..%2Fevil.txt", Some("evil.txt")),
            ("C:%5Cdir%5Ca.png", Some("a.png")),
            ("a%E2%80%AEgpj.exe%E2%81%A6%E2%80%A8", Some("agpj.exe")),
            ("..", None),
            ("%2F%2E%2E%5C%2E", None),
            ("%20.%2F%20", None),
            ("-rf", Some("-rf")),
        ] {
            let header = format!("attachment; filename*=UTF-8''{sent}");
            assert_eq!(file_name(&header).as_deref(), kept, "{sent}");
        }
        assert_eq!(file_name("attachment; filename*=UTF-8''"), None);
        assert_eq!(
            utf8_percent_encode("my 🎂.txt", NAME).to_string(),
            "my%20%F0%9F%8E%82.txt"
        );
    }

    #[test]
    fn dates_are_written_like_http_does() {
        let at = |seconds| imf_date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1_795_291_975), "Sat, 21 Nov 2026 20:12:55 GMT");
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(at(4_102_444_799), "Thu, 31 Dec 2099 23:59:59 GMT");
    }
}
