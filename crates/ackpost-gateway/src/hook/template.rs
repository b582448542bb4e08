//! A small template language that cannot do harm.
//!
//! ```text
//! {{ path.to.field }}   {{ items.0.name | upper }}   {{ labels.'odd name' | default 'none' }}
//! {{#if path}} … {{else}} … {{/if}}      {{#each items}} {{ this.name }} {{ @index }} {{/each}}
//! ```
//!
//! Filters: `upper lower trim json length first last`, `default 'text'`, `join ', '`, `truncate 80`.
//! There are no variables, calls, includes or arithmetic. The text of a template, its depth, the number of steps
//! and the length of what comes out are bounded, so that no input makes a template expensive.

use std::fmt;

use serde_json::Value;

const MAX_TEMPLATE_BYTES: usize = 16 << 10;
const MAX_DEPTH: usize = 4;
const MAX_OUTPUT_BYTES: usize = 32 << 10;
const MAX_STEPS: usize = 20_000;
/// What stands at the end of a text that had to be cut.
const CUT: &str = "… (cut: the template made more than fits)";

/// A checked template.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Template {
    source: String,
    nodes: Vec<Node>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Text(String),
    Value(Expression),
    Each {
        over: Expression,
        body: Vec<Node>,
    },
    If {
        condition: Expression,
        yes: Vec<Node>,
        no: Vec<Node>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Expression {
    path: Vec<String>,
    filters: Vec<Filter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Upper,
    Lower,
    Trim,
    Json,
    Length,
    First,
    Last,
    Default(String),
    Join(String),
    Truncate(usize),
}

/// What is wrong with a template, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (at character {at})")]
pub(crate) struct TemplateError {
    reason: String,
    at: usize,
}

impl Template {
    pub(crate) fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            let reason = format!("the template is longer than {MAX_TEMPLATE_BYTES} bytes");
            return Err(TemplateError { reason, at: 0 });
        }
        let mut parser = Parser { source, at: 0 };
        let (nodes, end) = parser.block(0)?;
        match end {
            End::Source => Ok(Self {
                source: source.to_owned(),
                nodes,
            }),
            End::Else => Err(parser.error("`else` without `#if`")),
            End::Close(name) => Err(parser.error(format!("`/{name}` without `#{name}`"))),
        }
    }

    /// The text it makes of this value.
    pub(crate) fn render(&self, value: &Value) -> String {
        let mut run = Run {
            out: String::new(),
            steps: 0,
            scopes: vec![Scope { value, index: None }],
        };
        if run.nodes(&self.nodes).is_err() {
            run.out.push_str(CUT);
        }
        run.out
    }
}

enum End {
    Source,
    Else,
    Close(String),
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn error(&self, reason: impl Into<String>) -> TemplateError {
        let at = self
            .source
            .get(..self.at)
            .map_or(0, |before| before.chars().count());
        TemplateError {
            reason: reason.into(),
            at,
        }
    }

    fn block(&mut self, depth: usize) -> Result<(Vec<Node>, End), TemplateError> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("more than {MAX_DEPTH} blocks inside one another")));
        }
        let mut nodes = Vec::new();
        loop {
            let rest = &self.source[self.at..];
            let Some(open) = rest.find("{{") else {
                push_text(&mut nodes, rest);
                self.at = self.source.len();
                return Ok((nodes, End::Source));
            };
            push_text(&mut nodes, &rest[..open]);
            self.at += open;
            let inside = &rest[open + 2..];
            let close = inside.find("}}").ok_or_else(|| self.error("`{{` without `}}`"))?;
            let tag = inside[..close].trim();
            let next = self.at + open_close(close);
            if let Some(name) = tag.strip_prefix('/') {
                self.at = next;
                return Ok((nodes, End::Close(name.trim().to_owned())));
            }
            if tag == "else" {
                self.at = next;
                return Ok((nodes, End::Else));
            }
            if let Some(block) = tag.strip_prefix('#') {
                let node = self.open_block(block, next, depth)?;
                nodes.push(node);
                continue;
            }
            nodes.push(Node::Value(self.expression(tag)?));
            self.at = next;
        }
    }

    fn open_block(&mut self, tag: &str, next: usize, depth: usize) -> Result<Node, TemplateError> {
        let (word, rest) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        let opened_at = self.at;
        let expression = self.expression(rest)?;
        self.at = next;
        let closed = |parser: &Self, end: End, name: &str| match end {
            End::Close(found) if found == name => Ok(()),
            End::Close(found) => Err(parser.error(format!("`/{found}` where `/{name}` is due"))),
            End::Else => Err(parser.error("`else` where it cannot stand")),
            End::Source => Err(Self {
                source: parser.source,
                at: opened_at,
            }
            .error(format!("`#{name}` is never closed"))),
        };
        match word {
            "each" => {
                let (body, end) = self.block(depth + 1)?;
                closed(self, end, "each")?;
                Ok(Node::Each {
                    over: expression,
                    body,
                })
            }
            "if" => {
                let (yes, end) = self.block(depth + 1)?;
                let no = if matches!(end, End::Else) {
                    let (no, end) = self.block(depth + 1)?;
                    closed(self, end, "if")?;
                    no
                } else {
                    closed(self, end, "if")?;
                    Vec::new()
                };
                Ok(Node::If {
                    condition: expression,
                    yes,
                    no,
                })
            }
            other => Err(self.error(format!("there is no block `#{other}`; only `#if` and `#each`"))),
        }
    }

    fn expression(&self, text: &str) -> Result<Expression, TemplateError> {
        let mut parts = split_quoted(text, '|').into_iter();
        let path_text = parts.next().unwrap_or_default().trim().to_owned();
        if path_text.is_empty() {
            return Err(self.error("a field is missing between `{{` and `}}`"));
        }
        let path = split_quoted(&path_text, '.')
            .into_iter()
            .map(|part| unquote(&part).unwrap_or(part))
            .map(|part| part.trim().to_owned())
            .collect::<Vec<_>>();
        let plain = |part: &String| !part.is_empty() && !part.contains(['{', '}', '(', ')']);
        if path.len() > 16 || !path.iter().all(plain) {
            return Err(self.error(format!(
                "`{path_text}` is no field; write names with dots between them"
            )));
        }
        let filters = parts
            .map(|part| self.filter(part.trim()))
            .collect::<Result<Vec<_>, _>>()?;
        if filters.len() > 8 {
            return Err(self.error("more than 8 filters"));
        }
        Ok(Expression { path, filters })
    }

    fn filter(&self, text: &str) -> Result<Filter, TemplateError> {
        let (name, argument) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let quoted =
            || unquote(argument).ok_or_else(|| self.error(format!("`{name}` wants a text in quotes")));
        Ok(match name {
            "upper" => Filter::Upper,
            "lower" => Filter::Lower,
            "trim" => Filter::Trim,
            "json" => Filter::Json,
            "length" => Filter::Length,
            "first" => Filter::First,
            "last" => Filter::Last,
            "default" => Filter::Default(quoted()?),
            "join" => Filter::Join(quoted()?),
            "truncate" => Filter::Truncate(
                argument
                    .trim()
                    .parse()
                    .map_err(|_| self.error("`truncate` wants a number of characters"))?,
            ),
            other => return Err(self.error(format!("there is no filter `{other}`"))),
        })
    }
}

fn open_close(inside: usize) -> usize {
    "{{".len() + inside + "}}".len()
}

fn push_text(nodes: &mut Vec<Node>, text: &str) {
    if !text.is_empty() {
        nodes.push(Node::Text(text.to_owned()));
    }
}

/// Splits at `separator` outside quotes.
fn split_quoted(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == separator => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

/// The text between quotes; `\n` in it is a line end.
fn unquote(text: &str) -> Option<String> {
    let text = text.trim();
    let quote = text.chars().next().filter(|c| *c == '\'' || *c == '"')?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains(quote)).then(|| inner.replace("\\n", "\n"))
}

struct Scope<'v> {
    value: &'v Value,
    index: Option<usize>,
}

struct Run<'v> {
    out: String,
    steps: usize,
    scopes: Vec<Scope<'v>>,
}

/// The output or the steps ran out.
struct Exhausted;

impl<'v> Run<'v> {
    fn nodes(&mut self, nodes: &[Node]) -> Result<(), Exhausted> {
        for node in nodes {
            self.steps += 1;
            if self.steps > MAX_STEPS {
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
    // Running out of room is no error: the caller cuts at the same length.
    let _ = serde_json::to_writer(&mut out, value);
    String::from_utf8_lossy(&out.0).into_owned()
}

fn truthy(text: &str) -> bool {
    !matches!(text, "" | "false" | "0" | "[]" | "{}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn render(template: &str, value: &Value) -> String {
        Template::parse(template).expect("legal").render(value)
    }

    #[test]
    fn fields_filters_and_blocks() {
        let value = json!({
            "name": "ackpost", "n": 3, "ok": true, "none": null, "labels": {"odd name": "x"},
            "items": [{"id": "a"}, {"id": "b"}], "words": ["one", "two"]
        });
        for (template, expected) in [
            ("{{name}} {{ n }} {{ok}}", "ackpost 3 true"),
            ("{{ name | upper | truncate 4 }}", "ACK…"),
            ("{{ missing | default 'no | way' }}", "no | way"),
            ("{{ labels.'odd name' }}", "x"),
            ("{{ items.1.id }}", "b"),
            (
                "{{#each items}}{{ @index }}={{ this.id }} of {{ name }};{{/each}}",
                "1=a of ackpost;2=b of ackpost;",
            ),
            ("{{#each words}}{{this}},{{/each}}", "one,two,"),
            ("{{#if none}}yes{{else}}no{{/if}}{{#if items}}!{{/if}}", "no!"),
            (
                "{{ words | join ' and ' }} {{ items | length }} {{ words | first }} {{ words | last | upper }}",
                "one and two 2 one TWO",
            ),
            ("{{ labels }}", "{\"odd name\":\"x\"}"),
            ("no fields", "no fields"),
        ] {
            assert_eq!(render(template, &value), expected, "{template}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for bad in [
            "{{",
            "{{}}",
            "{{#each a}}",
            "{{/if}}",
            "{{else}}",
            "{{#if a}}{{/each}}",
            "{{#for a}}{{/for}}",
            "{{ a | evil }}",
            "{{ a | default x }}",
            "{{ f() }}",
            "{{ a..b }}",
            "{{#if}}x{{/if}}",
            "{{#each a}}{{#each b}}{{#each c}}{{#each d}}{{#each e}}{{/each}}{{/each}}{{/each}}{{/each}}{{/each}}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert!(Template::parse(&"x".repeat(MAX_TEMPLATE_BYTES + 1)).is_err());
    }

    #[test]
    fn a_bomb_is_cut_and_says_so() {
        let list: Vec<Value> = (0..2_000)
            .map(|n| json!({"text": "x".repeat(100), "n": n}))
            .collect();
        let value = json!({"a": list.clone(), "b": list});
        let bomb = "{{#each a}}{{#each b}}{{#each a}}{{ text }}{{/each}}{{/each}}{{/each}}";
        let text = render(bomb, &value);
        assert!(text.len() <= MAX_OUTPUT_BYTES + CUT.len());
        assert!(text.ends_with(CUT));
        let silent = render(
            "{{#each a}}{{#each b}}{{#each a}}{{/each}}{{/each}}{{/each}}",
            &value,
        );
        assert_eq!(silent, CUT);
        assert!(render("{{ a }}{{ a }}", &value).len() <= MAX_OUTPUT_BYTES + CUT.len());
    }

    proptest! {
        #[test]
        fn no_template_panics(source in "[{}#/|a-c '.0-9@else ifach]{0,80}") {
            if let Ok(template) = Template::parse(&source) {
                let text = template.render(&json!({"a": [1, {"b": "ü"}], "b": {"c": null}}));
                prop_assert!(text.len() <= MAX_OUTPUT_BYTES + CUT.len());
            }
        }
    }
}
