//! Taking messages in: everything is worked out first, then stored in one commit.

use std::sync::Arc;

use super::carrier::{Destination, MessageId, SecretText, StoredFile, StoredMessage, Transport};
use super::clock::span_ms;
use super::content::{Row, Sharing, SlimRow};
use super::error::OutboxError;
use super::label::SharedLabel;
use super::outbox::Outbox;
use super::payload::{Fold, Payload, Shared};
use super::slots::Shares;
use super::store::{AcceptRequest, Content, Draft, Guard, Plan, SharedRow};
use super::types::{AcceptOptions, Accepted, OutboxId, State, StoredOutcome};
use crate::message::Message;
use crate::outcome::{Confirmation, Outcome};
use crate::queue_rules::Rules;

/// Most targets of one URL whose acceptance the log shows one by one.
const LOGGED_EACH: usize = 16;

/// One message for one target, not yet stored.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Its destination.
    pub route: Destination,
    /// How it is queued.
    pub rules: Rules,
}

/// The targets of one service.
pub(super) struct Bundle {
    pub(super) parcels: Vec<Parcel>,
    /// The URL that names all of them. With it, what they have in common is stored once.
    pub(super) whole: Option<SecretText>,
}

impl Bundle {
    /// Targets that share nothing.
    pub(super) fn of(parcels: Vec<Parcel>) -> Self {
        Self { parcels, whole: None }
    }
}

/// One call of `accept`, as every target of it sees it.
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
    pub async fn accept_parcels(
        &self,
        message: &Message,
        files: &[StoredFile],
        parcels: Vec<Parcel>,
        options: &AcceptOptions,
    ) -> Result<Vec<Accepted>, OutboxError> {
        let accepted = self
            .store_parcels(message, files, vec![Bundle::of(parcels)], options, None)
            .await?;
        Ok(accepted)
    }

    pub(super) async fn store_parcels(
        &self,
        message: &Message,
        files: &[StoredFile],
        bundles: Vec<Bundle>,
        options: &AcceptOptions,
        guard: Option<Guard>,
    ) -> Result<Vec<Accepted>, OutboxError> {
        let count = bundles.iter().map(|bundle| bundle.parcels.len()).sum();
        self.check_sizes(message, files, count)?;
        let inner = &self.0;
        let now = inner.now_ms().await?;
        let bundle = (!files.is_empty()).then(|| OutboxId::random().to_string());
        let call = Call {
            message,
            options,
            bundle: bundle.clone(),
            now,
        };
        let mut drafts = Vec::with_capacity(count);
        let mut shared = Vec::new();
        let mut shown = Vec::with_capacity(count);
        for Bundle { mut parcels, whole } in bundles {
            for parcel in &mut parcels {
                parcel.rules = merged(std::mem::take(&mut parcel.rules), options);
            }
            let sharing = match whole {
                Some(whole) => self.share(&call, &parcels, whole, &mut shared)?,
                None => None,
            };
            for (number, parcel) in (0..).zip(parcels) {
                let id = OutboxId::random();
                shown.push(Shown::of(&parcel.route));
                let mut draft = match &sharing {
                    Some(sharing) => self.slim_draft(&id, &call, parcel, sharing, number),
                    None => self.draft(&id, &call, parcel)?,
                };
                draft.is_alarm = guard.is_some();
                drafts.push(draft);
            }
        }
        let sealed = match &bundle {
            Some(bundle) => super::files::seal(&inner.seal, bundle, files),
            None => Vec::new(),
        };
        let request = AcceptRequest {
            now,
            drafts,
            bundle,
            files: sealed,
            shared,
            guard,
        };
        let result = inner.door.store(request).await?;
        inner.changed();
        Ok(result
            .stored
            .into_iter()
            .zip(shown)
            .map(|(stored, shown)| Accepted {
                id: stored.id.parse().unwrap_or_else(|_| OutboxId::random()),
                service: shown.service,
                url: shown.masked,
                url_id: shown.url_id,
                target: shown.target,
                state: if stored.collecting {
                    State::Collecting
                } else {
                    State::Waiting
                },
                folded: stored.folded,
                missing_files: options.missing_files.clone(),
            })
            .collect())
    }

    fn check_sizes(
        &self,
        message: &Message,
        files: &[StoredFile],
        targets: usize,
    ) -> Result<(), OutboxError> {
        let limits = &self.0.limits;
        if targets as u64 > limits.targets {
            return Err(OutboxError::TooManyTargets {
                targets: targets as u64,
                limit: limits.targets,
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
        parcels: &[Parcel],
        whole: SecretText,
        shared: &mut Vec<SharedRow>,
    ) -> Result<Option<Arc<Sharing>>, OutboxError> {
        let Some(first) = parcels.first() else {
            return Ok(None);
        };
        let (inner, origin) = (&self.0, call.options.origin.as_deref());
        // Rendered once: the number of pieces does not depend on the target.
        let id = OutboxId::random();
        let prepared = prepare(inner.carrier.as_ref(), &first.route, call.message, &id, 0);
        let pieces = prepared.map_err(|(cause, remedy)| OutboxError::Unsendable { cause, remedy })?;
        let sharing = Sharing {
            id: random_number(),
            pieces: count_of(&pieces),
            message: StoredMessage::new(call.message, call.bundle.is_some()),
            partial: without_files(&call.options.missing_files),
            logged_together: parcels.len() > LOGGED_EACH,
        };
        let row = Shared::new(&first.route, whole, first.rules.clone(), sharing.message.clone());
        let label = SharedLabel::new(parcels.iter().map(|parcel| &parcel.route), origin);
        let event = (parcels.len() > LOGGED_EACH).then(|| {
            let text = format!("{} targets of one URL", parcels.len());
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
        Parcel { route, rules }: Parcel,
        sharing: &Arc<Sharing>,
        number: i64,
    ) -> Draft {
        let inner = &self.0;
        let content = |fold| SlimRow {
            seal: Arc::clone(&inner.seal),
            id: id.clone(),
            sharing: Arc::clone(sharing),
            number,
            fold,
        };
        let (plan, fold) = match self.digest(call, &rules) {
            Some(plan) => (plan, Fold::Digest),
            None => (
                Plan::Send {
                    pieces: sharing.pieces,
                },
                Fold::None,
            ),
        };
        let target = Addressed {
            label: Vec::new(),
            share: Some((sharing.id, number)),
            logged_together: sharing.logged_together,
            plan,
            content: Box::new(content(fold)),
        };
        let lane = inner.lane_of(&route);
        let stamp = inner.door.take_stamp(&lane, call.now);
        self.complete(id, call, &route, &rules, (lane, stamp), target)
    }

    fn draft(
        &self,
        id: &OutboxId,
        call: &Call<'_>,
        Parcel { route, rules }: Parcel,
    ) -> Result<Draft, OutboxError> {
        let inner = &self.0;
        let message = call.message;
        let lane = inner.lane_of(&route);
        let stored = StoredMessage::new(message, call.bundle.is_some());
        let stamp = inner.door.take_stamp(&lane, call.now);
        let mut payload = Payload {
            route,
            rules,
            fold: Fold::None,
            messages: vec![stored.clone()],
            partial: without_files(&call.options.missing_files),
            pieces: Vec::new(),
            share: None,
        };
        let prepared = prepare(inner.carrier.as_ref(), &payload.route, message, id, stamp);
        let pieces = prepared.map_err(|(cause, remedy)| OutboxError::Unsendable { cause, remedy })?;
        let plan = if let Some(plan) = self.digest(call, &payload.rules) {
            payload.fold = Fold::Digest;
            plan
        } else {
            let count = count_of(&pieces);
            payload.pieces = pieces;
            Plan::Send { pieces: count }
        };
        // Sealed here, where calls run beside each other, not where they are written one after the other.
        let ready = payload.seal(&inner.seal, id.as_str());
        let (route, rules) = (payload.route.clone(), payload.rules.clone());
        let target = Addressed {
            label: inner.seal_label(id.as_str(), &route, call.options.origin.as_deref()),
            share: None,
            logged_together: false,
            plan,
            content: Box::new(Row {
                seal: Arc::clone(&inner.seal),
                carrier: Arc::clone(&inner.carrier),
                id: id.clone(),
                stamp,
                ready,
                message: stored,
                payload,
            }),
        };
        Ok(self.complete(id, call, &route, &rules, (lane, stamp), target))
    }

    /// Adds to a draft what depends on route and rules alone.
    fn complete(
        &self,
        id: &OutboxId,
        call: &Call<'_>,
        route: &Destination,
        rules: &Rules,
        (lane, stamp): (Vec<u8>, i64),
        target: Addressed,
    ) -> Draft {
        let inner = &self.0;
        if let Plan::Send { pieces } = target.plan {
            inner.door.take_up_to(&lane, stamp + pieces - 1);
        }
        Draft {
            id: id.to_string(),
            label: target.label,
            shares: Shares::of(&inner.seal, route, call.options.origin.as_deref()),
            lane,
            service: route.service.clone(),
            ttl_ms: span_ms(rules.time_to_live()),
            alarm_after_ms: rules.alarm_after.map(span_ms),
            bundle: call.bundle.clone(),
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
    fn digest(&self, call: &Call<'_>, rules: &Rules) -> Option<Plan> {
        let span = rules.digest.filter(|_| call.bundle.is_none())?;
        Some(Plan::Digest {
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
struct Addressed {
    label: Vec<u8>,
    share: Option<(i64, i64)>,
    logged_together: bool,
    plan: Plan,
    content: Box<dyn Content>,
}

impl super::outbox::Inner {
    /// The lane of a target: the same for every URL that leads there with the same account.
    pub(super) fn lane_of(&self, route: &Destination) -> Vec<u8> {
        self.seal.name(&[
            b"lane",
            route.service.as_bytes(),
            route.url_id.as_bytes(),
            route.address.as_bytes(),
        ])
    }
}

/// Fixes the pieces of a message, or says why it can never be sent.
pub(super) fn prepare(
    carrier: &dyn Transport,
    route: &Destination,
    message: &Message,
    id: &OutboxId,
    stamp: i64,
) -> Result<Vec<super::carrier::Wire>, (String, String)> {
    let stamp = MessageId {
        sent_at_ms: u64::try_from(stamp).unwrap_or(0),
        id: id.to_string(),
    };
    match carrier.prepare(route, message, &stamp) {
        Ok(pieces) if pieces.is_empty() => Err((
            "there is nothing to send: title and body are empty".to_owned(),
            "give a body or a title".to_owned(),
        )),
        Ok(pieces) => Ok(pieces),
        Err(Outcome::Deferred { reason, remedy, .. } | Outcome::Refused { reason, remedy }) => {
            Err((reason, remedy))
        }
        Err(Outcome::Delivered { .. } | Outcome::Partial { .. }) => {
            Err(("it cannot be rendered".to_owned(), "report this".to_owned()))
        }
    }
}

/// Number of pieces, as the database counts them.
pub(super) fn count_of(pieces: &[super::carrier::Wire]) -> i64 {
    i64::try_from(pieces.len()).unwrap_or(i64::MAX)
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
struct Shown {
    service: String,
    masked: String,
    url_id: String,
    target: String,
}

impl Shown {
    fn of(route: &Destination) -> Self {
        Self {
            service: route.service.clone(),
            masked: route.masked.clone(),
            url_id: route.url_id.clone(),
            target: route.target.clone(),
        }
    }
}

/// A number that nobody else takes: 63 random bits.
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
