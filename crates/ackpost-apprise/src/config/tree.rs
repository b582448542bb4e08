//! A YAML document as a tree that knows where everything stands.
//!
//! Scalars keep the text they were written with: a password of digits is a password, `yes` is a word, and what a
//! parameter makes of it is decided where the parameter is read.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use ackpost_notify::Diagnostic;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

use super::slips;

/// Deepest nesting.
const DEPTH: usize = 20;
/// Most values after aliases are expanded.
const VALUES: usize = 100_000;

/// One value and where it stands; what is written without quotes on one line is not copied.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) kind: NodeKind<'t>,
}

/// A key and its value.
pub(super) type Pair<'t> = (Node<'t>, Node<'t>);

#[derive(Clone, Debug)]
pub(super) enum NodeKind<'t> {
    Scalar { text: Cow<'t, str>, plain: bool },
    Sequence(Rc<Vec<Node<'t>>>),
    Mapping(Rc<Vec<Pair<'t>>>),
}

impl<'t> Node<'t> {
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    pub(super) fn sequence(&self) -> Option<&[Self]> {
        match &self.kind {
            NodeKind::Sequence(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn mapping(&self) -> Option<&[Pair<'t>]> {
        match &self.kind {
            NodeKind::Mapping(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The value of a key; of a repeated one the last (as the reference reads it).
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.mapping()?
            .iter()
            .rev()
            .find(|(name, _)| name.text() == Some(key))
            .map(|(_, value)| value)
    }

    /// Nothing written, `~`, or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, NodeKind::Scalar { text, plain: true } if ["", "~", "null", "Null", "NULL"].contains(&text.as_ref()))
    }

    /// A scalar that YAML 1.1 reads as text: neither null, nor yes/no, nor a number.
    pub(super) fn is_text(&self) -> bool {
        let NodeKind::Scalar { text, plain } = &self.kind else {
            return false;
        };
        if !plain {
            return true;
        }
        let words = ["yes", "no", "true", "false", "on", "off"];
        let number = text
            .trim_start_matches(['+', '-'])
            .starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && text.replace('_', "").parse::<f64>().is_ok();
        !self.is_null() && !words.contains(&text.to_ascii_lowercase().as_str()) && !number
    }
}

impl Node<'_> {
    /// Returns the value as YAML on one line. Texts are quoted as in JSON; what YAML 1.1 reads as something else than a
    /// text stays as it is written.
    pub(super) fn flow(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match &self.kind {
            NodeKind::Scalar { .. } if self.is_null() => "null".to_owned(),
            NodeKind::Scalar { text, .. } if self.is_text() => quoted(text),
            NodeKind::Scalar { text, .. } => text.clone().into_owned(),
            NodeKind::Sequence(items) => {
                let items: Vec<String> = items.iter().map(Node::flow).collect();
                format!("[{}]", items.join(", "))
            }
            NodeKind::Mapping(pairs) => {
                let pairs: Vec<String> = (pairs.iter())
                    .map(|(key, value)| format!("{}: {}", key.flow(), value.flow()))
                    .collect();
                format!("{{{}}}", pairs.join(", "))
            }
        }
    }
}

/// Returns the pairs that count, in order: of those with the same key the last.
pub(super) fn last_written<'n, 't>(pairs: &'n [Pair<'t>]) -> Vec<&'n Pair<'t>> {
    let mut later = HashSet::with_capacity(pairs.len());
    let mut last: Vec<&Pair<'t>> = pairs
        .iter()
        .rev()
        .filter(|(key, _)| key.text().is_none_or(|text| later.insert(text)))
        .collect();
    last.reverse();
    last
}

/// Returns the keys that are written again further down in the same mapping.
pub(super) fn written_again<'n, 't>(pairs: &'n [Pair<'t>]) -> Vec<&'n Node<'t>> {
    let mut later = HashSet::with_capacity(pairs.len());
    let mut again: Vec<&Node<'t>> = pairs
        .iter()
        .rev()
        .map(|(key, _)| key)
        .filter(|key| key.text().is_some_and(|text| !later.insert(text)))
        .collect();
    again.reverse();
    again
}

/// Says that a key is written more than once, which changes what the configuration means.
pub(super) fn repeated(key: &Node<'_>) -> Diagnostic {
    let word = key.text().unwrap_or_default();
    // A repeated URL is not a key to show: it may hold a password.
    let shown = if word.contains("://") { "the URL" } else { word };
    Diagnostic::error(
        format!("`{shown}` is written more than once; the last one is used"),
        "keep one",
    )
    .key(shown)
}

/// Reads the first document; more than one is an error, as it is in the reference.
pub(super) fn read(text: &str) -> Result<Node<'_>, Diagnostic> {
    let mut reader = Reader {
        text,
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        values: 0,
    };
    reader.document()
}

struct Reader<'a> {
    text: &'a str,
    parser: Parser<'a, serde_saphyr::granit_parser::StrInput<'a>>,
    /// Finished anchors with their size; one that is still open is a loop when it is met.
    anchors: HashMap<usize, (Node<'a>, usize)>,
    values: usize,
}

fn problem(cause: &str, remedy: &str, span: &Span) -> Diagnostic {
    let (line, column) = position(span);
    Diagnostic::error(cause, remedy).at(None, Some(line), Some(column))
}

fn position(span: &Span) -> (u32, u32) {
    let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX).max(1);
    let column = u32::try_from(span.start.col())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    (line, column)
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Diagnostic> {
        loop {
            return match self.parser.next_event() {
                Some(Ok((Event::Comment(..), _))) => continue,
                Some(Ok(event)) => Ok(event),
                Some(Err(error)) => {
                    let marker = error.marker();
                    let line = u32::try_from(marker.line()).ok();
                    let column = u32::try_from(marker.col() + 1).ok();
                    let slip = line.and_then(|line| slips::in_yaml(self.text, line, &error.info()));
                    Err(slip.unwrap_or_else(|| {
                        Diagnostic::error(format!("this is not YAML: {}", error.info()), "correct the line")
                            .at(None, line, column)
                    }))
                }
                None => Err(Diagnostic::error("the YAML ends in the middle", "complete it")),
            };
        }
    }

    fn document(&mut self) -> Result<Node<'a>, Diagnostic> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => {
                    return Ok(root.unwrap_or(Node {
                        line: 1,
                        column: 1,
                        kind: NodeKind::Scalar {
                            text: Cow::Borrowed(""),
                            plain: true,
                        },
                    }));
                }
                event if root.is_none() => root = Some(self.node(event, &span, 0)?),
                _ => {
                    return Err(problem(
                        "the file holds more than one YAML document",
                        "keep one, remove the ---",
                        &span,
                    ));
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node<'a>, Diagnostic> {
        if depth > DEPTH {
            return Err(problem(
                "the YAML is nested more than 20 levels deep",
                "flatten it",
                span,
            ));
        }
        self.count(1, span)?;
        let (line, column) = position(span);
        let before = self.values;
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                if tag.as_ref().is_some_and(|tag| !tag.is_yaml_core_schema()) {
                    return Err(problem(
                        "YAML tags (!…) are not supported",
                        "write the plain value",
                        span,
                    ));
                }
                let plain = matches!(style, ScalarStyle::Plain);
                (NodeKind::Scalar { text, plain }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                Self::plain_tag(tag.is_some_and(|tag| !tag.is_yaml_core_schema()), span)?;
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    items.push(self.node(event, &span, depth + 1)?);
                }
                (NodeKind::Sequence(Rc::new(items)), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                Self::plain_tag(tag.is_some_and(|tag| !tag.is_yaml_core_schema()), span)?;
                (NodeKind::Mapping(Rc::new(self.pairs(depth)?)), anchor)
            }
            Event::Alias(anchor) => {
                let (node, size) = self.anchors.get(&anchor).cloned().ok_or_else(|| {
                    problem(
                        "an alias refers to the value that contains it",
                        "write the value out",
                        span,
                    )
                })?;
                self.count(size, span)?;
                return Ok(node);
            }
            _ => {
                return Err(problem(
                    "this is not YAML that a configuration can hold",
                    "correct the line",
                    span,
                ));
            }
        };
        let node = Node { line, column, kind };
        if anchor > 0 {
            self.anchors
                .insert(anchor, (node.clone(), self.values - before + 1));
        }
        Ok(node)
    }

    fn pairs(&mut self, depth: usize) -> Result<Vec<Pair<'a>>, Diagnostic> {
        let mut pairs: Vec<Pair<'a>> = Vec::new();
        let mut merged: Vec<Pair<'a>> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, &span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            let is_merge = matches!(&key.kind, NodeKind::Scalar { text, plain: true } if text == "<<");
            if is_merge {
                for source in value.sequence().unwrap_or(std::slice::from_ref(&value)) {
                    merged.extend(source.mapping().unwrap_or_default().iter().cloned());
                }
                self.count(merged.len(), &span)?;
            } else {
                pairs.push((key, value));
            }
        }
        for (key, value) in merged {
            if !pairs
                .iter()
                .any(|(known, _)| known.text().is_some() && known.text() == key.text())
            {
                pairs.push((key, value));
            }
        }
        Ok(pairs)
    }

    fn plain_tag(foreign: bool, span: &Span) -> Result<(), Diagnostic> {
        if foreign {
            Err(problem(
                "YAML tags (!…) are not supported",
                "write the plain value",
                span,
            ))
        } else {
            Ok(())
        }
    }

    fn count(&mut self, more: usize, span: &Span) -> Result<(), Diagnostic> {
        self.values = self.values.saturating_add(more);
        if self.values > VALUES {
            return Err(problem(
                "the YAML expands to more than 100,000 values",
                "split it, or use fewer aliases",
                span,
            ));
        }
        Ok(())
    }
}
