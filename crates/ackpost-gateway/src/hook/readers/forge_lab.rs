//! GitLab.

use ackpost_notify::Kind;
use serde_json::Value;

use super::forge::{branch, commit_lines};
use super::value::{at, first, first_line, joined, list, sentence, text};
use crate::hook::IncomingMessage;
use crate::reply::Reply;

/// Reads a webhook of a project, a group or the system.
pub(super) fn read(value: &Value) -> Result<IncomingMessage, Reply> {
    let event = first([text(value, "object_kind"), text(value, "event_name")]);
    if event.is_empty() {
        return Err(
            Reply::bad_request("this is not a webhook of GitLab: `object_kind` is missing")
                .remedy("add a webhook in the settings of the project"),
        );
    }
    let project = first([
        at(value, "/project/path_with_namespace"),
        text(value, "project_name"),
        "GitLab",
    ]);
    let person = first([
        at(value, "/user/name"),
        text(value, "user_name"),
        text(value, "user_username"),
    ]);
    let (title, body, kind) = match event {
        "push" | "tag_push" => push(value, person),
        "pipeline" => pipeline(value),
        "build" | "job" => job(value),
        "note" => note(value, person),
        "release" => {
            let title = format!(
                "release {} {}d",
                text(value, "tag"),
                text(value, "action").trim_end_matches('d')
            );
            (
                title,
                joined(
                    [
                        text(value, "name"),
                        text(value, "description"),
                        text(value, "url"),
                    ],
                    "\n",
                ),
                Kind::Info,
            )
        }
        "deployment" => {
            let state = text(value, "status");
            let title = format!("deployment to {} {}", text(value, "environment"), past(state));
            (
                title,
                joined([text(value, "commit_title"), text(value, "deployable_url")], "\n"),
                outcome(state),
            )
        }
        other => object(value, other, person),
    };
    let mut incoming = IncomingMessage::new(format!("{project}: {title}"), body, kind);
    if incoming.body.is_empty() {
        first([at(value, "/project/web_url"), event]).clone_into(&mut incoming.body);
    }
    Ok(incoming)
}

/// A comment.
fn note(value: &Value, person: &str) -> (String, String, Kind) {
    let about = &value["object_attributes"];

    let on = sentence(text(about, "noteable_type")).to_lowercase();
    let heading = first([
        at(value, "/merge_request/title"),
        at(value, "/issue/title"),
        at(value, "/commit/title"),
        at(value, "/snippet/title"),
    ]);
    let body = joined([heading, text(about, "note"), text(about, "url")], "\n");
    (format!("comment on {on} by {person}"), body, Kind::Info)
}

/// An issue, a merge request, a page of the wiki and the like.
fn object(value: &Value, other: &str, person: &str) -> (String, String, Kind) {
    let about = &value["object_attributes"];

    let action = text(about, "action");
    let iid = about.get("iid").and_then(Value::as_u64);
    let sign = if other == "merge_request" { '!' } else { '#' };
    let number = iid.map(|iid| format!("{sign}{iid}")).unwrap_or_default();
    let name = sentence(other).to_lowercase();
    let by = if person.is_empty() {
        String::new()
    } else {
        format!("by {person}")
    };
    let title = joined([name.as_str(), &number, acted(action), &by], " ");
    let description = if action == "open" {
        text(about, "description")
    } else {
        ""
    };
    let body = joined(
        [
            first([text(about, "title"), text(about, "message")]),
            description,
            text(about, "url"),
        ],
        "\n",
    );
    (title, body, Kind::Info)
}

fn push(value: &Value, person: &str) -> (String, String, Kind) {
    let branch = branch(text(value, "ref"));
    let total = value
        .get("total_commits_count")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let zeros =
        |name: &str| !text(value, name).is_empty() && text(value, name).bytes().all(|byte| byte == b'0');
    let done = match total {
        _ if zeros("after") => format!("{branch} deleted"),
        0 => format!("{branch} created"),
        1 => format!("1 commit to {branch}"),
        more => format!("{more} commits to {branch}"),
    };
    let lines = commit_lines(list(value, "commits"), total);
    let body = joined(
        lines
            .iter()
            .map(String::as_str)
            .chain([at(value, "/project/web_url")]),
        "\n",
    );
    (format!("{done} by {person}"), body, Kind::Info)
}

fn pipeline(value: &Value) -> (String, String, Kind) {
    let about = &value["object_attributes"];
    let state = text(about, "status");
    let title = format!("pipeline {} on {}", past(state), text(about, "ref"));
    let failed: Vec<&str> = list(value, "builds")
        .iter()
        .filter(|build| text(build, "status") == "failed")
        .map(|build| text(build, "name"))
        .collect();
    let failed = if failed.is_empty() {
        String::new()
    } else {
        format!("Failed jobs: {}", failed.join(", "))
    };
    let author = at(value, "/commit/author/name");
    let author = if author.is_empty() {
        String::new()
    } else {
        format!("({author})")
    };
    let commit = joined([first_line(at(value, "/commit/message")).as_str(), &author], " ");
    let id = about
        .get("id")
        .and_then(Value::as_u64)
        .map(|id| format!("{}/-/pipelines/{id}", at(value, "/project/web_url")));
    let link = first([text(about, "url"), id.as_deref().unwrap_or_default()]).to_owned();
    (
        title,
        joined([commit.as_str(), &failed, &link], "\n"),
        outcome(state),
    )
}

fn job(value: &Value) -> (String, String, Kind) {
    let state = text(value, "build_status");
    let title = format!(
        "job {} {} on {}",
        text(value, "build_name"),
        past(state),
        text(value, "ref")
    );
    let commit = first_line(at(value, "/commit/message"));
    let reason = text(value, "build_failure_reason");
    let reason = if reason == "unknown_failure" { "" } else { reason };
    (
        title,
        joined([commit.as_str(), reason, at(value, "/repository/homepage")], "\n"),
        outcome(state),
    )
}

fn acted(action: &str) -> &str {
    match action {
        "open" => "opened",
        "close" => "closed",
        "reopen" => "reopened",
        "update" => "updated",
        "merge" => "merged",
        "create" => "created",
        "approved" | "approval" => "approved",
        other => other,
    }
}

fn past(state: &str) -> &str {
    match state {
        "success" => "succeeded",
        other => other,
    }
}

fn outcome(state: &str) -> Kind {
    match state {
        "success" => Kind::Success,
        "failed" => Kind::Failure,
        _ => Kind::Info,
    }
}
