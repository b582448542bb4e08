//! The services of this crate as carriers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::accept::Parcel;
use super::carrier::{Carrier, Hidden, Job, Route, Stamp, StoredFile, Wire};
use super::config::OutboxConfig;
use super::error::OutboxError;
use super::outbox::Outbox;
use super::rules::{Budget, Rules};
use super::types::{AcceptOptions, Accepted};
use crate::asset::Asset;
use crate::dispatch::{Courier, CourierOptions};
use crate::message::{AttachmentSource, Message};
use crate::outcome::Outcome;
use crate::service::{Chunk, Context, Service, Target};

/// So many loaded URLs are kept.
const KEPT: usize = 1024;

/// Carries by the services of this crate, over connections that all deliveries share.
pub struct Services {
    courier: Arc<Courier>,
    context: Context,
    loaded: Mutex<HashMap<[u8; 32], Service>>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

impl Services {
    /// Over these connections.
    pub fn new(courier: Arc<Courier>) -> Self {
        Self {
            courier,
            context: Context::default(),
            loaded: Mutex::default(),
        }
    }

    /// A stored URL as a service again.
    fn service(&self, route: &Route) -> Result<Service, Outcome> {
        let key: [u8; 32] = Sha256::digest(route.url.reveal().as_bytes()).into();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = loaded.get(&key) {
            return Ok(service.clone());
        }
        let service = Service::parse(route.url.reveal(), &self.context)
            .map_err(|problem| Outcome::refused(problem.cause, problem.remedy))?;
        if loaded.len() >= KEPT {
            loaded.clear();
        }
        loaded.insert(key, service.clone());
        Ok(service)
    }

    fn target(service: &Service, route: &Route) -> Result<Target, Outcome> {
        service
            .targets()
            .into_iter()
            .find(|target| target.address == route.address)
            .ok_or_else(|| {
                Outcome::refused(
                    "the stored URL no longer names this target",
                    "send the message again",
                )
            })
    }
}

/// A piece as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredPiece {
    title: String,
    body: String,
    xhtml: Option<String>,
    id: String,
    sent_at_ms: u64,
}

impl Carrier for Services {
    fn prepare(&self, route: &Route, message: &Message, stamp: &Stamp) -> Result<Vec<Wire>, Outcome> {
        let service = self.service(route)?;
        let prepared = crate::dispatch::prepare(&service, message)
            .map_err(|problem| Outcome::refused(problem.cause, problem.remedy))?;
        let mut chunks = prepared.chunks;
        if chunks.is_empty() {
            chunks.push(Chunk::default());
        }
        Ok(chunks
            .into_iter()
            .enumerate()
            .map(|(n, chunk)| {
                let (sent_at_ms, id) = stamp.piece(n);
                let piece = StoredPiece {
                    title: chunk.title,
                    body: chunk.body,
                    xhtml: chunk.xhtml,
                    id,
                    sent_at_ms,
                };
                serde_json::to_value(piece).expect("texts and numbers can be written")
            })
            .collect())
    }

    fn deliver<'a>(&'a self, job: Job<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let service = match self.service(job.route) {
                Ok(service) => service,
                Err(outcome) => return outcome,
            };
            let target = match Self::target(&service, job.route) {
                Ok(target) => target,
                Err(outcome) => return outcome,
            };
            let Ok(piece) = serde_json::from_value::<StoredPiece>(job.wire.clone()) else {
                return Outcome::refused("the stored message is written in another way", "send it again");
            };
            let chunk = Chunk {
                title: piece.title,
                body: piece.body,
                xhtml: piece.xhtml,
            };
            let stamp = crate::dispatch::Stamp {
                id: piece.id,
                sent_at_ms: piece.sent_at_ms,
            };
            let wire = service.fix(&target, &chunk, &stamp);
            let parcel = crate::dispatch::Parcel {
                target,
                wires: vec![wire],
                files: Arc::new([]),
                repeat: false,
                fixed: None,
            };
            let mut attempts = self.courier.deliver(&service, &parcel).await;
            attempts.pop().map_or_else(
                || Outcome::deferred("there was no outcome", "try again"),
                |attempt| attempt.outcome,
            )
        })
    }
}

impl Outbox {
    /// Opens an outbox for the services of this crate, with connections of its own.
    pub async fn for_services(config: OutboxConfig) -> Result<Self, OutboxError> {
        let courier = Courier::new(CourierOptions::default(), Asset::default());
        Self::open(config, Arc::new(Services::new(Arc::new(courier)))).await
    }

    /// Stores a message for every target of these services in one durable commit, its files copied in: after this it
    /// is not lost, before it nothing is sent. What the options say wins over the URLs.
    pub async fn accept(
        &self,
        message: &Message,
        services: &[&Service],
        options: &AcceptOptions,
    ) -> Result<Vec<Accepted>, OutboxError> {
        let mut parcels = Vec::new();
        for service in services {
            let rules = rules(service)?;
            for target in service.targets() {
                parcels.push(Parcel {
                    route: route(service, &target),
                    rules: rules.clone(),
                });
            }
        }
        if parcels.is_empty() {
            return Err(OutboxError::Unsendable {
                cause: "there is no target to send to".to_owned(),
                remedy: "give a URL with a target".to_owned(),
            });
        }
        let files = self.copy_in(message).await?;
        self.accept_parcels(message, &files, parcels, options).await
    }

    async fn copy_in(&self, message: &Message) -> Result<Vec<StoredFile>, OutboxError> {
        let limit = self.0.limits.file_bytes;
        let mut files = Vec::with_capacity(message.attachments.len());
        for attachment in &message.attachments {
            let name = attachment.file_name();
            let failed = |cause: String| OutboxError::Attachment {
                name: name.clone(),
                cause,
            };
            let bytes = match &attachment.source {
                AttachmentSource::Bytes(bytes) => bytes.clone(),
                AttachmentSource::File(path) => {
                    let size = tokio::fs::metadata(path)
                        .await
                        .map_err(|error| failed(error.to_string()))?
                        .len();
                    if size > limit {
                        return Err(OutboxError::TooLarge {
                            what: format!("the file {name}"),
                            bytes: size,
                            limit,
                        });
                    }
                    tokio::fs::read(path)
                        .await
                        .map_err(|error| failed(error.to_string()))?
                        .into()
                }
                AttachmentSource::Url(_) => return Err(failed("addresses are not fetched".to_owned())),
            };
            let media_type = attachment
                .media_type
                .clone()
                .unwrap_or_else(|| "application/octet-stream".to_owned());
            files.push(StoredFile {
                name,
                media_type,
                bytes,
            });
        }
        Ok(files)
    }
}

/// The queue parameters of a service's URL; a community server gets the budget that such servers allow.
pub(super) fn rules(service: &Service) -> Result<Rules, OutboxError> {
    let common = service.common();
    let words = common.queue.iter().map(|(name, value)| (*name, value.as_str()));
    let mut rules = Rules::from_words(words, common.tz.as_deref())?;
    if rules.budget.is_none() {
        rules.budget = service
            .endpoint()
            .pace()
            .map(|(count, span)| Budget::Limited { count, span });
    }
    Ok(rules)
}

/// One target of a service.
pub(super) fn route(service: &Service, target: &Target) -> Route {
    Route {
        service: service.name().to_owned(),
        url: Hidden::new(service.expose_url()),
        masked: service.masked_url(),
        url_id: service.url_id(8),
        address: target.address.clone(),
        target: service.endpoint().target_label(target),
    }
}
