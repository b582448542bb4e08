//! The services of this crate as carriers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::accept::{Bundle, Parcel};
use super::carrier::{Destination, Job, MessageId, SecretText, Sender, StoredFile, Transport, Wire};
use super::config::OutboxConfig;
use super::error::OutboxError;
use super::outbox::Outbox;
use super::types::{AcceptOptions, Accepted};
use crate::asset::Asset;
use crate::dispatch::{CUT_OFF, ConnectionOptions, ConnectionPool, Late};
use crate::env::Environment;
use crate::message::Message;
use crate::outcome::Outcome;
use crate::queue_rules::{RateLimit, Rules};
use crate::service::{Chunk, Context, Service, Target};

/// So many loaded URLs are kept.
const KEPT: usize = 1024;

/// Carries by the services of this crate, over connections that all deliveries share.
pub struct ServiceTransport {
    courier: ConnectionPool,
    context: Context,
    loaded: Mutex<HashMap<[u8; 32], Service>>,
}

impl fmt::Debug for ServiceTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceTransport").finish_non_exhaustive()
    }
}

impl ServiceTransport {
    /// Over these connections.
    pub fn new(courier: ConnectionPool) -> Self {
        Self {
            courier,
            context: Context::default(),
            loaded: Mutex::default(),
        }
    }

    /// A stored URL as a service again.
    fn service(&self, route: &Destination) -> Result<Service, Outcome> {
        let mut hash = Sha256::new_with_prefix(route.url.reveal());
        if let Some(sender) = &route.sender {
            hash.update([u8::from(sender.http_redirects)]);
        }
        if let Some(guest) = route.guest {
            hash.update([2, u8::from(guest.private_addresses)]);
        }
        let key: [u8; 32] = hash.finalize().into();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = loaded.get(&key) {
            return Ok(service.clone());
        }
        let mut context = self.context.clone();
        if let Some(sender) = &route.sender {
            context.asset = sender.to_asset();
        }
        if let Some(guest) = route.guest {
            context.env = Environment::for_guest(guest);
        }
        let service = Service::parse(route.url.reveal(), &context)
            .map_err(|problem| Outcome::refused(problem.cause, problem.remedy))?;
        if loaded.len() >= KEPT {
            loaded.clear();
        }
        loaded.insert(key, service.clone());
        Ok(service)
    }

    fn target(service: &Service, route: &Destination) -> Result<Target, Outcome> {
        service.target(&route.address).cloned().ok_or_else(|| {
            Outcome::refused(
                "the stored URL no longer names this target",
                "send the message again",
            )
        })
    }
}

impl Transport for ServiceTransport {
    fn prepare(
        &self,
        route: &Destination,
        message: &Message,
        stamp: &MessageId,
    ) -> Result<Vec<Wire>, Outcome> {
        let service = self.service(route)?;
        let target = Self::target(&service, route)?;
        let mut chunks = match crate::dispatch::prepare(&service, message) {
            Ok(prepared) => prepared.chunks,
            Err(problem) => return Err(Outcome::refused(problem.cause, problem.remedy)),
        };
        if chunks.is_empty() {
            // Nothing but files.
            chunks.push(Chunk::default());
        }
        let fix = |(n, chunk): (usize, Chunk)| {
            let (sent_at_ms, id) = stamp.piece(n);
            let wire = service.fix(&target, &chunk, &crate::dispatch::MessageId { id, sent_at_ms });
            serde_json::to_value(wire).map_err(|error| {
                Outcome::refused(
                    format!("the message cannot be written down: {error}"),
                    "send it without the outbox",
                )
            })
        };
        chunks.into_iter().enumerate().map(fix).collect()
    }

    fn deliver<'a>(&'a self, job: Job<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match self.attempt(job).await {
                Ok(outcome) | Err(outcome) => outcome,
            }
        })
    }

    fn take_late(&self) -> Vec<Late> {
        self.courier.take_late()
    }

    fn forget(&self) {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl ServiceTransport {
    async fn attempt(&self, job: Job<'_>) -> Result<Outcome, Outcome> {
        let service = self.service(job.route)?;
        let target = Self::target(&service, job.route)?;
        let wire: crate::service::Wire = serde_json::from_value(job.wire.clone())
            .map_err(|_| Outcome::refused("the stored message is written in another way", "send it again"))?;
        let is_cut = wire.is_cut();
        let files = job.files.iter().map(|file| crate::dispatch::File {
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            bytes: file.bytes.clone(),
        });
        // A piece that is finished on the way comes back through a channel, because whoever finishes it may hold on
        // to its callback for longer than this attempt lasts.
        let (finished, mut pieces) = mpsc::channel::<(Wire, oneshot::Sender<bool>)>(1);
        let parcel = crate::dispatch::Parcel {
            target,
            wires: vec![wire],
            files: files.collect(),
            repeat: vec![job.repeat],
            fixed: Some(Arc::new(move |_, wire| {
                let finished = finished.clone();
                Box::pin(async move {
                    let (answer, kept) = oneshot::channel();
                    let Ok(wire) = serde_json::to_value(wire) else {
                        return false;
                    };
                    finished.send((wire, answer)).await.is_ok() && kept.await.unwrap_or(false)
                })
            })),
        };
        let keeping = async {
            while let Some((wire, answer)) = pieces.recv().await {
                let _ = answer.send(job.keep.keep(wire).await);
            }
            std::future::pending::<()>().await;
        };
        let own = job
            .route
            .sender
            .as_ref()
            .map(|sender| self.courier.with_asset(sender.to_asset()));
        let courier = own.as_ref().unwrap_or(&self.courier);
        tokio::select! {
            mut attempts = courier.deliver(&service, &parcel) => Ok(match attempts.pop() {
                Some(mut attempt) => {
                    job.keep.doubt(attempt.leaves_doubt(job.repeat));
                    if attempt.repeated {
                        job.keep.repeated();
                    }
                    if attempt.outcome.is_taken() {
                        let cut = is_cut.then(|| CUT_OFF.to_owned());
                        job.keep.noted(cut.into_iter().chain(attempt.notes.drain(..)).collect());
                    }
                    waiting(attempt)
                }
                None => Outcome::deferred("there was no outcome", "try again"),
            }),
            () = keeping => Err(Outcome::deferred("there was no outcome", "try again")),
        }
    }
}

/// The outcome for a queue that can wait: a name that does not resolve now may do so when DNS is back.
fn waiting(attempt: crate::dispatch::AttemptResult) -> Outcome {
    match attempt.outcome {
        Outcome::Refused { reason, remedy } if attempt.unresolved => Outcome::Deferred {
            reason,
            remedy,
            retry_after: None,
        },
        outcome => outcome,
    }
}

impl Outbox {
    /// Opens an outbox for the services of this crate, with connections of its own.
    pub async fn for_services(config: OutboxConfig) -> Result<Self, OutboxError> {
        let options = ConnectionOptions {
            resident: true,
            ..ConnectionOptions::default()
        };
        let courier = ConnectionPool::new(options, Asset::default());
        Self::open(config, Arc::new(ServiceTransport::new(courier))).await
    }

    /// Stores a message for every target of these services in one durable commit, its files copied in: after this it
    /// is not lost, before it nothing is sent. What the options say wins over the URLs.
    pub async fn accept(
        &self,
        message: &Message,
        services: &[&Service],
        options: &AcceptOptions,
    ) -> Result<Vec<Accepted>, OutboxError> {
        let sender = options.asset.as_ref().and_then(Sender::of);
        let mut bundles = Vec::with_capacity(services.len());
        for service in services {
            let rules = rules(service);
            let parcel = |target: Target| Parcel {
                route: Destination {
                    sender: sender.clone(),
                    ..route(service, &target)
                },
                rules: rules.clone(),
            };
            let parcels: Vec<Parcel> = service.targets().into_iter().map(parcel).collect();
            let whole = (parcels.len() > 1).then(|| SecretText::new(service.expose_url()));
            bundles.push(Bundle { parcels, whole });
        }
        if bundles.iter().all(|bundle| bundle.parcels.is_empty()) {
            return Err(OutboxError::Unsendable {
                cause: "there is no target to send to".to_owned(),
                remedy: "give a URL with a target".to_owned(),
            });
        }
        let (files, missing_files) = self.copy_in(message).await?;
        let options = &AcceptOptions {
            missing_files,
            ..options.clone()
        };
        let message = match &options.asset {
            Some(asset) => std::borrow::Cow::Owned(asset.complete(message)),
            None => std::borrow::Cow::Borrowed(message),
        };
        self.store_parcels(&message, &files, bundles, options, None).await
    }

    /// Reads the files of a message. The second list says which cannot be read, and why; the text goes without them.
    async fn copy_in(&self, message: &Message) -> Result<(Vec<StoredFile>, Vec<String>), OutboxError> {
        let options = ConnectionOptions {
            attachment_bytes: self.0.limits.file_bytes,
            ..ConnectionOptions::default()
        };
        let mut files = Vec::with_capacity(message.attachments.len());
        let mut missing = Vec::new();
        let has_text = !message.body.trim().is_empty() || !message.title.trim().is_empty();
        for attachment in &message.attachments {
            let file = match attachment.load(&options).await {
                Ok(file) => file,
                Err(problem) if has_text => {
                    missing.push(problem.cause);
                    continue;
                }
                Err(problem) => {
                    return Err(OutboxError::Unsendable {
                        cause: problem.cause,
                        remedy: problem.remedy,
                    });
                }
            };
            files.push(StoredFile {
                name: file.name,
                media_type: file.media_type,
                bytes: file.bytes,
            });
        }
        Ok((files, missing))
    }
}

/// The queue parameters of a service's URL; a community server gets the budget that such servers allow.
pub(super) fn rules(service: &Service) -> Rules {
    let common = service.common();
    let mut rules = common.rules.clone();
    if rules.budget.is_none() {
        rules.budget = service
            .pace()
            .map(|(count, span)| RateLimit::Limited { count, span });
    }
    rules
}

/// Returns [`super::Entry::target`] for every target of a service.
pub fn target_labels(service: &Service) -> Vec<String> {
    let targets = service.targets();
    targets
        .iter()
        .map(|target| service.endpoint().target_label(target))
        .collect()
}

/// One target of a service. The URL names that target alone: the size of all routes grows with their number.
pub(super) fn route(service: &Service, target: &Target) -> Destination {
    Destination {
        service: service.name().to_owned(),
        url: SecretText::new(service.expose_url_of(target)),
        masked: service.masked_url_of(target),
        url_id: service.url_id(8),
        address: target.address.clone(),
        target: service.endpoint().target_label(target),
        sender: None,
        guest: service.common().guest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::AttemptResult;

    #[test]
    fn a_service_is_kept_until_it_is_to_be_forgotten() {
        let services = ServiceTransport::new(ConnectionPool::new(
            ConnectionOptions::default(),
            Asset::default(),
        ));
        let service = Service::parse("xmpps://u:hunter2@h.org/jane", &Context::default()).expect("a service");
        let route = route(&service, &service.targets()[0]);
        let kept = || services.loaded.lock().expect("no panic").len();
        services.service(&route).expect("it loads");
        assert_eq!(kept(), 1);
        services.forget();
        assert_eq!(kept(), 0);
        services.service(&route).expect("it loads again");
    }

    #[test]
    fn only_a_name_that_does_not_resolve_is_waited_for() {
        let mut attempt = AttemptResult::new(Outcome::refused("no such host: h.org", "check the spelling"));
        assert!(matches!(waiting(attempt.clone()), Outcome::Refused { .. }));
        attempt.unresolved = true;
        assert_eq!(
            waiting(attempt),
            Outcome::Deferred {
                reason: "no such host: h.org".to_owned(),
                remedy: "check the spelling".to_owned(),
                retry_after: None,
            }
        );
    }
}
