//! One call as a value: the request and the decoder of its answer. Run it with [`crate::Server::run`], or put several
//! into a [`crate::Batch`].

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use session_protocol::SessionId;
use session_protocol::auth::BLINDING_REQUIRED;

use crate::error::{Ban, Cause, SogsError};
use crate::transport::http::Progress;
use crate::transport::{Answer, plain_text, retry_after};

/// The body of a request.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    None,
    Json(Value),
    Bytes(Bytes),
}

/// All parts of a request except the signature.
#[derive(Clone)]
pub(crate) struct CallParts {
    pub(crate) method: &'static str,
    /// Decoded path, and the raw query if there is one.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Payload,
    pub(crate) auth: AuthNeed,
    /// The id that signed the content inside; the request must be signed as the same.
    pub(crate) author: Option<SessionId>,
    pub(crate) upload: Option<Progress>,
    pub(crate) download: Option<Progress>,
    /// Longest answer this call can have, bytes; the limit of the connection holds too.
    pub(crate) answer_bytes: usize,
    /// The call moves a file or a large message, and may take as long as one exchange may.
    pub(crate) long: bool,
}

/// Longest answer that is one small object, bytes.
pub(crate) const SMALL_ANSWER_BYTES: usize = 64 * 1024;
/// Longest answer that describes one room, bytes: tens of thousands of moderators.
pub(crate) const ROOM_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Longest answer that lists rooms or people, bytes.
pub(crate) const LIST_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// A message from this length on may take longer than other calls, bytes.
const LONG_MESSAGE_BYTES: usize = 128 * 1024;

/// Rule for signing a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthNeed {
    /// Never signed.
    Anonymous,
    /// Signed if there is an identity.
    Optional,
    /// Always signed; fails without an identity.
    Required,
}

type Decode<T> = Box<dyn FnOnce(&Answer) -> Result<T, SogsError> + Send>;

/// A request with a typed answer.
pub struct Call<T> {
    pub(crate) parts: CallParts,
    pub(crate) decode: Decode<T>,
}

impl<T> std::fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({} {})", self.parts.method, self.parts.path)
    }
}

impl<T: 'static> Call<T> {
    pub(crate) fn new(
        method: &'static str,
        path: impl Into<String>,
        auth: AuthNeed,
        decode: impl FnOnce(&Answer) -> Result<T, SogsError> + Send + 'static,
    ) -> Self {
        Self {
            parts: CallParts {
                method,
                path: path.into(),
                headers: Vec::new(),
                payload: Payload::None,
                auth,
                author: None,
                upload: None,
                download: None,
                answer_bytes: usize::MAX,
                long: false,
            },
            decode: Box::new(decode),
        }
    }

    pub(crate) fn json(mut self, body: Value) -> Self {
        self.parts.payload = Payload::Json(body);
        self
    }

    pub(crate) fn bytes(mut self, body: Bytes) -> Self {
        self.parts.payload = Payload::Bytes(body);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: String) -> Self {
        self.parts.headers.push((name.to_owned(), value));
        self
    }

    /// Reads no more than this of the answer.
    pub(crate) fn at_most(mut self, bytes: usize) -> Self {
        self.parts.answer_bytes = bytes;
        self
    }

    /// Allows the time of a whole exchange for it.
    pub(crate) fn long(mut self) -> Self {
        self.parts.long = true;
        self
    }

    /// The call sends a message of this length: its answer repeats it, and a large one takes longer.
    pub(crate) fn message_of(mut self, bytes: usize) -> Self {
        self.parts.long = bytes >= LONG_MESSAGE_BYTES;
        // Base64, escaped, and the rest of the message.
        self.at_most(bytes.saturating_mul(4).saturating_add(SMALL_ANSWER_BYTES))
    }

    pub(crate) fn author(mut self, author: SessionId) -> Self {
        self.parts.author = Some(author);
        self
    }

    /// Returns the HTTP method.
    pub fn method(&self) -> &'static str {
        self.parts.method
    }

    /// Decoded path, and the raw query if there is one.
    pub fn path(&self) -> &str {
        &self.parts.path
    }

    /// The JSON body, if the call has one.
    pub fn json_body(&self) -> Option<&Value> {
        match &self.parts.payload {
            Payload::Json(value) => Some(value),
            _ => None,
        }
    }

    /// Headers the call needs besides content type and signature; names in lower case.
    pub fn headers(&self) -> &[(String, String)] {
        &self.parts.headers
    }

    /// Reads an answer that came by another way than [`crate::Server::run`]: from a recording, say.
    pub fn read(self, status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Result<T, SogsError> {
        let headers = headers
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        (self.decode)(&Answer {
            status,
            headers,
            body: body.into(),
            truncated: false,
            clock_offset: None,
        })
    }

    /// Changes the answer's type.
    pub fn map<U: 'static>(self, f: impl FnOnce(T) -> U + Send + 'static) -> Call<U> {
        let decode = self.decode;
        Call {
            parts: self.parts,
            decode: Box::new(move |answer| decode(answer).map(f)),
        }
    }
}

impl<T: DeserializeOwned + 'static> Call<T> {
    /// A call whose 2xx answer is one small JSON object.
    pub(crate) fn for_json(method: &'static str, path: impl Into<String>, auth: AuthNeed) -> Self {
        Self::new(method, path, auth, decode_json).at_most(SMALL_ANSWER_BYTES)
    }
}

impl CallParts {
    /// The body's bytes and the content type they need.
    pub(crate) fn body(&self) -> (Option<Bytes>, Option<&'static str>) {
        match &self.payload {
            Payload::None => (None, None),
            Payload::Json(value) => (Some(Bytes::from(value.to_string())), Some("application/json")),
            Payload::Bytes(bytes) => (Some(bytes.clone()), Some("application/octet-stream")),
        }
    }
}

/// Turns anything but 2xx into an error of its cause.
pub(crate) fn check(answer: &Answer) -> Result<(), SogsError> {
    let status = answer.status;
    if (200..300).contains(&status) {
        return Ok(());
    }
    let text = plain_text(answer);
    let cause = match status {
        400 if text.trim() == BLINDING_REQUIRED => Cause::BlindingRequired,
        400 | 422 => Cause::BadRequest,
        401 if text.contains("verification failed") => Cause::WrongServerKey,
        401 => Cause::AuthenticationRequired,
        403 if text.trim() == "Banned" => Cause::Banned,
        403 => Cause::Forbidden,
        404 => Cause::NotFound,
        406 => Cause::NotAcceptable,
        409 => Cause::AlreadyDecided,
        412 => Cause::MissingCapabilities,
        413 => Cause::TooLarge,
        425 if text.to_ascii_lowercase().contains("nonce") => Cause::NonceReused,
        425 => Cause::ClockSkew {
            offset_secs: answer.clock_offset,
        },
        429 if retry_after(answer).is_none() && !is_rate_text(&text) => Cause::Rejected,
        429 => Cause::RateLimited,
        500..=599 => Cause::ServerError,
        // 405 and the like: no community server answers its own paths so.
        405 | 410 | 415 => Cause::NotASogs,
        _ => Cause::UnexpectedStatus,
    };
    let wait = match cause {
        Cause::RateLimited | Cause::ServerError => retry_after(answer),
        _ => None,
    };
    Err(SogsError::new(cause)
        .with_status(status)
        .with_text(&text)
        .with_ban(ban(answer))
        .with_retry_after(wait))
}

/// The ban that an answer names.
fn ban(answer: &Answer) -> Option<Ban> {
    let from_room = match answer.header("x-sogs-banned")? {
        "room" => true,
        "server" => false,
        _ => return None,
    };
    let until = answer
        .header("x-sogs-banned-until")
        .and_then(|until| until.parse().ok());
    Some(Ban::new(from_room, until))
}

/// Returns true if the text of a 429 without `Retry-After` mentions a rate limit.
///
/// Servers answer 429 for a rate limit and for a filter. The text of a filter is the operator's own, so anything that
/// is neither the reference's rate text nor a proxy's page is a refusal by a filter.
fn is_rate_text(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    // An empty JSON object says nothing.
    let text = if text == "{}" { String::new() } else { text };
    text.is_empty()
        || text.starts_with('<')
        || ["rate limit", "too many", "try again later"]
            .iter()
            .any(|phrase| text.contains(phrase))
}

/// Checks that the status is 2xx and that the answer is there whole.
pub(crate) fn check_whole(answer: &Answer) -> Result<(), SogsError> {
    check(answer)?;
    if answer.truncated {
        return Err(SogsError::new(Cause::AnswerTooLong {
            limit: answer.body.len(),
        })
        .with_status(answer.status));
    }
    Ok(())
}

/// Checks the status and reads the JSON.
pub(crate) fn decode_json<T: DeserializeOwned>(answer: &Answer) -> Result<T, SogsError> {
    check_whole(answer)?;
    serde_json::from_slice(&answer.body).map_err(|error| not_sogs(answer, &error.to_string()))
}

/// Returns true if the bytes are a JSON object.
pub(crate) fn is_object(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<String, Value>>(body).is_ok()
}

pub(crate) fn not_sogs(answer: &Answer, detail: &str) -> SogsError {
    SogsError::new(Cause::NotASogs)
        .with_status(answer.status)
        .with_text(detail)
}

/// The `id` at the top level of a JSON object of which we may have the beginning only.
pub(crate) fn leading_id(json: &[u8]) -> Option<u64> {
    let (mut depth, mut at) = (0usize, 0usize);
    while let Some(&byte) = json.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => {
                let end = string_end(json, at)?;
                if depth == 1 && &json[at..=end] == b"\"id\"" {
                    let rest = json
                        .get(end + 1..)?
                        .trim_ascii_start()
                        .strip_prefix(b":")?
                        .trim_ascii_start();
                    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                    // The number must be whole: something that ends it has to follow.
                    rest.get(digits)
                        .filter(|byte| !matches!(byte, b'.' | b'e' | b'E'))?;
                    return std::str::from_utf8(&rest[..digits]).ok()?.parse().ok();
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Index of the quote that ends the string beginning at `start`.
fn string_end(json: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_in_the_beginning_of_an_answer() {
        assert_eq!(
            leading_id(br#"{"data":"a\"id\":3","reactions":{"id":4},"id": 17, "x"#),
            Some(17)
        );
        assert_eq!(leading_id(br#"{"id":17,"data":"AAAA"#), Some(17));
        assert_eq!(leading_id(br#"{"id":17"#), None, "the number may go on");
        assert_eq!(leading_id(br#"{"id":17.5,"x""#), None);
        assert_eq!(leading_id(br#"[{"id":17}]"#), None);
        assert_eq!(leading_id(b"}}}"), None);
    }

    fn answer(status: u16, text: &str) -> Answer {
        Answer {
            status,
            headers: vec![],
            body: Bytes::copy_from_slice(text.as_bytes()),
            truncated: false,
            clock_offset: Some(-90_000),
        }
    }

    #[test]
    fn every_refusal_has_its_own_cause() {
        let cause = |status, text| check(&answer(status, text)).unwrap_err().into_cause();
        assert_eq!(cause(400, BLINDING_REQUIRED), Cause::BlindingRequired);
        assert_eq!(cause(400, "x"), Cause::BadRequest);
        assert_eq!(
            cause(
                401,
                "Invalid authentication: X-SOGS-Signature verification failed"
            ),
            Cause::WrongServerKey
        );
        assert_eq!(
            cause(401, "X-SOGS-* request authentication required"),
            Cause::AuthenticationRequired
        );
        assert_eq!(cause(403, "Banned"), Cause::Banned);
        assert_eq!(cause(403, "Permission denied"), Cause::Forbidden);
        assert_eq!(cause(404, ""), Cause::NotFound);
        assert_eq!(cause(409, "decided already"), Cause::AlreadyDecided);
        assert_eq!(
            cause(425, "X-SOGS-Timestamp is too far"),
            Cause::ClockSkew {
                offset_secs: Some(-90_000)
            }
        );
        assert_eq!(cause(425, "X-SOGS-Nonce cannot be reused"), Cause::NonceReused);
        assert_eq!(cause(429, "Rate limited"), Cause::RateLimited);
        for words in [
            "filtration rejected message",
            "No such words",
            "Celebrate elsewhere",
        ] {
            assert_eq!(cause(429, words), Cause::Rejected, "{words}");
        }
        for words in ["", "{}", "Too Many Requests", "<html>429</html>"] {
            assert_eq!(cause(429, words), Cause::RateLimited, "{words}");
        }
        let rejected = check(&answer(429, "No such words")).unwrap_err();
        assert!(rejected.is_permanent() && rejected.to_string().contains("No such words"));
        assert_eq!(cause(502, "<html>"), Cause::ServerError);
        let limited = check(&answer(429, "")).unwrap_err();
        assert_eq!(
            (limited.is_permanent(), limited.retry_after()),
            (false, Some(crate::error::RATE_LIMIT_WINDOW))
        );
        assert!(check(&answer(403, "")).unwrap_err().is_permanent());
    }
}
