//! Parser of the small language of templates.

use super::{MAX_DEPTH, TemplateError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
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
pub(super) struct Expression {
    pub(super) path: Vec<String>,
    pub(super) filters: Vec<Filter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
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

/// Parses a template of the small language.
pub(super) fn parse(source: &str) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { source, at: 0 };
    let (nodes, end) = parser.block(0)?;
    match end {
        End::Source => Ok(nodes),
        End::Else => Err(parser.error("`else` without `#if`")),
        End::Close(name) => Err(parser.error(format!("`/{name}` without `#{name}`"))),
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
            End::Close(found) => Err(parser.error(format!("`/{found}` instead of `/{name}`"))),
            End::Else => Err(parser.error("`else` in the wrong place")),
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
            other => Err(self.error(format!("unknown block `#{other}`; write `#if` or `#each`"))),
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
                "`{path_text}` is not a valid field; write names with dots between them"
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
            || unquote(argument).ok_or_else(|| self.error(format!("`{name}` needs a text in quotes")));
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
                    .map_err(|_| self.error("`truncate` needs a number of characters"))?,
            ),
            other => return Err(self.error(format!("unknown filter `{other}`"))),
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
