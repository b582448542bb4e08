//! Messages to people that were confirmed a moment before the connection ended.
//!
//! A server that is going down may answer the ping behind a message and drop the message all the same:
//! ejabberd ends the recipient's session before the sender's, and forgets what was on its way between
//! them. A kept session therefore says what was confirmed last once more, under the same id, when it
//! finds the server restarted. By the id it is the same message.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::look::{lived_since, up_for};
use super::{Courier, Job, Key, Question};
use crate::message::{Confirm, Target};
use crate::ns;
use crate::stanza::Part;
use crate::xml::Element;

/// How long before the last word of a server a confirmation is in doubt.
const DOUBTFUL: Duration = Duration::from_secs(2);
/// How many messages are kept at most.
const RECENT_MAX: usize = 2_000;
/// Nobody waits for these messages: their keys are out of the way of all others.
const KEYS_FROM: Key = Key::MAX / 2;

/// What was confirmed last.
#[derive(Default)]
pub(super) struct Recent {
    messages: VecDeque<Said>,
    /// Those before the last break, until it is known what kind of server came back.
    doubtful: Vec<Said>,
    next_key: Key,
}

struct Said {
    at: Instant,
    taken_at: SystemTime,
    target: Target,
    id: String,
    xml: String,
}

impl Recent {
    pub(super) fn note(&mut self, job: &mut Job) {
        self.forget_before(Instant::now());
        if self.messages.len() >= RECENT_MAX {
            self.messages.pop_front();
        }
        self.messages.push_back(Said {
            at: Instant::now(),
            taken_at: job.taken_at.unwrap_or_else(SystemTime::now),
            target: job.target.clone(),
            id: job.id.clone(),
            xml: std::mem::take(&mut job.xml),
        });
    }

    fn forget_before(&mut self, end: Instant) {
        while self.messages.front().is_some_and(|said| said.at + DOUBTFUL < end) {
            self.messages.pop_front();
        }
    }
}

impl Courier {
    /// For a kept session: what was confirmed just before a break is looked after.
    pub(crate) fn keep_recent(&mut self) {
        self.recent = Some(Recent::default());
    }

    /// The connection ended; the last word on it came then.
    pub(crate) fn cut(&mut self, last_word: Instant) {
        if let Some(recent) = &mut self.recent {
            recent.forget_before(last_word);
        }
    }

    /// On a fresh session: is it the same server still?
    pub(super) fn ask_about_recent(&mut self) {
        let Some(recent) = &mut self.recent else { return };
        recent.doubtful.extend(recent.messages.drain(..));
        if !recent.doubtful.is_empty() {
            let domain = self.own.domain().to_owned();
            let query = Element::new("query", ns::LAST);
            self.ask(&domain, query, Question::RecentUptime);
        }
    }

    /// It is, or it is not: then what it may have dropped is said once more.
    pub(super) fn recent_uptime(&mut self, answer: &Element) {
        let up = up_for(answer);
        let Some(recent) = &mut self.recent else { return };
        let mut again = Vec::new();
        for said in std::mem::take(&mut recent.doubtful) {
            // A server that says nothing about it is believed to have lived on: most breaks are the network's.
            if up.is_some() && !lived_since(said.taken_at, up) {
                recent.next_key += 1;
                again.push((KEYS_FROM + recent.next_key, said));
            }
        }
        if again.is_empty() {
            return;
        }
        for (key, said) in again {
            self.add(
                key,
                Part {
                    target: said.target,
                    id: said.id,
                    xml: said.xml,
                    asked: Confirm::Server,
                    notes: Vec::new(),
                    topic: None,
                    repeat_since: None,
                },
            );
        }
        self.seal();
    }
}
