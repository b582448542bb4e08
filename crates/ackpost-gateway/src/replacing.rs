//! The end of an alert edits the message that the alert fired, where the service can edit messages.

use ackpost_notify::url::percent;
use ackpost_notify::{Context, Environment, ServiceUrl, Target};
use ackpost_operate::model::alert::Alert;

use crate::key::Key;
use crate::state::Gateway;

/// Services that can edit a message of their own.
const EDITING: [&str; 2] = ["xmpp", "sogs"];
/// Messages of a recipient among which that of an alert is looked for.
const LOOKED_AT: usize = 200;

/// Lets each service edit the message about the alert that is over. A recipient that has no such message gets a new one.
pub(crate) async fn edit_earlier(gateway: &Gateway, key: &Key, over: &Alert, services: &mut Vec<ServiceUrl>) {
    let mut all = Vec::with_capacity(services.len());
    for service in services.drain(..) {
        let targets = service.targets();
        let can_edit = EDITING.contains(&service.name()) && !over.group_key.is_empty();
        let mut found = Vec::new();
        for target in targets.iter().filter(|_| can_edit) {
            if let Some(message) = earlier(gateway, key, over, &service, target).await {
                found.push((target, message));
            }
        }
        if found.is_empty() {
            all.push(service);
            continue;
        }
        // From here on each recipient has a URL of its own.
        let parts: Option<Vec<ServiceUrl>> = targets
            .iter()
            .map(|target| {
                let message = found.iter().find(|(one, _)| *one == target);
                let message = message.map(|(_, message)| message.as_str());
                alone(gateway, &service, target, message)
            })
            .collect();
        match parts {
            Some(parts) => all.extend(parts),
            // A new message to everybody is better than none to one of them.
            None => all.push(service),
        }
    }
    *services = all;
}

/// Returns the id of the latest message to a target about the same alerts, if it said that they fire.
async fn earlier(
    gateway: &Gateway,
    key: &Key,
    over: &Alert,
    service: &ServiceUrl,
    target: &Target,
) -> Option<String> {
    let place = gateway.outbox.target_key(service, target);
    let latest = match gateway.outbox.latest_contexts(&place, LOOKED_AT).await {
        Ok(latest) => latest,
        Err(error) => {
            tracing::warn!(%error, "the message of an alert cannot be looked for; its end is sent as a new message");
            return None;
        }
    };
    let is_same = |alert: &Alert| {
        alert.key == key.as_str() && alert.source == over.source && alert.group_key == over.group_key
    };
    let mut alerts = latest.into_iter().filter_map(|linked| {
        let alert: Alert = serde_json::from_str(linked.text.reveal()).ok()?;
        is_same(&alert).then_some((linked, alert))
    });
    let (linked, alert) = alerts.next()?;
    // A message in several pieces cannot be edited as one.
    (!alert.resolved && linked.pieces == 1).then_some(linked.message)
}

/// Returns a service for one of its targets, with the message that it edits.
fn alone(
    gateway: &Gateway,
    service: &ServiceUrl,
    target: &Target,
    message: Option<&str>,
) -> Option<ServiceUrl> {
    let mut url = service.expose_url_of(target);
    if let Some(message) = message {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str("edit=");
        url.push_str(&percent::encode(message));
    }
    let mut context = Context::default().with_services(gateway.catalog.known());
    if let Some(guest) = service.common().guest {
        context.env = Environment::for_guest(guest);
    }
    match ServiceUrl::parse(&url, &context) {
        Ok(service) => Some(service),
        Err(problem) => {
            tracing::error!(%problem, "an alert that is over becomes a new message: a service cannot be used for one of its recipients");
            None
        }
    }
}
