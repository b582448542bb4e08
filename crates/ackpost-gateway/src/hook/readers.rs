//! Readers for the posts of known programs, which turn them into the text that a person wants to read.
//!
//! The path or the shape of the post selects the reader.

mod arr;
mod forge;
mod forge_lab;
mod kuma;
mod seerr;
mod small;
mod value;

use axum::http::HeaderMap;
use serde_json::Value;

use super::{IncomingMessage, alerts, generic};
use crate::compat::{discord, gotify, slack};
use crate::reply::Reply;

/// A program whose requests are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Alertmanager,
    Grafana,
    /// Sonarr, Radarr, Lidarr and their relatives.
    Arr,
    /// Jellyseerr, Overseerr.
    Seerr,
    UptimeKuma,
    /// GitHub, Gitea, Forgejo, Gogs.
    GitHub,
    GitLab,
    Healthchecks,
    Proxmox,
    Watchtower,
    Slack,
    Discord,
    Gotify,
    /// Any JSON.
    Json,
}

/// The names of readers in paths.
pub(crate) const NAMES: [(&str, Reader); 26] = [
    ("alertmanager", Reader::Alertmanager),
    ("grafana", Reader::Grafana),
    ("sonarr", Reader::Arr),
    ("radarr", Reader::Arr),
    ("lidarr", Reader::Arr),
    ("readarr", Reader::Arr),
    ("prowlarr", Reader::Arr),
    ("whisparr", Reader::Arr),
    ("jellyseerr", Reader::Seerr),
    ("overseerr", Reader::Seerr),
    ("seerr", Reader::Seerr),
    ("uptimekuma", Reader::UptimeKuma),
    ("uptime-kuma", Reader::UptimeKuma),
    ("github", Reader::GitHub),
    ("gitea", Reader::GitHub),
    ("forgejo", Reader::GitHub),
    ("gogs", Reader::GitHub),
    ("gitlab", Reader::GitLab),
    ("healthchecks", Reader::Healthchecks),
    ("proxmox", Reader::Proxmox),
    ("watchtower", Reader::Watchtower),
    ("slack", Reader::Slack),
    ("discord", Reader::Discord),
    ("gotify", Reader::Gotify),
    ("json", Reader::Json),
    ("auto", Reader::Json),
];

impl Reader {
    /// Returns the reader of a name in a path.
    pub(crate) fn named(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(one, _)| *one == name)
            .map(|(_, reader)| *reader)
    }

    /// Reads a request. `Json` looks for a program by the shape first.
    pub(crate) fn read(self, value: &Value, headers: &HeaderMap) -> Result<IncomingMessage, Reply> {
        match self {
            Self::Alertmanager => alerts::alertmanager(value),
            Self::Grafana => alerts::grafana(value),
            Self::Arr => arr::read(value),
            Self::Seerr => seerr::read(value),
            Self::UptimeKuma => kuma::read(value),
            Self::GitHub => forge::read(value, headers),
            Self::GitLab => forge_lab::read(value),
            Self::Healthchecks => small::healthchecks(value),
            Self::Proxmox => small::proxmox(value),
            Self::Watchtower => small::watchtower(value),
            Self::Slack => slack::read(value),
            Self::Discord => discord::read(value, false),
            Self::Gotify => gotify::read(value).map(|posted| posted.incoming),
            Self::Json => match Self::of_shape(value, headers) {
                // A shape that deceives is still JSON.
                Some(reader) => reader.read(value, headers).or_else(|_| generic(value)),
                None => generic(value),
            },
        }
    }

    /// Recognises a program by its own header or by members that only it has.
    fn of_shape(value: &Value, headers: &HeaderMap) -> Option<Self> {
        let header = |name: &str| headers.contains_key(name);
        if header("x-github-event")
            || header("x-gitea-event")
            || header("x-gogs-event")
            || header("x-forgejo-event")
        {
            return Some(Self::GitHub);
        }
        if header("x-gitlab-event") {
            return Some(Self::GitLab);
        }
        let has = |name: &str| value.get(name).is_some();
        let is_text = |name: &str| value.get(name).is_some_and(Value::is_string);
        let is_list = |name: &str| value.get(name).is_some_and(Value::is_array);
        if is_list("alerts") && (has("groupLabels") || has("commonLabels") || has("groupKey")) {
            return Some(if has("orgId") || has("state") {
                Self::Grafana
            } else {
                Self::Alertmanager
            });
        }
        if has("evalMatches") || (is_text("ruleName") && is_text("state")) {
            return Some(Self::Grafana);
        }
        if is_text("eventType") {
            return Some(Self::Arr);
        }
        if is_text("notification_type") {
            return Some(Self::Seerr);
        }
        if has("heartbeat") && has("monitor") && is_text("msg") {
            return Some(Self::UptimeKuma);
        }
        if is_text("object_kind") && has("project") {
            return Some(Self::GitLab);
        }
        if has("n_pings") && is_text("status") {
            return Some(Self::Healthchecks);
        }
        if is_text("title") && is_text("message") && is_text("severity") && has("fields") {
            return Some(Self::Proxmox);
        }
        if is_list("entries") && has("report") {
            return Some(Self::Watchtower);
        }
        if is_list("embeds") {
            return Some(Self::Discord);
        }
        let is_slack = |name: &str| {
            let list = value.get(name).and_then(Value::as_array);
            list.is_some_and(|list| {
                !list.is_empty()
                    && list
                        .iter()
                        .all(|one| one.is_object() && one.get("base64").is_none() && one.get("url").is_none())
            })
        };
        (is_slack("attachments") || is_slack("blocks")).then_some(Self::Slack)
    }
}

#[cfg(test)]
mod tests;
