//! The services whose requests the gateway understands, and their paths.

use serde::Deserialize;

/// A service whose interface programs speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CompatService {
    Ntfy,
    Gotify,
    Slack,
    Discord,
    /// The body is the text.
    Text,
}

/// The purpose of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompatRoute {
    /// A message to one key.
    Message,
    /// ntfy: a message as JSON that names its topic. gotify: a message to the key of the token.
    Unnamed,
    /// ntfy: a message by GET.
    Trigger,
    /// Discord: a message in the form of Slack.
    AsSlack,
    /// gotify: version or health.
    About,
}

/// Every path under `/compat`.
const PATHS: [(CompatService, CompatRoute, &str); 22] = [
    (CompatService::Ntfy, CompatRoute::Unnamed, "/compat/ntfy"),
    (CompatService::Ntfy, CompatRoute::Message, "/compat/ntfy/{key}"),
    (
        CompatService::Ntfy,
        CompatRoute::Trigger,
        "/compat/ntfy/{key}/publish",
    ),
    (
        CompatService::Ntfy,
        CompatRoute::Trigger,
        "/compat/ntfy/{key}/send",
    ),
    (
        CompatService::Ntfy,
        CompatRoute::Trigger,
        "/compat/ntfy/{key}/trigger",
    ),
    (
        CompatService::Gotify,
        CompatRoute::Unnamed,
        "/compat/gotify/message",
    ),
    (
        CompatService::Gotify,
        CompatRoute::Message,
        "/compat/gotify/{key}/message",
    ),
    (
        CompatService::Gotify,
        CompatRoute::About,
        "/compat/gotify/version",
    ),
    (CompatService::Gotify, CompatRoute::About, "/compat/gotify/health"),
    (
        CompatService::Gotify,
        CompatRoute::About,
        "/compat/gotify/{key}/version",
    ),
    (
        CompatService::Gotify,
        CompatRoute::About,
        "/compat/gotify/{key}/health",
    ),
    (CompatService::Slack, CompatRoute::Message, "/compat/slack/{key}"),
    (
        CompatService::Slack,
        CompatRoute::Message,
        "/compat/slack/{key}/{secret}",
    ),
    (
        CompatService::Slack,
        CompatRoute::Message,
        "/compat/slack/services/{key}/{tag}/{secret}",
    ),
    (
        CompatService::Discord,
        CompatRoute::Message,
        "/compat/discord/{key}",
    ),
    (
        CompatService::Discord,
        CompatRoute::Message,
        "/compat/discord/{key}/{secret}",
    ),
    (
        CompatService::Discord,
        CompatRoute::Message,
        "/compat/discord/api/webhooks/{key}/{secret}",
    ),
    (
        CompatService::Discord,
        CompatRoute::AsSlack,
        "/compat/discord/api/webhooks/{key}/{secret}/slack",
    ),
    (
        CompatService::Discord,
        CompatRoute::Message,
        "/compat/discord/api/{version}/webhooks/{key}/{secret}",
    ),
    (
        CompatService::Discord,
        CompatRoute::AsSlack,
        "/compat/discord/api/{version}/webhooks/{key}/{secret}/slack",
    ),
    (CompatService::Text, CompatRoute::Message, "/compat/text/{key}"),
    (
        CompatService::Text,
        CompatRoute::Message,
        "/compat/text/{key}/{secret}",
    ),
];

/// The paths that the services have at their own root.
const AT_ROOT: [(CompatService, CompatRoute, &str); 14] = [
    (CompatService::Ntfy, CompatRoute::Unnamed, "/"),
    (CompatService::Ntfy, CompatRoute::Message, "/{key}"),
    (CompatService::Ntfy, CompatRoute::Trigger, "/{key}/publish"),
    (CompatService::Ntfy, CompatRoute::Trigger, "/{key}/send"),
    (CompatService::Ntfy, CompatRoute::Trigger, "/{key}/trigger"),
    (CompatService::Gotify, CompatRoute::Unnamed, "/message"),
    (CompatService::Gotify, CompatRoute::Message, "/{key}/message"),
    (CompatService::Gotify, CompatRoute::About, "/version"),
    (CompatService::Gotify, CompatRoute::About, "/health"),
    (
        CompatService::Slack,
        CompatRoute::Message,
        "/services/{key}/{tag}/{secret}",
    ),
    (
        CompatService::Discord,
        CompatRoute::Message,
        "/api/webhooks/{key}/{secret}",
    ),
    (
        CompatService::Discord,
        CompatRoute::AsSlack,
        "/api/webhooks/{key}/{secret}/slack",
    ),
    (
        CompatService::Discord,
        CompatRoute::Message,
        "/api/{version}/webhooks/{key}/{secret}",
    ),
    (
        CompatService::Discord,
        CompatRoute::AsSlack,
        "/api/{version}/webhooks/{key}/{secret}/slack",
    ),
];

/// Returns the paths: all of them under `/compat`, and those of `root` at the root.
pub(crate) fn paths(
    root: &[CompatService],
) -> impl Iterator<Item = (CompatService, CompatRoute, &'static str)> {
    let at_root = AT_ROOT.into_iter().filter(|(service, ..)| root.contains(service));
    PATHS.into_iter().chain(at_root)
}

/// Returns the service of a path, as the router writes it.
pub(crate) fn of_path(root: &[CompatService], path: &str) -> Option<CompatService> {
    let mut all = paths(root);
    all.find(|(_, _, known)| *known == path)
        .map(|(service, ..)| service)
}
