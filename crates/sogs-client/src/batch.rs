//! Several calls in one request.

use std::any::Any;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use session_protocol::encoding::{b64, from_b64};

use crate::call::{AuthNeed, Call, CallParts, Payload, SMALL_ANSWER_BYTES, check_whole, not_sogs};
use crate::differences::Difference;
use crate::error::{Cause, SogsError};
use crate::server::Server;
use crate::transport::Answer;

/// Maximum number of calls in one batch. Servers name no limit; clients stay far below it.
pub const MAX_CALLS: usize = 256;
/// Maximum size of the headers of one part of an answer, bytes.
const PART_EXTRA_BYTES: usize = 16 * 1024;

type Decoder = Box<dyn FnOnce(&Answer) -> Result<Box<dyn Any + Send>, SogsError> + Send>;

/// Calls to make at once, each with a [`Ticket`] for its answer.
///
/// Run with [`Batch::run`] they are independent; with [`Batch::run_in_sequence`] the first that fails is the last.
#[derive(Default)]
pub struct Batch {
    parts: Vec<CallParts>,
    decoders: Vec<Decoder>,
}

/// Key for the answer of one call of a batch.
#[derive(Debug)]
pub struct Ticket<T> {
    index: usize,
    answer: PhantomData<fn() -> T>,
}

impl Batch {
    /// Returns an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a call and returns the ticket for its answer.
    pub fn add<T: Send + 'static>(&mut self, call: Call<T>) -> Ticket<T> {
        let decode = call.decode;
        self.parts.push(call.parts);
        self.decoders
            .push(Box::new(move |answer| Ok(Box::new(decode(answer)?))));
        Ticket {
            index: self.parts.len() - 1,
            answer: PhantomData,
        }
    }

    /// Returns the number of calls.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Returns true if the batch has no calls.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Makes the calls in any order (`POST /batch`).
    pub async fn run(self, server: &Server) -> Result<BatchAnswers, SogsError> {
        self.send(server, "/batch").await
    }

    /// Makes the calls one after the other until one fails (`POST /sequence`).
    pub async fn run_in_sequence(self, server: &Server) -> Result<BatchAnswers, SogsError> {
        self.send(server, "/sequence").await
    }

    /// The request itself, before it is signed.
    pub fn to_json(&self) -> Value {
        Value::Array(self.parts.iter().map(element).collect())
    }

    async fn send(self, server: &Server, path: &'static str) -> Result<BatchAnswers, SogsError> {
        let most = self.parts.len();
        if most > MAX_CALLS {
            return Err(SogsError::invalid(format!(
                "a batch has at most {MAX_CALLS} calls"
            )));
        }
        let needs = self.parts.iter().map(|parts| parts.auth);
        let auth = if needs.clone().any(|need| need == AuthNeed::Required) {
            AuthNeed::Required
        } else {
            AuthNeed::Optional
        };
        let bounds = self.parts.iter().map(|parts| parts.answer_bytes);
        // Base64 and the headers of each part.
        let bytes = bounds.fold(SMALL_ANSWER_BYTES, |sum, bytes| {
            sum.saturating_add(bytes.saturating_mul(2))
                .saturating_add(PART_EXTRA_BYTES)
        });
        let decode = move |answer: &Answer| decode_answers(answer, most);
        let mut call: Call<Vec<Part>> = Call::new("POST", path, auth, decode)
            .json(self.to_json())
            .at_most(bytes);
        call.parts.author = self.parts.iter().find_map(|parts| parts.author);
        call.parts.long = self.parts.iter().any(|parts| parts.long);
        let parts = server.run(call).await?;
        if parts.iter().any(|part| part.without_status) {
            server.note(Difference::BatchWithoutStatus);
        }
        self.finish(parts, path == "/batch", server.base_url())
    }

    /// Reads an answer to [`Batch::to_json`] that came by another way; `sequence` tells which of the two calls it was.
    pub fn read(self, body: &[u8], sequence: bool) -> Result<BatchAnswers, SogsError> {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let answer = Answer {
            status: 200,
            headers,
            body: Bytes::copy_from_slice(body),
            truncated: false,
            clock_offset: None,
        };
        let most = self.parts.len();
        self.finish(decode_answers(&answer, most)?, !sequence, "")
    }

    fn finish(self, parts: Vec<Part>, all: bool, host: &str) -> Result<BatchAnswers, SogsError> {
        if all && parts.len() != self.parts.len() {
            return Err(other_number());
        }
        let labels = self
            .parts
            .iter()
            .map(|parts| format!("{} {}", parts.method, parts.path));
        let mut parts = parts.into_iter();
        let results = self
            .decoders
            .into_iter()
            .zip(labels)
            .map(|(decode, label)| {
                let answer = parts.next()?.answer;
                Some(
                    answer
                        .and_then(|answer| decode(&answer))
                        .map_err(|error| error.of_answer().at(host, &label)),
                )
            })
            .collect();
        Ok(BatchAnswers { results })
    }
}

fn element(parts: &CallParts) -> Value {
    let mut element = Map::new();
    element.insert("method".to_owned(), parts.method.into());
    element.insert("path".to_owned(), parts.path.as_str().into());
    if !parts.headers.is_empty() {
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        element.insert("headers".to_owned(), Value::Object(headers.collect()));
    }
    match &parts.payload {
        Payload::None => {}
        Payload::Json(value) => {
            element.insert("json".to_owned(), value.clone());
        }
        Payload::Bytes(bytes) => {
            element.insert("b64".to_owned(), json!(b64(bytes)));
        }
    }
    Value::Object(element)
}

/// The answer to one call of a batch, or the reason why it cannot be read.
struct Part {
    answer: Result<Answer, SogsError>,
    /// The server gave no status for it.
    without_status: bool,
}

#[derive(Deserialize)]
struct Element<'a> {
    #[serde(default)]
    code: Option<u16>,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

fn other_number() -> SogsError {
    SogsError::new(Cause::NotASogs).with_text("the batch has another number of answers")
}

/// Reads the parts of an answer, `most` at most. A part that cannot be read is its own error.
fn decode_answers(answer: &Answer, most: usize) -> Result<Vec<Part>, SogsError> {
    check_whole(answer)?;
    let mut json = serde_json::Deserializer::from_slice(&answer.body);
    let raws = json
        .deserialize_seq(Parts { most })
        .and_then(|raws| json.end().map(|()| raws))
        .map_err(|error| not_sogs(answer, &error.to_string()))?;
    let raws = raws.ok_or_else(other_number)?;
    Ok(raws.into_iter().map(|raw| part(answer, raw)).collect())
}

/// Collects the elements of a list, or nothing if there are more than `most`.
struct Parts {
    most: usize,
}

impl<'de> Visitor<'de> for Parts {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut raws = Vec::new();
        while let Some(raw) = list.next_element::<&RawValue>()? {
            if raws.len() == self.most {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            raws.push(raw);
        }
        Ok(Some(raws))
    }
}

fn part(answer: &Answer, raw: &RawValue) -> Part {
    let failed = |error: SogsError, without_status| Part {
        answer: Err(error),
        without_status,
    };
    let element: Element<'_> = match serde_json::from_str(raw.get()) {
        Ok(element) => element,
        Err(error) => return failed(not_sogs(answer, &error.to_string()), true),
    };
    let without_status = element.code.is_none();
    let raw = element.body.map_or("null", RawValue::get);
    if without_status && raw == "null" {
        let error = SogsError::new(Cause::ServerError).with_text("no status and no body for this call");
        return failed(error, true);
    }
    let headers: Vec<(String, String)> = element
        .headers
        .unwrap_or_default()
        .into_iter()
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.to_ascii_lowercase(), value)
        })
        .collect();
    let is_json = headers
        .iter()
        .any(|(name, value)| name == "content-type" && value.starts_with("application/json"));
    let body = if is_json {
        Bytes::copy_from_slice(raw.as_bytes())
    } else {
        match serde_json::from_str::<Option<String>>(raw) {
            Ok(None) => Bytes::new(),
            Ok(Some(text)) => match from_b64(&text) {
                Some(bytes) => Bytes::from(bytes),
                None => {
                    return failed(
                        not_sogs(answer, "a body of the batch is not base64"),
                        without_status,
                    );
                }
            },
            Err(_) => Bytes::copy_from_slice(raw.as_bytes()),
        }
    };
    Part {
        answer: Ok(Answer {
            status: element.code.unwrap_or(200),
            headers,
            body,
            truncated: false,
            clock_offset: answer.clock_offset,
        }),
        without_status,
    }
}

/// The answers of a batch.
pub struct BatchAnswers {
    results: Vec<Option<Result<Box<dyn Any + Send>, SogsError>>>,
}

impl BatchAnswers {
    /// The answer of one call; each can be taken once. In a sequence, what came behind a failure was never made:
    /// `None`.
    ///
    /// # Panics
    /// When the ticket is of another batch.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket is good for one answer")]
    pub fn take<T: Send + 'static>(&mut self, ticket: Ticket<T>) -> Option<Result<T, SogsError>> {
        let result = self.results.get_mut(ticket.index)?.take()?;
        Some(result.map(|answer| *answer.downcast::<T>().expect("a ticket of this batch")))
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(
                self.parts
                    .iter()
                    .map(|parts| format!("{} {}", parts.method, parts.path)),
            )
            .finish()
    }
}

impl std::fmt::Debug for BatchAnswers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchAnswers({})", self.results.len())
    }
}
