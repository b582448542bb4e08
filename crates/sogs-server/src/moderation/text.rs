//! The words of notices.

use session_protocol::content::{AttachmentPointer, Content};

use crate::store::cases::{Case, CaseKind, Notice, Report};

/// Most characters of a message in a notice.
const EXCERPT_CHARS: usize = 1_200;
/// Most files of a message in a notice.
const FILES: usize = 10;
/// Reports whose words a notice shows.
pub(super) const REPORTS: i64 = 5;

/// `15e5…b6fe`, as the apps show ids.
pub(super) fn short(id: &str) -> String {
    match (id.get(..4), id.len().checked_sub(4).and_then(|at| id.get(at..))) {
        (Some(head), Some(tail)) if id.len() > 8 => format!("{head}…{tail}"),
        _ => id.to_owned(),
    }
}

/// Name of the person who acted, as moderators read it.
fn actor(name: &str) -> String {
    match name.strip_prefix("operator") {
        Some(rest) => format!("operator{}", rest.replace(':', " ")),
        None => short(name),
    }
}

/// Text without control characters but line ends, and without characters that turn the direction of the text after them.
fn clean(text: &str, most: usize) -> String {
    let mut out: String = text
        .chars()
        .map(|c| {
            if matches!(c, '\u{2028}' | '\u{2029}') {
                ' '
            } else {
                c
            }
        })
        .filter(|c| *c == '\n' || !ackpost_platform::text::misleads(*c))
        .take(most)
        .collect();
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// Text of a message as moderators read it: the author's name, the text, the names of files and the targets of links.
pub(super) fn excerpt(data: &[u8]) -> String {
    let seen = crate::guard::inspect(data);
    let mut lines = Vec::new();
    if !seen.name.is_empty() {
        lines.push(format!("Name: {}", clean(&seen.name.replace('\n', " "), 60)));
    }
    if !seen.body.is_empty() {
        lines.push(clean(&seen.body, EXCERPT_CHARS));
    }
    for other in seen.previews.iter().take(FILES) {
        lines.push(format!("+ {}", clean(&other.replace('\n', " "), 100)));
    }
    if !seen.attachments.is_empty() {
        let kinds: Vec<String> = seen
            .attachments
            .iter()
            .take(FILES)
            .map(|kind| clean(kind, 60))
            .collect();
        lines.push(format!(
            "Files: {} ({})",
            seen.attachments.len(),
            kinds.join(", ")
        ));
    }
    lines.join("\n")
}

/// The files of a message, as the moderators' room hands them out.
pub(super) fn files(data: &[u8], base_url: &str, room: &str) -> Vec<AttachmentPointer> {
    let Ok(content) = Content::decode_bounded(data) else {
        return Vec::new();
    };
    let files = content.attachments().iter().take(FILES);
    files
        .map(|file| {
            // In rooms the number is in the pointer; some apps give it in the address alone.
            let id = match &file.url {
                Some(url) => url.rsplit('/').next().and_then(|last| last.parse().ok()),
                None => None,
            }
            .unwrap_or(file.id);
            AttachmentPointer {
                id,
                content_type: file.content_type.clone(),
                size: file.size,
                file_name: file.file_name.clone(),
                width: file.width,
                height: file.height,
                flags: file.flags,
                url: Some(format!("{base_url}/room/{room}/file/{id}")),
                ..AttachmentPointer::default()
            }
        })
        .collect()
}

/// Decision about a case, in words; empty while it is open.
fn decision(case: &Case) -> String {
    let what = match (case.state.as_str(), case.kind) {
        ("approved" | "trusted", CaseKind::Report) => "the message stays",
        ("approved", _) => "approved",
        ("trusted", _) => "approved; the author's posts no longer need approval",
        ("rejected", CaseKind::Report) => "the message is deleted",
        ("rejected", _) => "rejected",
        ("banned", _) => "deleted, and the author is banned from the room",
        ("gone", _) => "already settled",
        _ => return String::new(),
    };
    let by = case.decided_by.as_deref().map(|by| format!(" by {}", actor(by)));
    let at = case
        .decided_at
        .map(|at| format!(" at {}", time(at)))
        .unwrap_or_default();
    format!("{what}{}{at}", by.unwrap_or_default())
}

fn time(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds, saturating")]
    let whole = seconds as i64;
    jiff::Timestamp::from_second(whole).map_or_else(
        |_| seconds.to_string(),
        |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

/// Text for a moderator who decides after another one.
pub(crate) fn already(case: &Case) -> String {
    let what = match case.kind {
        CaseKind::Report => "Reported message",
        _ => "Held post",
    };
    format!(
        "{what} {} is decided already: {}.",
        case.subject_id,
        decision(case)
    )
}

/// The reaction that shows a decision.
pub(super) fn mark(case: &Case) -> Option<&'static str> {
    match case.state.as_str() {
        "approved" => Some("✅"),
        "trusted" => Some("⭐"),
        "rejected" => Some("❌"),
        "banned" => Some("🚫"),
        "gone" => Some("☑️"),
        _ => None,
    }
}

/// The reply to a notice that says who decided, when that was not done in the room.
pub(super) fn reply(case: &Case) -> Option<String> {
    let decided = case.decided_by.is_some() && !case.in_room && !case.is_open();
    decided.then(|| format!("{}: {}.", case.subject_id, decision(case)))
}

/// The text of a notice.
pub(super) fn notice(notice: &Notice, reports: &[Report]) -> String {
    let case = &notice.case;
    let room = notice.room.as_deref().unwrap_or("a deleted room");
    let author = short(&case.author);
    let mut lines = Vec::new();
    match case.kind {
        CaseKind::More if case.posts == 0 => return format!("No more posts wait in {room}."),
        CaseKind::More => {
            return format!(
                "{} more wait in {room}. Each gets a notice as soon as others are decided.\nA bot or \
                 `ackpost room held list` sees them all.",
                case.posts
            );
        }
        CaseKind::Held => {
            lines.push(format!("Held post {} in {room}, by {author}", case.subject_id));
            if let Some(reason) = &notice.reason {
                lines.push(format!("Why: {}", clean(&reason.replace('\n', " "), 200)));
            }
        }
        CaseKind::Report => {
            let times = match case.reports {
                1 => "reported once".to_owned(),
                n => format!("reported by {n} members"),
            };
            lines.push(format!(
                "Message {} in {room}, by {author}: {times}",
                case.subject_id
            ));
            for report in reports {
                let reason = if report.reason.is_empty() {
                    "no reason given"
                } else {
                    &report.reason
                };
                lines.push(format!("{}: {}", short(&report.session_id), clean(reason, 300)));
            }
        }
    }
    if !case.excerpt.is_empty() {
        lines.push(String::new());
        // Marked as a quotation, so that nothing in it passes for words of the server.
        lines.extend(case.excerpt.lines().map(|line| format!("> {line}")));
    }
    lines.push(String::new());
    lines.push(match (case.is_open(), case.kind) {
        (false, _) => format!("Decided: {}.", decision(case)),
        (true, CaseKind::Report) => {
            "React 👍 keep, 👎 delete, 🚫 ban; or reply keep, delete, ban, ban 2d.".to_owned()
        }
        (true, _) => {
            "React 👍 approve, ⭐ trust, 👎 reject, 🚫 ban; or reply approve, trust, reject, ban, ban 2d."
                .to_owned()
        }
    });
    lines.join("\n")
}
