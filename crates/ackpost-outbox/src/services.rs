//! Services as the transport of the outbox.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::accept::{Bundle, Submission, Submitted};
use super::config::OutboxConfig;
use super::error::OutboxError;
use super::outbox::Outbox;
use super::transport::{DeliveryRequest, Destination, SecretText, Sender, Transport};
use super::types::{AcceptOptions, Accepted};
use ackpost_notify::Asset;
use ackpost_notify::Attachment;
use ackpost_notify::Environment;
use ackpost_notify::Message;
use ackpost_notify::Outcome;
use ackpost_notify::dispatch::{
    BoxFuture, CUT_OFF, ConnectionOptions, ConnectionPool, Delivery, File, Late, MessageId, TITLE_CUT_OFF,
};
use ackpost_notify::queue_rules::{RateLimit, Rules};
use ackpost_notify::{Chunk, Context, Encoded, ServiceUrl, Services, Target};

/// Maximum number of loaded URLs that are kept.
const KEPT: usize = 1024;

/// Delivers with services, over connections that all deliveries share.
pub struct ServiceTransport {
    pool: ConnectionPool,
    context: Context,
    loaded: Mutex<HashMap<[u8; 32], ServiceUrl>>,
}

impl fmt::Debug for ServiceTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceTransport").finish_non_exhaustive()
    }
}

impl ServiceTransport {
    /// Delivers over these connections. Stored URLs may name these services.
    pub fn new(pool: ConnectionPool, services: Services) -> Self {
        Self {
            pool,
            context: Context::default().with_services(services),
            loaded: Mutex::default(),
        }
    }

    /// A stored URL as a service again.
    fn service(&self, destination: &Destination) -> Result<ServiceUrl, Outcome> {
        let mut hash = Sha256::new_with_prefix(destination.url.reveal());
        if let Some(sender) = &destination.sender {
            hash.update([u8::from(sender.http_redirects)]);
        }
        if let Some(guest) = destination.guest {
            hash.update([2, u8::from(guest.private_addresses)]);
        }
        let key: [u8; 32] = hash.finalize().into();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = loaded.get(&key) {
            return Ok(service.clone());
        }
        let mut context = self.context.clone();
        if let Some(sender) = &destination.sender {
            context.asset = sender.to_asset();
        }
        if let Some(guest) = destination.guest {
            context.env = Environment::for_guest(guest);
        }
        let service = ServiceUrl::parse(destination.url.reveal(), &context)
            .map_err(|problem| Outcome::refused(problem.cause, problem.remedy))?;
        if loaded.len() >= KEPT {
            loaded.clear();
        }
        loaded.insert(key, service.clone());
        Ok(service)
    }

    fn target(service: &ServiceUrl, destination: &Destination) -> Result<Target, Outcome> {
        service.target(&destination.address).cloned().ok_or_else(|| {
            Outcome::refused(
                "the stored URL no longer names this target",
                "send the message again",
            )
        })
    }
}

impl Transport for ServiceTransport {
    fn encode(
        &self,
        destination: &Destination,
        message: &Message,
        id: &MessageId,
    ) -> Result<Vec<Encoded>, Outcome> {
        let service = self.service(destination)?;
        let target = Self::target(&service, destination)?;
        let mut chunks = match ackpost_notify::dispatch::prepare(&service, message) {
            Ok(prepared) => prepared.chunks,
            Err(problem) => return Err(Outcome::refused(problem.cause, problem.remedy)),
        };
        if chunks.is_empty() {
            // The message consists of files only.
            chunks.push(Chunk::default());
        }
        let encode = |(n, chunk)| service.encode(&target, chunk, &id.piece(n));
        Ok(chunks.iter().enumerate().map(encode).collect())
    }

    fn deliver<'a>(&'a self, request: DeliveryRequest<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match self.attempt(request).await {
                Ok(outcome) | Err(outcome) => outcome,
            }
        })
    }

    fn take_late(&self) -> Vec<Late> {
        self.pool.take_late()
    }

    fn forget(&self) {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let pool = self.pool.clone();
            runtime.spawn(async move { pool.forget_guests().await });
        }
    }
}

impl ServiceTransport {
    async fn attempt(&self, request: DeliveryRequest<'_>) -> Result<Outcome, Outcome> {
        let service = self.service(request.destination)?;
        let target = Self::target(&service, request.destination)?;
        // A piece that is encoded on the way comes back through a channel, because whoever encodes it may hold on to its
        // callback for longer than this attempt lasts.
        let (encoded, mut pieces) = mpsc::channel::<(Encoded, oneshot::Sender<bool>)>(1);
        let mut delivery = Delivery::new(target, vec![request.piece.clone()]);
        delivery.files = request.files.into();
        delivery.repeat = vec![request.repeat];
        let accepted = u64::try_from(request.accepted_at_ms).unwrap_or(0);
        delivery.since = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(accepted));
        delivery.on_encoded = Some(Arc::new(move |_, piece| {
            let encoded = encoded.clone();
            Box::pin(async move {
                let (answer, stored) = oneshot::channel();
                encoded.send((piece, answer)).await.is_ok() && stored.await.unwrap_or(false)
            })
        }));
        let storing = async {
            while let Some((piece, answer)) = pieces.recv().await {
                let _ = answer.send(request.checkpoint.save(piece).await);
            }
            std::future::pending::<()>().await;
        };
        let own = request
            .destination
            .sender
            .as_ref()
            .map(|sender| self.pool.with_asset(sender.to_asset()));
        let pool = own.as_ref().unwrap_or(&self.pool);
        tokio::select! {
            mut attempts = service.deliver(pool, &delivery) => Ok(match attempts.pop() {
                Some(mut attempt) => {
                    request.checkpoint.doubt(attempt.leaves_doubt(request.repeat));
                    if attempt.repeated {
                        request.checkpoint.repeated();
                    }
                    if attempt.outcome.is_taken() {
                        let cuts = [
                            (CUT_OFF, request.piece.is_cut()),
                            (TITLE_CUT_OFF, request.piece.is_title_cut()),
                        ];
                        let cuts = cuts.into_iter().filter(|(_, is_cut)| *is_cut);
                        let notes = cuts.map(|(note, _)| note.to_owned());
                        request.checkpoint.noted(notes.chain(attempt.notes.drain(..)).collect());
                    }
                    waiting(attempt)
                }
                None => Outcome::deferred("there was no outcome", "try again"),
            }),
            () = storing => Err(Outcome::deferred("there was no outcome", "try again")),
        }
    }
}

/// The outcome for a queue that can wait: a name that does not resolve now may do so when DNS is back.
fn waiting(attempt: ackpost_notify::dispatch::Attempt) -> Outcome {
    match attempt.outcome {
        Outcome::Refused { reason, remedy } if attempt.unresolved => Outcome::Deferred {
            reason,
            remedy,
            retry_after: None,
        },
        outcome => outcome,
    }
}

/// One of the copies of a message that [`Outbox::accept_copies`] stores together.
#[derive(Clone, Copy, Debug)]
pub struct MessageCopy<'a> {
    /// The message; its attachments are those of all copies.
    pub message: &'a Message,
    /// Services that it goes to.
    pub services: &'a [&'a ServiceUrl],
    /// Options, which take precedence over the URLs.
    pub options: &'a AcceptOptions,
}

/// The targets of a copy, by service.
fn bundles(copy: &MessageCopy<'_>) -> Vec<Bundle> {
    let sender = copy.options.asset.as_ref().and_then(Sender::of);
    let bundle = |service: &&ServiceUrl| {
        let rules = rules(service);
        let submission = |target: Target| Submission {
            destination: Destination {
                sender: sender.clone(),
                ..destination(service, &target)
            },
            rules: rules.clone(),
        };
        let submissions: Vec<Submission> = service.targets().into_iter().map(submission).collect();
        let whole = (submissions.len() > 1).then(|| SecretText::new(service.expose_url()));
        Bundle { submissions, whole }
    };
    copy.services.iter().map(bundle).collect()
}

impl Outbox {
    /// Opens an outbox for these services, with its own connections.
    ///
    /// # Errors
    /// See [`Outbox::open`].
    pub async fn for_services(config: OutboxConfig, services: Services) -> Result<Self, OutboxError> {
        let options = ConnectionOptions::default().with_resident(true);
        let pool = ConnectionPool::new(options, Asset::default());
        Self::open(config, Arc::new(ServiceTransport::new(pool, services))).await
    }

    /// Stores a message for every target of these services in one durable commit, with copies of its files. After the
    /// call it is not lost; before it nothing is sent. The options take precedence over the URLs.
    ///
    /// # Errors
    /// Nothing is stored if a message cannot be rendered, the outbox is full, or the database cannot be written.
    pub async fn accept(
        &self,
        message: &Message,
        services: &[&ServiceUrl],
        options: &AcceptOptions,
    ) -> Result<Vec<Accepted>, OutboxError> {
        let copy = MessageCopy {
            message,
            services,
            options,
        };
        self.accept_copies(&message.attachments, &[copy]).await
    }

    /// Stores copies of a message, such as those for several recipients of a mail, in one durable commit: all of them or
    /// none. The files are stored once for all copies; the attachments of the copies themselves are not looked at. The
    /// result has the targets of the first copy first.
    ///
    /// # Errors
    /// See [`Outbox::accept`]. A copy without a target is an error, too.
    pub async fn accept_copies(
        &self,
        files: &[Attachment],
        copies: &[MessageCopy<'_>],
    ) -> Result<Vec<Accepted>, OutboxError> {
        let mut batch = Vec::with_capacity(copies.len());
        for copy in copies {
            let bundles = bundles(copy);
            if bundles.iter().all(|bundle| bundle.submissions.is_empty()) {
                return Err(OutboxError::Unsendable {
                    cause: "no target is given".to_owned(),
                    remedy: "give a URL with a target".to_owned(),
                });
            }
            batch.push((copy, bundles));
        }
        let has_text = |copy: &MessageCopy<'_>| {
            !copy.message.body.trim().is_empty() || !copy.message.title.trim().is_empty()
        };
        let (files, missing) = self.copy_in(files, copies.iter().all(has_text)).await?;
        let submitted = batch.into_iter().map(|(copy, bundles)| {
            let mut options = copy.options.clone();
            options.missing_files.extend(missing.iter().cloned());
            let message = match &options.asset {
                Some(asset) => Cow::Owned(asset.complete(copy.message)),
                None => Cow::Borrowed(copy.message),
            };
            Submitted {
                message,
                bundles,
                options: Cow::Owned(options),
            }
        });
        self.store_submissions(&files, submitted.collect(), None).await
    }

    /// Reads the files of a message. The second list says which cannot be read, and why; the text goes without them.
    async fn copy_in(
        &self,
        attachments: &[Attachment],
        has_text: bool,
    ) -> Result<(Vec<File>, Vec<String>), OutboxError> {
        let options = ConnectionOptions::default().with_attachment_bytes(self.0.limits.file_bytes);
        let mut files = Vec::with_capacity(attachments.len());
        let mut missing = Vec::new();
        for attachment in attachments {
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
            files.push(file);
        }
        Ok((files, missing))
    }
}

/// The queue parameters of a service's URL; a community server gets the budget that such servers allow.
pub(super) fn rules(service: &ServiceUrl) -> Rules {
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
pub fn target_labels(service: &ServiceUrl) -> Vec<String> {
    let targets = service.targets();
    targets
        .iter()
        .map(|target| service.target_label(target))
        .collect()
}

/// One target of a service. The URL names that target alone: the size of all destinations grows with their number.
pub(super) fn destination(service: &ServiceUrl, target: &Target) -> Destination {
    Destination {
        service: service.name().to_owned(),
        url: SecretText::new(service.expose_url_of(target)),
        masked: service.short_url_of(target),
        url_id: service.url_id(8),
        address: target.address.clone(),
        target: service.target_label(target),
        sender: None,
        guest: service.common().guest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ackpost_notify::dispatch::Attempt;

    #[test]
    fn a_service_is_kept_until_it_is_to_be_forgotten() {
        let pool = ConnectionPool::new(ConnectionOptions::default(), Asset::default());
        let services = ServiceTransport::new(pool, Services::default());
        let service =
            ServiceUrl::parse("xmpps://u:hunter2@h.org/jane", &Context::default()).expect("a service");
        let destination = destination(&service, &service.targets()[0]);
        let kept = || services.loaded.lock().expect("no panic").len();
        services.service(&destination).expect("it loads");
        assert_eq!(kept(), 1);
        services.forget();
        assert_eq!(kept(), 0);
        services.service(&destination).expect("it loads again");
    }

    #[test]
    fn only_a_name_that_does_not_resolve_is_waited_for() {
        let mut attempt = Attempt::new(Outcome::refused("no such host: h.org", "check the spelling"));
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
