//! The jobs that cross, as they wait in the database.

use serde::{Deserialize, Serialize};

use crate::text;

/// Kind of an entry that crosses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Job {
    /// A message.
    Post(Post),
    /// An edit: a message has a new text.
    Edit {
        /// The message, by its id on its own side.
        target: String,
        /// Its author as shown.
        name: String,
        /// The new text.
        text: String,
        /// The message that it answers: a correction without it would no longer be an answer.
        #[serde(default)]
        answers: Option<Answered>,
    },
    /// A deletion of a message.
    Delete {
        /// The message, by its id on its own side.
        target: String,
    },
    /// A change of the reactions of one side to a message. The reactions are in the table of reactions.
    React {
        /// The message, by its id on the side of those who reacted.
        target: String,
    },
    /// A line of the bridge itself.
    Notice {
        /// The line.
        text: String,
    },
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Post {
    /// Its author as shown.
    pub(crate) name: String,
    /// It says what an edit changed.
    #[serde(default)]
    pub(crate) edited: bool,
    /// The author's address in the room, for answers.
    pub(crate) nick: String,
    /// The text.
    pub(crate) text: String,
    /// The message that it answers: in an XMPP room its id, in a community its time and author.
    pub(crate) answers: Option<Answered>,
    /// Files: addresses in an XMPP room, numbers in a community.
    pub(crate) files: Vec<FileRef>,
    /// Time by which others quote it, milliseconds since 1970, and its author: in communities.
    pub(crate) quote: Option<(u64, String)>,
}

impl Post {
    /// Earlier versions wrote the mark of an edit into the name, in front of the nick. Otherwise both are always equal in
    /// messages of an XMPP room, so a nick that begins with the mark is not taken for it.
    fn upgrade(&mut self) {
        if !self.nick.is_empty() && self.name == text::author(&self.nick, true) {
            self.name.clone_from(&self.nick);
            self.edited = true;
        }
    }
}

/// The message that another one answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answered {
    /// By the id of the XMPP room.
    Xmpp(String),
    /// By time (milliseconds since 1970) and author.
    Session(u64, String),
}

/// A file of a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FileRef {
    /// Its address, in XMPP.
    pub(crate) url: String,
    /// Its number, in a community.
    pub(crate) id: u64,
    pub(crate) name: Option<String>,
    pub(crate) media_type: Option<String>,
    pub(crate) size: Option<u64>,
}

impl Job {
    /// Reads a job as this version or an earlier one stored it.
    pub(crate) fn read(stored: &str) -> Result<Self, serde_json::Error> {
        let mut job = serde_json::from_str(stored)?;
        if let Self::Post(post) = &mut job {
            post.upgrade();
        }
        Ok(job)
    }

    /// The word of its kind, in metrics and listings.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Post(_) => "message",
            Self::Edit { .. } => "edit",
            Self::Delete { .. } => "delete",
            Self::React { .. } => "reaction",
            Self::Notice { .. } => "notice",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: &str, nick: &str) -> String {
        format!(
            r#"{{"kind":"post","name":"{name}","nick":"{nick}","text":"hello","answers":{{"xmpp":"1"}},"files":[],"quote":null}}"#
        )
    }

    #[test]
    fn a_note_about_an_edit_of_an_earlier_version_keeps_its_mark() {
        for (name, nick, expected) in [
            ("\u{270f} alice", "alice", ("alice", true)),
            ("alice", "alice", ("alice", false)),
            // A nick that begins with the mark itself.
            ("\u{270f} bob", "\u{270f} bob", ("\u{270f} bob", false)),
            ("\u{270f} \u{270f} bob", "\u{270f} bob", ("\u{270f} bob", true)),
            // From the community: the name is shown as it is.
            ("\u{270f} dora", "", ("\u{270f} dora", false)),
        ] {
            let Ok(Job::Post(post)) = Job::read(&stored(name, nick)) else {
                panic!("{name}");
            };
            assert_eq!((post.name.as_str(), post.edited), expected, "{name}");
            // The form of this version is read as it is.
            let again = Job::Post(post);
            let text = serde_json::to_string(&again).expect("JSON");
            assert_eq!(Job::read(&text).expect("a job"), again);
        }
    }
}
