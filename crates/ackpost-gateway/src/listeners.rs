//! The listeners for answers to alerts.

use std::sync::Arc;

use ackpost_apprise::{TagFilter, Values};
use ackpost_notify::{ConnectionOptions, Environment, ServiceUrl};
use ackpost_operate::Desk;
use ackpost_operate::calls::Alerting;
use tokio::sync::watch;

use crate::key::Key;
use crate::state::Gateway;

/// Pause before the listeners are started again after an error of the outbox.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

/// Listens for answers until the stop. Starts anew when the configuration or a key changes.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    mut reloaded: watch::Receiver<u64>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        reloaded.mark_unchanged();
        let changed = gateway.answers_changed.notified();
        let (stop, ended) = watch::channel(false);
        let listener = tokio::spawn(listen(Arc::clone(&gateway), ended));
        let over = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => true,
            _ = reloaded.changed() => false,
            () = changed => false,
        };
        let _ = stop.send(true);
        let _ = listener.await;
        gateway.set_desk(None);
        if over {
            return;
        }
    }
}

/// Listens with the configuration as it is now.
async fn listen(gateway: Arc<Gateway>, mut stop: watch::Receiver<bool>) {
    let config = gateway.config();
    if !config.operate.is_on() {
        return;
    }
    let mut sources = Vec::new();
    for source in config.operate.sources() {
        match source.and_then(Alerting::new) {
            Ok(source) => sources.push(source),
            Err(error) => {
                tracing::error!(%error, "a source of [operate] cannot be used; its alerts cannot be answered");
            }
        }
    }
    let desk = loop {
        let settings = config.operate.settings.clone();
        match Desk::open(gateway.outbox.clone(), sources.clone(), settings).await {
            Ok(desk) => break desk,
            Err(error) => {
                tracing::error!(%error, remedy = %error.remedy(), "answers to alerts are not heard");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    };
    gateway.set_desk(Some(desk.clone()));
    let options = ConnectionOptions::default()
        .with_resident(true)
        .with_state_folder(Some(config.folder.clone()));
    let services = services(&gateway, &desk).await;
    tracing::info!(services = services.len(), "listening for answers to alerts");
    ackpost_operate::listen(&desk, &services, &options, stop).await;
}

/// The services behind the keys whose alerts can be answered.
async fn services(gateway: &Gateway, desk: &Desk) -> Vec<ServiceUrl> {
    let values = Values::new::<&str, String>([], &Environment::empty());
    let mut found = Vec::new();
    for key in desk.keys().filter_map(|key| Key::parse(key).ok()) {
        match crate::routes::notify::key_services(gateway, &key).await {
            Ok(Some(notifier)) => {
                let resolved = notifier.find(&TagFilter::All);
                found.extend(resolved.filter_map(|entry| entry.resolve(&values).ok()));
            }
            Ok(None) => {
                tracing::warn!(%key, "a key of [operate] has no configuration; its alerts cannot be answered");
            }
            Err(reply) => {
                tracing::warn!(%key, reason = reply.sentence(), "a key could not be read for answers");
            }
        }
    }
    found
}
