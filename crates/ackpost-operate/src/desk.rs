//! The desk: takes what people say about alerts, decides, calls the alerting program, and writes everything down.

mod counts;
mod ending;
mod perform;
mod record;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use ackpost_outbox::{ActResult, Linked, Outbox, OutboxError, TargetKey};
use jiff::Timestamp;
use session_protocol::SessionId;
use tokio::sync::mpsc;

pub use counts::Count;
use counts::Counts;
use perform::{Done, Failed, Found};
use record::{Record, Standing};

use crate::calls::Alerting;
use crate::model::alert::Alert;
use crate::model::decide::{Heard, Said, Verdict, decide};
use crate::model::gesture::{ACKNOWLEDGE, Command, Form, Gesture, Reacted, SILENCE, parse};
use crate::model::people::{AllowList, Person};
use crate::model::words;
use crate::settings::Settings;

/// Maximum number of lines of the log that are read about one alert.
const LINES: usize = 100;
/// Maximum number of alerts that `!status` lists.
const LISTED: usize = 5;
/// Alerts among which a number is looked up.
const NUMBERED: usize = 500;
/// Pause between two private lines to a person who may not answer alerts.
const REFUSAL_PAUSE: Duration = Duration::from_secs(600);
/// Maximum number of people who are told within that time. Names cost nothing, so that anybody could fill the log with them.
const REFUSALS: usize = 200;
/// Pauses between looks for the alert that an answer is about, from the first one to twice the last one.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_millis(800);
/// The desk. Clones share it.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    outbox: Outbox,
    sources: Vec<Alerting>,
    settings: Settings,
    counts: Counts,
    /// One act about an alert at a time.
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    /// Conversations that lines can be said in, by name.
    voices: Mutex<HashMap<String, mpsc::Sender<String>>>,
    refusals: Mutex<HashMap<String, Instant>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("sources", &self.0.sources)
            .finish_non_exhaustive()
    }
}

/// A message or a reaction in a conversation that carries alerts.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact about the message")]
pub(crate) struct Incoming {
    /// Its author, as the network proves it.
    pub(crate) person: Person,
    /// The name that everybody in the conversation sees.
    pub(crate) shown: String,
    /// The conversation, as the outbox names it; one for each URL that leads there.
    pub(crate) places: Vec<TargetKey>,
    /// The conversation, as the log names it.
    pub(crate) at: String,
    /// Its content.
    pub(crate) words: Words,
    /// Id of the message that it is about.
    pub(crate) about: Option<String>,
    /// Id of the gesture, as unique as the network makes it.
    pub(crate) id: String,
    pub(crate) own: bool,
    pub(crate) edited: bool,
    pub(crate) private: bool,
    pub(crate) verified: bool,
    pub(crate) carried: bool,
    /// Its age, if it comes from a history.
    pub(crate) age: Option<Duration>,
}

/// Content of [`Incoming`].
#[derive(Clone, Debug)]
pub(crate) enum Words {
    /// A text in a room, or in a conversation of two.
    Text { body: String, direct: bool },
    /// All reactions of the person on a message now, and before if that is known.
    Reactions {
        now: Vec<String>,
        before: Option<Vec<String>>,
    },
}

impl Words {
    /// False for reactions that mean nothing here.
    fn may_be_gesture(&self) -> bool {
        match self {
            Self::Text { .. } => true,
            Self::Reactions { now, .. } => has(now, ACKNOWLEDGE) || has(now, SILENCE),
        }
    }
}

/// True if the emoji is among them, with or without a variation selector.
fn has(all: &[String], emoji: &str) -> bool {
    all.iter().any(|one| one.trim_end_matches('\u{fe0f}') == emoji)
}

/// The answer that is given in return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    /// To the person alone.
    Privately(String),
    /// To everybody in the conversation.
    Openly {
        text: String,
        state: Option<StateLine>,
    },
}

/// The message of the alert with a line about its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateLine {
    /// Id of the message, as it was confirmed.
    pub(crate) message: String,
    /// Its whole new text.
    pub(crate) text: String,
}

impl Desk {
    /// A desk for these alerting programs. Silences that were made before a restart are watched on.
    ///
    /// # Errors
    /// If the log of acts cannot be read.
    pub async fn open(
        outbox: Outbox,
        sources: Vec<Alerting>,
        settings: Settings,
    ) -> Result<Self, OutboxError> {
        let desk = Self(Arc::new(Inner {
            outbox,
            sources,
            settings,
            counts: Counts::default(),
            turns: Mutex::default(),
            voices: Mutex::default(),
            refusals: Mutex::default(),
        }));
        desk.resume().await?;
        Ok(desk)
    }

    /// Keys of the gateway whose alerts can be answered.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0
            .sources
            .iter()
            .flat_map(|alerting| &alerting.source().keys)
            .map(String::as_str)
    }

    /// Acts since the start, by kind and result.
    pub fn counts(&self) -> Vec<Count> {
        self.0.counts.all()
    }

    /// All lists of people who may answer alerts.
    fn lists(&self) -> impl Iterator<Item = &AllowList> {
        let own = self
            .0
            .sources
            .iter()
            .filter_map(|one| one.source().allow.as_ref());
        std::iter::once(&self.0.settings.allow).chain(own)
    }

    /// Returns true if a person may answer alerts of some source.
    pub(crate) fn permits(&self, person: &Person) -> bool {
        self.lists().any(|list| list.permits(person))
    }

    /// The Session accounts (`05…`) that the lists name.
    pub(crate) fn accounts(&self) -> Vec<SessionId> {
        self.lists().flat_map(AllowList::accounts).collect()
    }

    /// The list that counts for an alert.
    fn list_for(&self, found: &Found) -> &AllowList {
        let alerting = self.alerting(&found.alert).ok();
        let own = alerting.and_then(|alerting| alerting.source().allow.as_ref());
        own.unwrap_or(&self.0.settings.allow)
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Lines for this conversation go to this channel from now on, with its name on a first line.
    pub(crate) fn listen(&self, at: &str, voice: mpsc::Sender<String>) {
        let mut voices = self.0.voices.lock().unwrap_or_else(PoisonError::into_inner);
        voices.insert(at.to_owned(), voice);
    }

    /// Takes a message or a reaction.
    pub(crate) async fn hear(&self, incoming: &Incoming) -> Answer {
        match self.try_hear(incoming).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(%error, remedy = %error.remedy(), "an answer to an alert was not acted on");
                if self.permits(&incoming.person) {
                    let cause = "the outbox cannot be used, so nothing was done";
                    return say(words::failed(
                        cause,
                        "ask the operator to look into the log of the gateway",
                    ));
                }
                Answer::Nothing
            }
        }
    }

    async fn try_hear(&self, incoming: &Incoming) -> Result<Answer, OutboxError> {
        let form = match (&incoming.about, &incoming.words) {
            (Some(_), _) => Form::Reply,
            (None, Words::Text { direct: true, .. }) => Form::Direct,
            (None, _) => Form::Room,
        };
        let mut number = None;
        let mut status = false;
        if let Words::Text { body, .. } = &incoming.words {
            match parse(body, form) {
                // Nearly every message of a conversation.
                None => return Ok(Answer::Nothing),
                Some(Ok(command)) => {
                    status = command.gesture == Gesture::Status;
                    number = command.number;
                }
                Some(Err(_)) => {}
            }
        }
        let found = self.look_for(incoming, number.as_deref(), form).await?;
        if found.is_none() && incoming.about.is_some() {
            // The answered message is not an alert.
            return Ok(Answer::Nothing);
        }
        let acts = match &found {
            Some(found) => self.0.outbox.acts_about(&found.subject, LINES).await?,
            None => Vec::new(),
        };
        let content = match &incoming.words {
            Words::Text { body, .. } => Said::Text { body, form },
            Words::Reactions { now, before } => Said::Reactions {
                now,
                before: match &found {
                    Some(found) => reacted(incoming, found, &acts, now, before.as_deref()),
                    None => return Ok(Answer::Nothing),
                },
            },
        };
        let heard = Heard {
            person: incoming.person.clone(),
            content,
            own: incoming.own,
            edited: incoming.edited,
            private: incoming.private,
            verified: incoming.verified,
            carried: incoming.carried,
            age: incoming.age,
        };
        // Without an alert, only the list of alerts can be asked for.
        let nobody = AllowList::default();
        let list = match &found {
            Some(found) => self.list_for(found),
            None => self
                .lists()
                .find(|list| list.permits(&incoming.person))
                .unwrap_or(&nobody),
        };
        match decide(&heard, list) {
            Verdict::Ignore(why) => {
                tracing::debug!(at = incoming.at, ?why, "a message about alerts was ignored");
                Ok(Answer::Nothing)
            }
            Verdict::Correct(error) => Ok(say(words::failed(&error.to_string(), error.remedy()))),
            Verdict::Refuse(command) => self.refuse(incoming, &command, found.as_ref()).await,
            Verdict::Act(command) => match found {
                Some(found) => self.act_to_the_end(incoming, command.gesture, found).await,
                None if status && number.is_none() => self.list(incoming).await,
                None => Ok(no_alert(number.as_deref())),
            },
        }
    }

    /// The alert that a message is about. A person who may answer alerts waits a moment for it: a fast answer may come before it
    /// is written down that the alert arrived.
    async fn look_for(
        &self,
        incoming: &Incoming,
        number: Option<&str>,
        form: Form,
    ) -> Result<Option<Found>, OutboxError> {
        if !self.permits(&incoming.person) {
            // For a stranger, only the message that the answer names is looked for.
            return match incoming.about {
                Some(_) => self.find(incoming, number, form).await,
                None => Ok(None),
            };
        }
        let is_near = incoming.about.is_some() || form == Form::Direct;
        let mut pause = FIRST_LOOK;
        loop {
            let found = self.find(incoming, number, form).await?;
            if found.is_some() || !is_near || pause >= LAST_LOOK || !incoming.words.may_be_gesture() {
                return Ok(found);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// The alert that a message is about.
    async fn find(
        &self,
        incoming: &Incoming,
        number: Option<&str>,
        form: Form,
    ) -> Result<Option<Found>, OutboxError> {
        let outbox = &self.0.outbox;
        let mut linked = None;
        for place in &incoming.places {
            let here = match (&incoming.about, number) {
                (Some(about), _) => outbox.context_of(place, about).await?,
                (None, Some(number)) => {
                    let mut here = outbox.context_of(place, number).await?;
                    if here.is_none() {
                        let all = outbox.latest_contexts(place, NUMBERED).await?;
                        here = all.into_iter().find(|one| code(one.context) == number);
                    }
                    here
                }
                (None, None) if form == Form::Direct => {
                    outbox.latest_contexts(place, 1).await?.into_iter().next()
                }
                (None, None) => None,
            };
            linked = match (linked, here) {
                (Some(known), Some(here)) => Some(newer(known, here)),
                (known, here) => known.or(here),
            };
        }
        let Some(linked) = linked else {
            return Ok(None);
        };
        // A context of another kind is none of ours.
        let Ok(alert) = serde_json::from_str::<Alert>(linked.text.reveal()) else {
            return Ok(None);
        };
        let subject = alert.subject();
        Ok(Some(Found {
            linked,
            alert,
            subject,
        }))
    }

    /// Tells a person once in a while that it may not answer alerts, and writes that down.
    async fn refuse(
        &self,
        incoming: &Incoming,
        command: &Command,
        found: Option<&Found>,
    ) -> Result<Answer, OutboxError> {
        let kind = command.gesture.kind();
        self.0.counts.add(kind, ActResult::Refused);
        let who = incoming.person.id().unwrap_or_else(|| incoming.shown.clone());
        {
            let mut refusals = self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            let key = format!("{} {who}", incoming.at);
            let now = Instant::now();
            if refusals
                .get(&key)
                .is_some_and(|last| now.duration_since(*last) < REFUSAL_PAUSE)
            {
                return Ok(Answer::Nothing);
            }
            if refusals.len() >= REFUSALS {
                refusals.retain(|_, last| now.duration_since(*last) < REFUSAL_PAUSE);
            }
            if refusals.len() >= REFUSALS {
                return Ok(Answer::Nothing);
            }
            refusals.insert(key, now);
        }
        let record = Record::of(
            incoming,
            who,
            found.map(|found| (&found.alert, found.linked.message.as_str())),
        );
        let gesture = gesture_key(incoming);
        // Under no subject: strangers must not push the acts about an alert out of what is read of its log.
        let act = record.act(&gesture, "", kind, ActResult::Refused);
        if self.0.outbox.begin_act(&act).await? {
            Ok(Answer::Privately(words::refused()))
        } else {
            Ok(Answer::Nothing)
        }
    }

    /// Acts on a gesture in a task of its own: a listener may stop in the middle, for a changed configuration, and a silence that was
    /// made must be written down and watched.
    async fn act_to_the_end(
        &self,
        incoming: &Incoming,
        gesture: Gesture,
        found: Found,
    ) -> Result<Answer, OutboxError> {
        let (desk, incoming) = (self.clone(), incoming.clone());
        let acting = tokio::spawn(async move { desk.act(&incoming, gesture, found).await });
        match acting.await {
            Ok(answer) => answer,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The program ends.
                Err(_) => Ok(Answer::Nothing),
            },
        }
    }

    /// Acts on a gesture of a person who may do it.
    async fn act(&self, incoming: &Incoming, gesture: Gesture, found: Found) -> Result<Answer, OutboxError> {
        let Some(who) = incoming.person.id() else {
            return Ok(Answer::Nothing);
        };
        let kind = gesture.kind();
        let key = gesture_key(incoming);
        let turn = self.turn(&found.subject);
        let _turn = turn.lock().await;
        let record = Record::of(incoming, who, Some((&found.alert, found.linked.message.as_str())));
        if gesture != Gesture::Status {
            let begun = record.act(&key, &found.subject, kind, ActResult::Begun);
            if !self.0.outbox.begin_act(&begun).await? {
                return Ok(Answer::Nothing);
            }
        }
        let done = match self.perform(&gesture, &found, record.clone()).await {
            Ok(done) => done,
            Err(Failed(answer)) => Done {
                result: ActResult::Failed,
                answer,
                state: None,
                record,
            },
        };
        self.0.counts.add(kind, done.result);
        if gesture != Gesture::Status {
            let record = done.record.clone().answered(&done.answer);
            let end = record.act(&key, &found.subject, kind, done.result);
            // The act is done and cannot be taken back: a failure of the log is told, and the answer still goes out.
            if let Err(error) = self.0.outbox.end_act(&end).await {
                tracing::error!(%error, "the result of an act cannot be written down");
            }
            if done.result == ActResult::Done {
                self.watch_end(&found.subject, &record);
            }
        }
        let state = done
            .state
            .filter(|_| self.0.settings.edit && found.linked.pieces == 1);
        Ok(Answer::Openly {
            text: done.answer,
            state: state.map(|state| StateLine {
                text: words::with_state(&found.alert.text, &state),
                message: found.linked.message,
            }),
        })
    }

    fn turn(&self, subject: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(subject).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        turns.insert(subject.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// Lists the latest alerts of a conversation with their numbers.
    async fn list(&self, incoming: &Incoming) -> Result<Answer, OutboxError> {
        let mut latest: Vec<Linked> = Vec::new();
        for place in &incoming.places {
            latest.extend(self.0.outbox.latest_contexts(place, NUMBERED).await?);
        }
        latest.sort_by_key(|linked| std::cmp::Reverse(linked.at));
        let mut subjects = Vec::new();
        let mut lines = Vec::new();
        for linked in latest {
            let Ok(alert) = serde_json::from_str::<Alert>(linked.text.reveal()) else {
                continue;
            };
            let subject = alert.subject();
            if subjects.contains(&subject) {
                continue;
            }
            subjects.push(subject);
            lines.push(words::listed(&alert, &code(linked.context)));
            if lines.len() == LISTED {
                break;
            }
        }
        self.0.counts.add("status", ActResult::Done);
        if lines.is_empty() {
            lines.push("no alert of the last week".to_owned());
        }
        Ok(say(lines.join("\n")))
    }
}

fn say(text: String) -> Answer {
    Answer::Openly { text, state: None }
}

/// The answer to a gesture that is about no alert.
fn no_alert(number: Option<&str>) -> Answer {
    let cause = match number {
        Some(_) => "no alert of the last week has this number here",
        None => "no alert was sent here in the last week",
    };
    say(words::failed(
        cause,
        "answer the message of the alert, or see !status",
    ))
}

fn newer(one: Linked, other: Linked) -> Linked {
    if other.at > one.at { other } else { one }
}

/// The number of an alert for people: five digits and letters.
fn code(context: i64) -> String {
    format!("{:05x}", context & 0xf_ffff)
}

fn gesture_key(incoming: &Incoming) -> String {
    let who = incoming.person.id().unwrap_or_default();
    format!("{}\n{who}\n{}", incoming.at, incoming.id)
}

/// Returns the acts of the person by earlier reactions on this message.
fn reacted(
    incoming: &Incoming,
    found: &Found,
    acts: &[ackpost_outbox::Act],
    now: &[String],
    before: Option<&[String]>,
) -> Reacted {
    if let Some(before) = before {
        return Reacted::new(has(before, ACKNOWLEDGE), has(before, SILENCE));
    }
    // After a restart, only the log is known. An act that a person already did by a reaction is not repeated.
    let Some(who) = incoming.person.id() else {
        return Reacted::default();
    };
    let mine = |kind: &str| {
        acts.iter()
            .any(|act| act.kind == kind && record::is_reaction_of(act, &who, &found.linked.message))
    };
    let silenced = if has(now, SILENCE) {
        mine("silence")
    } else {
        let standing = Standing::of(acts, Timestamp::now());
        standing.is_some_and(|standing| standing.by_reaction && standing.who == who)
    };
    Reacted::new(mine("ack"), silenced)
}
