//! GitHub, and Gitea, Forgejo and Gogs, whose webhooks are alike.

use ackpost_notify::Kind;
use axum::http::HeaderMap;
use serde_json::Value;

use super::value::{at, first, first_line, joined, list, sentence, text};
use crate::hook::IncomingMessage;
use crate::reply::Reply;

/// Maximum number of commits that are listed.
const MAX_COMMITS: usize = 10;
/// The objects that an event can be about, in the order in which they are looked for.
const OBJECTS: [&str; 16] = [
    "comment",
    "review",
    "pull_request",
    "issue",
    "discussion",
    "release",
    "workflow_run",
    "workflow_job",
    "check_run",
    "check_suite",
    "deployment_status",
    "deployment",
    "alert",
    "forkee",
    "package",
    "milestone",
];

/// Events without such an object that are read, too.
const READ: [&str; 9] = [
    "ping",
    "push",
    "workflow_run",
    "create",
    "delete",
    "star",
    "watch",
    "fork",
    "status",
];

/// Reads a webhook. The kind of the event is in a header.
pub(super) fn read(value: &Value, headers: &HeaderMap) -> Result<IncomingMessage, Reply> {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let event = first([
        header("x-gitea-event"),
        header("x-forgejo-event"),
        header("x-gogs-event"),
        header("x-github-event"),
    ]);
    let event = if event.is_empty() { guess(value) } else { event };
    if !value.is_object() || event.is_empty() {
        return Err(
            Reply::bad_request("this is not a webhook of GitHub or Gitea: its event is not named")
                .remedy("send the header X-GitHub-Event or X-Gitea-Event"),
        );
    }
    let repository = first([
        at(value, "/repository/full_name"),
        at(value, "/organization/login"),
    ]);
    let sender = first([
        at(value, "/sender/login"),
        at(value, "/pusher/login"),
        at(value, "/pusher/name"),
    ]);
    let (title, body, kind) = match event {
        "ping" => (
            "webhook connected".to_owned(),
            first([text(value, "zen"), "The webhook works"]).to_owned(),
            Kind::Info,
        ),
        "push" => push(value, sender),
        "workflow_run" => workflow_run(value),
        "create" | "delete" => {
            let done = if event == "create" { "created" } else { "deleted" };
            let what = format!("{} {} {done}", text(value, "ref_type"), text(value, "ref"));
            (what, by(sender), Kind::Info)
        }
        "star" | "watch" | "fork" => (
            format!("{event} by {sender}"),
            at(value, "/forkee/html_url").to_owned(),
            Kind::Info,
        ),
        "status" => {
            let state = text(value, "state");
            let title = format!("{} {state}", first([text(value, "context"), "status"]));
            let commit = first_line(at(value, "/commit/commit/message"));
            let body = joined(
                [text(value, "description"), &commit, text(value, "target_url")],
                "\n",
            );
            (title, body, outcome(state))
        }
        _ => object(value, event, sender),
    };
    let title = if repository.is_empty() {
        title
    } else {
        format!("{repository}: {title}")
    };
    let mut incoming = IncomingMessage::new(title, body, kind);
    let is_known = READ.contains(&event)
        || OBJECTS
            .iter()
            .any(|name| value.get(*name).is_some_and(Value::is_object));
    if !is_known {
        let event: String = event.chars().take(100).collect();
        incoming
            .notes
            .push(format!("the details of the event `{event}` are not shown"));
    }
    if incoming.body.trim().is_empty() {
        first([at(value, "/repository/html_url"), event]).clone_into(&mut incoming.body);
    }
    Ok(incoming)
}

/// The event of a request without its header.
fn guess(value: &Value) -> &'static str {
    let has = |name: &str| value.get(name).is_some();
    if has("zen") && has("hook") {
        "ping"
    } else if has("commits") && has("ref") {
        "push"
    } else {
        OBJECTS.iter().copied().find(|name| has(name)).unwrap_or_default()
    }
}

fn by(person: &str) -> String {
    if person.is_empty() {
        String::new()
    } else {
        format!("by {person}")
    }
}

/// The name of a branch or tag.
pub(super) fn branch(reference: &str) -> &str {
    reference
        .trim_start_matches("refs/heads/")
        .trim_start_matches("refs/tags/")
}

fn push(value: &Value, sender: &str) -> (String, String, Kind) {
    let yes = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or_default();
    let branch = branch(text(value, "ref"));
    let commits = list(value, "commits");
    let total = value
        .get("total_commits")
        .and_then(Value::as_u64)
        .unwrap_or(commits.len() as u64);
    let done = match total {
        _ if yes("deleted") => format!("{branch} deleted"),
        0 if yes("created") => format!("{branch} created"),
        1 => format!("1 commit to {branch}"),
        more => format!("{more} commits to {branch}"),
    };
    let forced = if yes("forced") { " (forced)" } else { "" };
    let mut lines = commit_lines(commits, total);
    lines.push(first([text(value, "compare"), text(value, "compare_url")]).to_owned());
    let body = joined(lines.iter().map(String::as_str), "\n");
    (format!("{done}{forced} by {sender}"), body, Kind::Info)
}

/// A line for each commit: the short hash, the first line of its message, the author.
pub(super) fn commit_lines(commits: &[Value], total: u64) -> Vec<String> {
    let mut lines: Vec<String> = commits
        .iter()
        .take(MAX_COMMITS)
        .map(|commit| {
            let id = text(commit, "id").get(..7).unwrap_or_default();
            let author = at(commit, "/author/name");
            let author = if author.is_empty() {
                String::new()
            } else {
                format!("({author})")
            };
            joined([id, &first_line(text(commit, "message")), &author], " ")
        })
        .collect();
    let more = total.saturating_sub(lines.len() as u64);
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines
}

fn workflow_run(value: &Value) -> (String, String, Kind) {
    let run = &value["workflow_run"];
    let name = first([text(run, "name"), at(value, "/workflow/name"), "workflow"]);
    let state = first([
        text(run, "conclusion"),
        text(run, "status"),
        text(value, "action"),
    ]);
    let title = format!("{name} {} on {}", past(state), text(run, "head_branch"));
    let author = at(run, "/head_commit/author/name");
    let commit = first_line(first([
        at(run, "/head_commit/message"),
        text(run, "display_title"),
    ]));
    let author = if author.is_empty() {
        String::new()
    } else {
        format!("({author})")
    };
    let line = joined([commit.as_str(), &author], " ");
    (
        title,
        joined([line.as_str(), text(run, "html_url")], "\n"),
        outcome(state),
    )
}

/// Any other event: the object, its title, text and link.
fn object(value: &Value, event: &str, sender: &str) -> (String, String, Kind) {
    let object = OBJECTS
        .iter()
        .find_map(|name| value.get(*name).filter(|one| one.is_object()));
    let object = object.unwrap_or(&Value::Null);
    let parent = ["pull_request", "issue", "discussion"]
        .iter()
        .find_map(|name| value.get(*name))
        .unwrap_or(object);
    let action = sentence(text(value, "action")).to_lowercase();
    let merged = parent.get("merged").and_then(Value::as_bool) == Some(true) && action == "closed";
    let action = if merged { "merged".to_owned() } else { action };
    let number = parent.get("number").and_then(Value::as_u64);
    let number = number.map(|number| format!("#{number}")).unwrap_or_default();
    let event = match event {
        "issues" => "issue".to_owned(),
        "pull_request_comment" => "comment on pull request".to_owned(),
        "issue_comment" => "comment on".to_owned(),
        other => sentence(other).to_lowercase(),
    };
    let state = first([text(object, "conclusion"), at(object, "/state")]);
    let name = first([text(object, "name"), text(object, "tag_name")]);
    let done = joined([event.as_str(), &number, name, &action, &by(sender)], " ");
    let is_check = value.get("check_run").is_some()
        || value.get("workflow_job").is_some()
        || value.get("deployment_status").is_some();
    let (kind, done) = if is_check && !state.is_empty() {
        (outcome(state), format!("{done}: {state}"))
    } else {
        (Kind::Info, done)
    };
    let kind = if value.get("alert").is_some() && action != "fixed" {
        Kind::Warning
    } else {
        kind
    };
    let heading = first([
        text(parent, "title"),
        text(object, "title"),
        at(object, "/security_advisory/summary"),
    ]);
    let link = first([
        text(object, "html_url"),
        text(parent, "html_url"),
        text(object, "target_url"),
    ]);
    (
        done,
        joined(
            [heading, text(object, "body"), text(object, "description"), link],
            "\n",
        ),
        kind,
    )
}

fn past(state: &str) -> &str {
    match state {
        "success" => "succeeded",
        "failure" => "failed",
        "timed_out" => "timed out",
        "" => "changed",
        other => other,
    }
}

fn outcome(state: &str) -> Kind {
    match state {
        "success" => Kind::Success,
        "failure" | "timed_out" | "error" | "startup_failure" => Kind::Failure,
        "action_required" => Kind::Warning,
        _ => Kind::Info,
    }
}
