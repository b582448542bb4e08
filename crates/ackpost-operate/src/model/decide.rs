//! The decision: is a message a gesture that is to be acted on?

use std::time::Duration;

use super::gesture::{Command, Form, Gesture, GestureError, Reacted, of_reactions, parse};
use super::people::{AllowList, Person};

/// Age from which a gesture that comes from a history is not acted on any more.
pub const OLDEST: Duration = Duration::from_secs(120);

/// A message or a reaction, as the network shows it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact about the message")]
pub struct Heard<'a> {
    /// Its author, as the network proves it.
    pub person: Person,
    /// Its text or its reactions.
    pub content: Said<'a>,
    /// Our own account wrote it.
    pub own: bool,
    /// It replaces an earlier message.
    pub edited: bool,
    /// It was sent privately through a room, or whispered.
    pub private: bool,
    /// Its signature was checked and is good, where messages are signed.
    pub verified: bool,
    /// A program carried it from another network.
    pub carried: bool,
    /// Its age, if it comes from a history; `None` for a live message.
    pub age: Option<Duration>,
}

/// The content of a message or a reaction.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Said<'a> {
    /// A text.
    Text {
        /// The text, without the part that quotes another message.
        body: &'a str,
        /// Its reference to an alert.
        form: Form,
    },
    /// All reactions that the person has on the message of an alert now.
    Reactions {
        /// The emoji.
        now: &'a [String],
        /// The acts of the person by earlier reactions.
        before: Reacted,
    },
}

/// Reason why nothing is done and nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// It is not a gesture.
    NoGesture,
    /// We wrote it.
    Own,
    /// It replaces an earlier message.
    Edited,
    /// It was sent privately.
    Private,
    /// Its signature is missing or wrong.
    Unverified,
    /// A program carried it from another network.
    Carried,
    /// It comes from a history and is too old.
    Old,
}

/// The decision about a message or a reaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Do nothing and say nothing.
    Ignore(Ignored),
    /// Do nothing; tell the person privately that it is not allowed.
    Refuse(Command),
    /// Do nothing; tell the person what is wrong with it.
    Correct(GestureError),
    /// Carry out the gesture.
    Act(Command),
}

/// Decides about a message or a reaction.
pub fn decide(heard: &Heard<'_>, allowed: &AllowList) -> Verdict {
    let old = heard.age.is_some_and(|age| age > OLDEST);
    for (is_so, why) in [
        (heard.own, Ignored::Own),
        (heard.edited, Ignored::Edited),
        (heard.private, Ignored::Private),
        (!heard.verified, Ignored::Unverified),
        (heard.carried, Ignored::Carried),
        (old, Ignored::Old),
    ] {
        if is_so {
            return Verdict::Ignore(why);
        }
    }
    let read = match heard.content {
        Said::Text { body, form } => parse(body, form),
        Said::Reactions { now, before } => of_reactions(now, before).map(|gesture: Gesture| {
            Ok(Command {
                gesture,
                number: None,
            })
        }),
    };
    match read {
        None => Verdict::Ignore(Ignored::NoGesture),
        Some(Ok(command)) if allowed.permits(&heard.person) => Verdict::Act(command),
        Some(Ok(command)) => Verdict::Refuse(command),
        // Strangers learn nothing about how a gesture is written.
        Some(Err(_)) if !allowed.permits(&heard.person) => Verdict::Ignore(Ignored::NoGesture),
        Some(Err(error)) => Verdict::Correct(error),
    }
}
