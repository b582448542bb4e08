//! Files: upload and download.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::json;

use crate::contents::ContentError;
use crate::guard::Newcomer;
use crate::http::reply::{Refusal, Reply, ReplyBody};
use crate::http::request::Body;
use crate::http::route::{Answer, Cx};
use crate::store::{Id, NewFile};

/// What stays as it is in a file name of a header.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
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

fn clean(name: &str) -> Option<String> {
    let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    (!name.is_empty()).then_some(name)
}

/// `POST /room/T/file`
pub(crate) async fn upload(cx: &Cx<'_>, token: &str) -> Answer {
    let (room, rights) = cx.room(token).await?;
    cx.user()?;
    if !rights.upload {
        return Err(Refusal::permission_denied());
    }
    let user = cx.member().await?;
    let who = Newcomer {
        room_id: room.id(),
        token: room.token(),
        user_id: user.row.id,
        first_seen: user.row.created,
        rights: &rights,
        now: cx.now,
    };
    if let Some((status, text)) = cx.app.guard.before_upload(who) {
        return Err(Refusal::text(status, text));
    }
    let config = cx.app.config();
    let limit = cx
        .app
        .guard
        .limits(room.id())
        .file_bytes
        .unwrap_or(config.files.max_size);
    let size = match &cx.req.body {
        Body::Memory(bytes) => bytes.len() as u64,
        Body::Spooled(spooled) => spooled.size,
    };
    if size > limit {
        return Err(Refusal::text(
            413,
            format!("Files in this room are at most {limit} bytes"),
        ));
    }
    let contents = &cx.app.contents;
    let spooled;
    let spooled = match &cx.req.body {
        Body::Spooled(spooled) => spooled,
        Body::Memory(bytes) => {
            let mut spool = contents.spool().await.map_err(ContentError::Disk)?;
            spool.write(bytes).await.map_err(ContentError::Disk)?;
            spooled = spool.finish().await.map_err(ContentError::Disk)?;
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

/// `GET /room/T/file/ID[/anything]`
pub(crate) async fn download(cx: &Cx<'_>, token: &str, file_id: Id) -> Answer {
    let (room, _) = cx.readable(token).await?;
    let file = cx
        .app
        .store
        .file(room.id(), file_id)
        .await?
        .ok_or(Refusal::not_found())?;
    let size = u64::try_from(file.size).unwrap_or(0);
    let content = cx.app.contents.open(&file.content, size).await?;
    let disposition = match &file.filename {
        Some(name) => format!("attachment; filename*=UTF-8''{}", utf8_percent_encode(name, NAME)),
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
