//! Rendering of a template of the small language, within bounds of steps, time and length.

use std::time::Instant;

use serde_json::Value;

use super::parse::{Expression, Filter, Node};
use super::{CUT, MAX_OUTPUT_BYTES, MAX_STEPS, MAX_TIME};

/// The text that the nodes make of this value; one that had to be cut ends with a sign.
pub(super) fn render(nodes: &[Node], value: &Value) -> String {
    let mut run = Run {
        out: String::new(),
        steps: 0,
        until: Instant::now() + MAX_TIME,
        scopes: vec![Scope { value, index: None }],
    };
    if run.nodes(nodes).is_err() {
        run.out.push_str(CUT);
    }
    run.out
}

struct Scope<'v> {
    value: &'v Value,
    index: Option<usize>,
}

struct Run<'v> {
    out: String,
    steps: usize,
    until: Instant,
    scopes: Vec<Scope<'v>>,
}

/// The output, the steps or the time ran out.
struct Exhausted;

impl<'v> Run<'v> {
    fn nodes(&mut self, nodes: &[Node]) -> Result<(), Exhausted> {
        for node in nodes {
            self.steps += 1;
            if self.steps > MAX_STEPS || Instant::now() > self.until {
                return Err(Exhausted);
            }
            match node {
                Node::Text(text) => self.write(text)?,
                Node::Value(expression) => {
                    let text = self.text(expression);
                    self.write(&text)?;
                }
                Node::If { condition, yes, no } => {
                    let branch = if truthy(&self.text(condition)) { yes } else { no };
                    self.nodes(branch)?;
                }
                Node::Each { over, body } => self.each(over, body)?,
            }
        }
        Ok(())
    }

    fn each(&mut self, over: &Expression, body: &[Node]) -> Result<(), Exhausted> {
        let Some(value) = self.find(&over.path) else {
            return Ok(());
        };
        let items: Vec<&'v Value> = match value {
            Value::Array(items) => items.iter().take(MAX_STEPS).collect(),
            Value::Object(fields) => fields.values().take(MAX_STEPS).collect(),
            _ => return Ok(()),
        };
        for (index, item) in items.into_iter().enumerate() {
            self.scopes.push(Scope {
                value: item,
                index: Some(index),
            });
            let result = self.nodes(body);
            self.scopes.pop();
            result?;
            self.steps += 1;
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), Exhausted> {
        let left = MAX_OUTPUT_BYTES.saturating_sub(self.out.len());
        if text.len() <= left {
            self.out.push_str(text);
            return Ok(());
        }
        let end = (0..=left)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        self.out.push_str(&text[..end]);
        Err(Exhausted)
    }

    /// Inner scopes first; `this` is the innermost value.
    fn find(&self, path: &[String]) -> Option<&'v Value> {
        let (first, rest) = path.split_first()?;
        if first == "this" {
            return walk(self.scopes.last()?.value, rest);
        }
        self.scopes.iter().rev().find_map(|scope| walk(scope.value, path))
    }

    fn text(&self, expression: &Expression) -> String {
        if expression.path == ["@index"] {
            return self
                .scopes
                .last()
                .and_then(|scope| scope.index)
                .map_or(String::new(), |i| (i + 1).to_string());
        }
        let mut value = self.find(&expression.path);
        let mut text: Option<String> = None;
        for filter in &expression.filters {
            let so_far = |value: Option<&Value>, text: &Option<String>| match text {
                Some(text) => text.clone(),
                None => value.map(show).unwrap_or_default(),
            };
            match filter {
                Filter::First | Filter::Last => {
                    value = match value {
                        Some(Value::Array(items)) if matches!(filter, Filter::First) => items.first(),
                        Some(Value::Array(items)) => items.last(),
                        other => other,
                    };
                }
                Filter::Length => {
                    let length = match (&text, value) {
                        (Some(text), _) => text.chars().count(),
                        (None, Some(Value::Array(items))) => items.len(),
                        (None, Some(Value::Object(fields))) => fields.len(),
                        (None, other) => so_far(other, &None).chars().count(),
                    };
                    text = Some(length.to_string());
                }
                Filter::Join(glue) => {
                    if let (None, Some(Value::Array(items))) = (&text, value) {
                        text = Some(join(items, glue));
                    }
                }
                Filter::Json => text = Some(value.map(bounded_json).unwrap_or_default()),
                Filter::Upper => text = Some(so_far(value, &text).to_uppercase()),
                Filter::Lower => text = Some(so_far(value, &text).to_lowercase()),
                Filter::Trim => text = Some(so_far(value, &text).trim().to_owned()),
                Filter::Default(other) => {
                    let now = so_far(value, &text);
                    text = Some(if now.is_empty() { other.clone() } else { now });
                }
                Filter::Truncate(limit) => {
                    let now = so_far(value, &text);
                    text = Some(if now.chars().count() > *limit {
                        now.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
                    } else {
                        now
                    });
                }
            }
        }
        text.unwrap_or_else(|| value.map(show).unwrap_or_default())
    }
}

fn walk<'v>(mut value: &'v Value, path: &[String]) -> Option<&'v Value> {
    for part in path {
        value = match value {
            Value::Object(fields) => fields.get(part)?,
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

fn join(items: &[Value], glue: &str) -> String {
    let mut text = String::new();
    for (n, item) in items.iter().enumerate() {
        if text.len() > MAX_OUTPUT_BYTES {
            break;
        }
        if n > 0 {
            text.push_str(glue);
        }
        text.push_str(&show(item));
    }
    text
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => bounded_json(value),
    }
}

/// Compact JSON, not much longer than a template may make.
fn bounded_json(value: &Value) -> String {
    struct Bounded(Vec<u8>);
    impl std::io::Write for Bounded {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.0.len() > MAX_OUTPUT_BYTES {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut out = Bounded(Vec::new());
    // Running out of room is not an error: the caller cuts at the same length.
    let _ = serde_json::to_writer(&mut out, value);
    String::from_utf8_lossy(&out.0).into_owned()
}

fn truthy(text: &str) -> bool {
    !matches!(text, "" | "false" | "0" | "[]" | "{}")
}
