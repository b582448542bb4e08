//! Taking messages in: everything is worked out first, then stored in one commit.

use std::borrow::Cow;
use std::sync::Arc;

use super::clock::span_ms;
use super::content::{FullContent, SharedContent, SharedParts};
use super::encode::{count_of, encode};
use super::error::OutboxError;
use super::label::SharedLabel;
use super::outbox::Outbox;
use super::payload::{Fold, Payload, Shared};
use super::slots::Shares;
use super::store::{AcceptRequest, AlarmGuard, Content, Draft, FoldPlan, SharedRow, Stored};
use super::transport::{Destination, SecretText, StoredMessage};
use super::types::{AcceptOptions, Accepted, MAX_CONTEXT_BYTES, OutboxId, State, StoredOutcome};
use ackpost_notify::Message;
use ackpost_notify::dispatch::File;
use ackpost_notify::queue_rules::Rules;
use ackpost_notify::{Confirmation, Outcome};

/// Most targets of one URL whose acceptance the log shows one by one.
const LOGGED_EACH: usize = 16;

/// One message for one target, not yet stored.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Destination of the message.
    pub destination: Destination,
    /// Rules by which it is queued.
    pub rules: Rules,
}

/// The targets of one service.
pub(super) struct Bundle {
    pub(super) submissions: Vec<Submission>,
    /// The URL that names all of them. With it, what they have in common is stored once.
    pub(super) whole: Option<SecretText>,
}

impl Bundle {
    /// Targets that share nothing.
    pub(super) fn of(submissions: Vec<Submission>) -> Self {
        Self {
            submissions,
            whole: None,
        }
    }
}

/// A message and its targets.
pub(super) struct Submitted<'a> {
    pub(super) message: Cow<'a, Message>,
    pub(super) bundles: Vec<Bundle>,
    pub(super) options: Cow<'a, AcceptOptions>,
}

/// One message, as every target of it sees it.
struct Call<'a> {
    message: &'a Message,
    options: &'a AcceptOptions,
    /// Name of its files, if there are any.
    bundle: Option<String>,
    now: i64,
}

impl Outbox {
    /// Stores a message for targets in one durable commit: after this it is not lost, before it nothing is sent.
    /// `files` are the attachments of the message, read in.
    ///
    /// # Errors
    /// Nothing is stored if a message cannot be encoded, the outbox is full, or the database cannot be written.
    pub async fn submit(
        &self,
        message: &Message,
        files: &[File],
        submissions: Vec<Submission>,
        options: &AcceptOptions,
    ) -> Result<Vec<Accepted>, OutboxError> {
        let submitted = Submitted {
            message: Cow::Borrowed(message),
            bundles: vec![Bundle::of(submissions)],
            options: Cow::Borrowed(options),
        };
        self.store_submissions(files, vec![submitted], None).await
    }

    /// Stores messages with the same files, all or none.
    pub(super) async fn store_submissions(
        &self,
        files: &[File],
        submitted: Vec<Submitted<'_>>,
        guard: Option<AlarmGuard>,
    ) -> Result<Vec<Accepted>, OutboxError> {
        self.check_sizes(&submitted, files)?;
        let inner = &self.0;
        let now = inner.now_ms().await?;
        let bundle = (!files.is_empty()).then(|| OutboxId::random().to_string());
        let mut request = AcceptRequest {
            now,
            drafts: Vec::new(),
            bundle: bundle.clone(),
            files: Vec::new(),
            shared: Vec::new(),
            guard,
            contexts: Vec::new(),
        };
        let mut shown = Vec::new();
        for Submitted {
            message,
            bundles,
            options,
        } in submitted
        {
            let call = Call {
                message: &message,
                options: &options,
                bundle: bundle.clone(),
                now,
            };
            let summaries = self.add_drafts(&call, bundles, &mut request)?;
            let missing = options.missing_files.clone();
            shown.extend(summaries.into_iter().map(|summary| (summary, missing.clone())));
        }
        if let Some(bundle) = &bundle {
            request.files = super::files::seal(&inner.seal, bundle, files);
        }
        let result = inner.queue.store(request).await?;
        inner.changed();
        Ok(result
            .stored
            .into_iter()
            .zip(shown)
            .map(|(stored, (shown, missing))| shown.accepted(&stored, &missing))
            .collect())
    }

    /// Adds a draft for each target of a message, and what the drafts share.
    fn add_drafts(
        &self,
        call: &Call<'_>,
        bundles: Vec<Bundle>,
        request: &mut AcceptRequest,
    ) -> Result<Vec<TargetSummary>, OutboxError> {
        let mut shown = Vec::new();
        let context = call.options.context.as_ref().map(|context| {
            let (id, text) = (random_number(), context.reveal().as_bytes());
            let sealed = self.0.seal.seal(&format!("context {id}"), text);
            request.contexts.push((id, sealed));
            id
        });
        for Bundle {
            mut submissions,
            whole,
        } in bundles
        {
            for submission in &mut submissions {
                submission.rules = merged(std::mem::take(&mut submission.rules), call.options);
            }
            let sharing = match whole {
                Some(whole) => self.share(call, &submissions, whole, &mut request.shared)?,
                None => None,
            };
            let ids = self.ids_in_order_of_lanes(&submissions);
            for ((number, submission), id) in (0..).zip(submissions).zip(ids) {
                shown.push(TargetSummary::of(&submission.destination));
                let mut draft = match &sharing {
                    Some(sharing) => self.slim_draft(&id, call, submission, sharing, number),
                    None => self.draft(&id, call, submission)?,
                };
                draft.is_alarm = request.guard.is_some();
                draft.context = context;
                request.drafts.push(draft);
            }
        }
        Ok(shown)
    }

    /// Makes an id for each submission. Rows are written in the order of their lanes; ids in the same order fill the pages of
    /// their index, too.
    fn ids_in_order_of_lanes(&self, submissions: &[Submission]) -> Vec<OutboxId> {
        let mut ids: Vec<OutboxId> = submissions.iter().map(|_| OutboxId::random()).collect();
        if ids.len() < 2 {
            return ids;
        }
        ids.sort();
        let mut places: Vec<usize> = (0..ids.len()).collect();
        places.sort_by_cached_key(|&place| self.0.lane_of(&submissions[place].destination));
        let mut placed: Vec<(usize, OutboxId)> = places.into_iter().zip(ids).collect();
        placed.sort_by_key(|(place, _)| *place);
        placed.into_iter().map(|(_, id)| id).collect()
    }

    fn check_sizes(&self, submitted: &[Submitted<'_>], files: &[File]) -> Result<(), OutboxError> {
        let limits = &self.0.limits;
        let bundles = submitted.iter().flat_map(|one| &one.bundles);
        let targets = bundles.map(|bundle| bundle.submissions.len() as u64).sum();
        if targets > limits.targets {
            return Err(OutboxError::TooManyTargets {
                targets,
                limit: limits.targets,
            });
        }
        for Submitted { message, options, .. } in submitted {
            if let Some(context) = &options.context
                && context.reveal().len() > MAX_CONTEXT_BYTES
            {
                return Err(OutboxError::TooLarge {
                    what: "the context of the message".to_owned(),
                    bytes: context.reveal().len() as u64,
                    limit: MAX_CONTEXT_BYTES as u64,
                });
            }
            let text = (message.title.len() + message.body.len()) as u64;
            if text > limits.text_bytes {
                return Err(OutboxError::TooLarge {
                    what: "the message".to_owned(),
                    bytes: text,
                    limit: limits.text_bytes,
                });
            }
        }
        let bytes: u64 = files.iter().map(|file| file.bytes.len() as u64).sum();
        if bytes > limits.file_bytes {
            return Err(OutboxError::TooLarge {
                what: "all files together".to_owned(),
                bytes,
                limit: limits.file_bytes,
            });
        }
        Ok(())
    }

    /// Seals what the targets of one URL have in common.
    fn share(
        &self,
        call: &Call<'_>,
        submissions: &[Submission],
        whole: SecretText,
        shared: &mut Vec<SharedRow>,
    ) -> Result<Option<Arc<SharedParts>>, OutboxError> {
        let Some(first) = submissions.first() else {
            return Ok(None);
        };
        let (inner, origin) = (&self.0, call.options.origin.as_deref());
        // Rendered once: the number of pieces does not depend on the target.
        let id = OutboxId::random();
        let prepared = encode(inner.transport.as_ref(), &first.destination, call.message, &id, 0);
        let pieces = prepared.map_err(|(cause, remedy)| OutboxError::Unsendable { cause, remedy })?;
        let sharing = SharedParts {
            id: random_number(),
            pieces: count_of(&pieces),
            message: StoredMessage::new(call.message, call.bundle.is_some()),
            partial: without_files(&call.options.missing_files),
            logged_together: submissions.len() > LOGGED_EACH,
        };
        let row = Shared::new(
            &first.destination,
            whole,
            first.rules.clone(),
            sharing.message.clone(),
        );
        let label = SharedLabel::new(
            submissions.iter().map(|submission| &submission.destination),
            origin,
        );
        let event = (submissions.len() > LOGGED_EACH).then(|| {
            let text = format!("{} targets of one URL", submissions.len());
            inner.seal.seal("event", text.as_bytes())
        });
        shared.push(SharedRow {
            id: sharing.id,
            sealed: row.seal(&inner.seal, sharing.id),
            label: label.seal(&inner.seal, sharing.id),
            event,
        });
        Ok(Some(Arc::new(sharing)))
    }

    fn slim_draft(
        &self,
        id: &OutboxId,
        call: &Call<'_>,
        Submission { destination, rules }: Submission,
        sharing: &Arc<SharedParts>,
        number: i64,
    ) -> Draft {
        let inner = &self.0;
        let content = |fold| SharedContent {
            seal: Arc::clone(&inner.seal),
            id: id.clone(),
            sharing: Arc::clone(sharing),
            number,
            fold,
        };
        let (plan, fold) = match self.digest(call, &rules) {
            Some(plan) => (plan, Fold::Digest),
            None => (
                FoldPlan::Send {
                    pieces: sharing.pieces,
                },
                Fold::None,
            ),
        };
        let target = DraftParts {
            label: Vec::new(),
            share: Some((sharing.id, number)),
            logged_together: sharing.logged_together,
            plan,
            content: Box::new(content(fold)),
        };
        let lane = inner.lane_of(&destination);
        let stamp = inner.queue.take_stamp(&lane, call.now);
        self.complete(id, call, &destination, &rules, (lane, stamp), target)
    }

    fn draft(
        &self,
        id: &OutboxId,
        call: &Call<'_>,
        Submission { destination, rules }: Submission,
    ) -> Result<Draft, OutboxError> {
        let inner = &self.0;
        let message = call.message;
        let lane = inner.lane_of(&destination);
        let stored = StoredMessage::new(message, call.bundle.is_some());
        let stamp = inner.queue.take_stamp(&lane, call.now);
        let mut payload = Payload {
            destination,
            rules,
            fold: Fold::None,
            messages: vec![stored.clone()],
            partial: without_files(&call.options.missing_files),
            pieces: Vec::new(),
            share: None,
        };
        let prepared = encode(inner.transport.as_ref(), &payload.destination, message, id, stamp);
        let pieces = prepared.map_err(|(cause, remedy)| OutboxError::Unsendable { cause, remedy })?;
        let plan = if let Some(plan) = self.digest(call, &payload.rules) {
            payload.fold = Fold::Digest;
            plan
        } else {
            let count = count_of(&pieces);
            payload.pieces = pieces;
            FoldPlan::Send { pieces: count }
        };
        // Sealed here, where calls run beside each other, not where they are written one after the other.
        let ready = payload.seal(&inner.seal, id.as_str());
        let (destination, rules) = (payload.destination.clone(), payload.rules.clone());
        let target = DraftParts {
            label: inner
                .labels
                .seal(id.as_str(), &destination, call.options.origin.as_deref()),
            share: None,
            logged_together: false,
            plan,
            content: Box::new(FullContent {
                seal: Arc::clone(&inner.seal),
                transport: Arc::clone(&inner.transport),
                id: id.clone(),
                stamp,
                ready,
                message: stored,
                payload,
            }),
        };
        Ok(self.complete(id, call, &destination, &rules, (lane, stamp), target))
    }

    /// Adds to a draft what depends on destination and rules alone.
    fn complete(
        &self,
        id: &OutboxId,
        call: &Call<'_>,
        destination: &Destination,
        rules: &Rules,
        (lane, stamp): (Vec<u8>, i64),
        target: DraftParts,
    ) -> Draft {
        let inner = &self.0;
        if let FoldPlan::Send { pieces } = target.plan {
            inner.queue.take_up_to(&lane, stamp + pieces - 1);
        }
        Draft {
            id: id.to_string(),
            label: target.label,
            shares: Shares::of(&inner.seal, destination, call.options.origin.as_deref()),
            lane,
            service: destination.service.clone(),
            ttl_ms: span_ms(rules.time_to_live()),
            alarm_after_ms: rules.alarm_after.map(span_ms),
            bundle: call.bundle.clone(),
            context: None,
            share: target.share,
            logged_together: target.logged_together,
            is_alarm: false,
            dedup: self.repeat(call, rules),
            plan: target.plan,
            stamp,
            content: target.content,
        }
    }

    /// Returns under which key repeats of the message are recognised, and for how long.
    fn repeat(&self, call: &Call<'_>, rules: &Rules) -> Option<(Vec<u8>, i64)> {
        let dedup = rules.dedup.as_ref()?;
        let message = call.message;
        let key = if dedup.key == "auto" {
            self.fold_key(
                call,
                &[
                    b"repeat of text",
                    message.title.as_bytes(),
                    message.body.as_bytes(),
                ],
            )
        } else {
            self.fold_key(call, &[b"repeat", dedup.key.as_bytes()])
        };
        Some((key, span_ms(dedup.window)))
    }

    /// Returns the plan of a message that is put into a digest. Files cannot be shown in one: a message with files goes
    /// by itself.
    fn digest(&self, call: &Call<'_>, rules: &Rules) -> Option<FoldPlan> {
        let span = rules.digest.filter(|_| call.bundle.is_none())?;
        Some(FoldPlan::Digest {
            key: self.fold_key(call, &[b"digest"]),
            span_ms: span_ms(span),
        })
    }

    /// An entry belongs to one origin; without one the names are those of earlier versions.
    fn fold_key(&self, call: &Call<'_>, parts: &[&[u8]]) -> Vec<u8> {
        let seal = &self.0.seal;
        match call.options.origin.as_deref() {
            Some(origin) => seal.name(&[parts, &[b"origin", origin.as_bytes()]].concat()),
            None => seal.name(parts),
        }
    }
}

/// Differences between a draft that shares its message and one that does not.
struct DraftParts {
    label: Vec<u8>,
    share: Option<(i64, i64)>,
    logged_together: bool,
    plan: FoldPlan,
    content: Box<dyn Content>,
}

impl super::outbox::Core {
    /// The lane of a target: the same for every URL that leads there with the same account.
    pub(super) fn lane_of(&self, destination: &Destination) -> Vec<u8> {
        self.seal.name(&[
            b"lane",
            destination.service.as_bytes(),
            destination.url_id.as_bytes(),
            destination.address.as_bytes(),
        ])
    }
}

fn merged(mut rules: Rules, options: &AcceptOptions) -> Rules {
    rules.ttl = options.ttl.or(rules.ttl);
    rules.dedup = options.dedup.clone().or(rules.dedup);
    rules.digest = options.digest.or(rules.digest);
    rules.budget = options.budget.or(rules.budget);
    rules.quiet = options.quiet.or(rules.quiet);
    rules
}

/// Answer to the caller of an accept about one target.
struct TargetSummary {
    service: String,
    masked: String,
    url_id: String,
    target: String,
}

impl TargetSummary {
    /// Logs that a message is stored for this target, and describes its entry.
    fn accepted(self, stored: &Stored, missing_files: &[String]) -> Accepted {
        let id = stored.id.parse().unwrap_or_else(|_| OutboxId::random());
        tracing::info!(%id, service = self.service, recipient = self.target, "accepted");
        Accepted {
            id,
            service: self.service,
            url: self.masked,
            url_id: self.url_id,
            target: self.target,
            state: if stored.collecting {
                State::Collecting
            } else {
                State::Waiting
            },
            folded: stored.folded,
            missing_files: missing_files.to_vec(),
        }
    }

    fn of(destination: &Destination) -> Self {
        Self {
            service: destination.service.clone(),
            masked: destination.masked.clone(),
            url_id: destination.url_id.clone(),
            target: destination.target.clone(),
        }
    }
}

/// Returns a number that is used nowhere else: 63 random bits.
fn random_number() -> i64 {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    i64::from_le_bytes(bytes) & i64::MAX
}

/// The outcome of an entry whose files could not all be read.
fn without_files(missing: &[String]) -> Option<StoredOutcome> {
    let arrived = Outcome::Delivered {
        confirmed_by: Confirmation::Server,
        id: None,
    };
    (!missing.is_empty()).then(|| StoredOutcome::from(&arrived.without_files(missing)))
}
