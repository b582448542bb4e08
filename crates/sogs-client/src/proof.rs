//! Proof that an answer is about our own message.

use serde::Deserialize as _;
use serde_json::Value;
use session_protocol::SessionId;
use session_protocol::encoding::from_b64;
use session_protocol::padding::unpad;

use crate::call::{check, is_object, leading_id, not_sogs};
use crate::call_types::Posted;
use crate::error::{Cause, SogsError};
use crate::post::PreparedPost;
use crate::transport::Answer;
use crate::types::{Message, RawRow, Withheld};

/// The message that an answer must show.
pub(crate) struct Expected {
    author: SessionId,
    data: Vec<u8>,
}

impl Expected {
    pub(crate) fn of(post: &PreparedPost) -> Self {
        Self {
            author: post.author,
            data: post.data.clone(),
        }
    }

    /// Reads the answer to a post.
    pub(crate) fn posted(&self, answer: &Answer) -> Result<Posted, SogsError> {
        check(answer)?;
        // An empty answer or a page with another status than 201 comes from a program that is not a community server.
        if answer.status != 201 && !answer.truncated && !is_object(&answer.body) {
            return Err(not_sogs(answer, ""));
        }
        let words: Result<Value, _> = serde_json::from_slice(&answer.body);
        let id = match &words {
            Ok(words) => words["id"].as_u64(),
            // A broken or cut answer may still name the number.
            Err(_) => leading_id(&answer.body),
        };
        let id = id.filter(|id| *id > 0);
        let words = words.unwrap_or_default();
        let withheld = Withheld::of(&words);
        let unproven = |detail: String| {
            Err(SogsError::new(Cause::Unproven { id, detail, withheld }).with_status(answer.status))
        };
        let Some(number) = id else {
            return unproven("has no message number".to_owned());
        };
        if answer.status != 201 {
            return unproven(format!("has status {} instead of 201", answer.status));
        }
        if let Some(lack) = self.lack(&words) {
            return unproven(lack.to_owned());
        }
        let message = RawRow::deserialize(&words)
            .ok()
            .and_then(|raw| Message::try_from(raw).ok());
        Ok(Posted {
            id: number,
            message: message.map(Box::new),
            withheld,
        })
    }

    /// Returns the reason why an answer does not show this message; `None` if it does.
    fn lack(&self, words: &Value) -> Option<&'static str> {
        let Some(data) = words["data"].as_str() else {
            return Some("does not show the message");
        };
        if from_b64(data).is_none_or(|data| unpad(&data) != unpad(&self.data)) {
            return Some("shows another message");
        }
        let Some(author) = words["session_id"].as_str() else {
            return Some("does not name the author");
        };
        (author.parse() != Ok(self.author)).then_some("names another author")
    }
}
