//! Several calls in one request.

use std::any::Any;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use session_core::encoding::{b64, from_b64};

use crate::call::{AuthNeed, Call, CallParts, Payload, decode_json, not_sogs};
use crate::error::{Cause, SogsError};
use crate::server::Server;
use crate::transport::Answer;

/// Most calls in one batch; servers do not say, clients stay far below.
pub const MAX_CALLS: usize = 256;

type Decoder = Box<dyn FnOnce(&Answer) -> Result<Box<dyn Any + Send>, SogsError> + Send>;

/// Calls to make at once, each with a [`Ticket`] for its answer.
///
/// Run with [`Batch::run`] they are independent; with [`Batch::run_in_sequence`] the first that fails is the last.
#[derive(Default)]
pub struct Batch {
    parts: Vec<CallParts>,
    decoders: Vec<Decoder>,
}

/// Stands for the answer of one call of a batch.
#[derive(Debug)]
pub struct Ticket<T> {
    index: usize,
    answer: PhantomData<fn() -> T>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a call.
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

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there are none.
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
        if self.parts.len() > MAX_CALLS {
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
        let mut call: Call<Vec<Answer>> = Call::new("POST", path, auth, decode_answers).json(self.to_json());
        call.parts.author = self.parts.iter().find_map(|parts| parts.author);
        let answers = server.run(call).await?;
        self.finish(answers, path == "/batch", server.base_url())
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
        self.finish(decode_answers(&answer)?, !sequence, "")
    }

    fn finish(self, answers: Vec<Answer>, all: bool, host: &str) -> Result<BatchAnswers, SogsError> {
        if answers.len() > self.parts.len() || (all && answers.len() != self.parts.len()) {
            return Err(SogsError::new(Cause::NotASogs).with_text("the batch has another number of answers"));
        }
        let labels = self
            .parts
            .iter()
            .map(|parts| format!("{} {}", parts.method, parts.path));
        let mut answers = answers.into_iter();
        let results = self
            .decoders
            .into_iter()
            .zip(labels)
            .map(|(decode, label)| {
                let answer = answers.next()?;
                Some(decode(&answer).map_err(|error| error.at(host, &label)))
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

#[derive(Deserialize)]
struct Element<'a> {
    code: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

fn decode_answers(answer: &Answer) -> Result<Vec<Answer>, SogsError> {
    // Status and length first, with the errors they have.
    let _: serde::de::IgnoredAny = decode_json(answer)?;
    let elements: Vec<Element<'_>> =
        serde_json::from_slice(&answer.body).map_err(|error| not_sogs(answer, &error.to_string()))?;
    elements
        .into_iter()
        .map(|element| {
            let headers: Vec<(String, String)> = element
                .headers
                .into_iter()
                .map(|(name, value)| {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    (name.to_ascii_lowercase(), value)
                })
                .collect();
            let raw = element.body.map_or("null", RawValue::get);
            let is_json = headers
                .iter()
                .any(|(name, value)| name == "content-type" && value.starts_with("application/json"));
            let body = if is_json {
                Bytes::copy_from_slice(raw.as_bytes())
            } else {
                match serde_json::from_str::<Option<String>>(raw) {
                    Ok(None) => Bytes::new(),
                    Ok(Some(text)) => from_b64(&text)
                        .map(Bytes::from)
                        .ok_or_else(|| not_sogs(answer, "a body of the batch is no base64"))?,
                    Err(_) => Bytes::copy_from_slice(raw.as_bytes()),
                }
            };
            Ok(Answer {
                status: element.code,
                headers,
                body,
                truncated: false,
                clock_offset: answer.clock_offset,
            })
        })
        .collect()
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
