//! HTML as Markdown.

use super::html_text::{collapse, is_silent};
use super::html_tokens::{Token, tokens};
use crate::url::number::{is_space, trim};

/// Converts HTML to Markdown: ATX headings, `**` and `*`, `[text](<address>)`, lists, quotes, fences, pipe tables;
/// text is escaped so that it shows as it is.
///
/// ```
/// assert_eq!(notify::render::html_to_markdown("<h1>A</h1><p><b>b</b></p>"), "# A\n\n**b**");
/// ```
pub fn html_to_markdown(html: &str) -> String {
    let mut writer = Writer::default();
    for token in tokens(html) {
        match token {
            Token::Start { name, attributes } => writer.start(&name, &attributes),
            Token::End { name } => writer.end(&name),
            Token::Text(text) => writer.text(&text),
        }
    }
    writer.finish()
}

/// A block that is being written; its text goes to its parent when it ends.
#[derive(Debug, Default)]
struct Frame {
    kind: Kind,
    out: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Root,
    Strong,
    Emphasis,
    Link(String),
    Code,
    Pre,
    Quote,
    List {
        ordered: bool,
        next: u64,
    },
    Item {
        marker: String,
    },
    Heading(usize),
    Table {
        rows: Vec<Vec<String>>,
    },
    Row {
        cells: Vec<String>,
    },
    Cell,
}

#[derive(Debug)]
struct Writer {
    stack: Vec<Frame>,
    silent: bool,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            stack: vec![Frame::default()],
            silent: false,
        }
    }
}

/// Deepest nesting that is kept apart.
const DEPTH: usize = 100;

impl Writer {
    fn out(&mut self) -> &mut String {
        if self.stack.is_empty() {
            self.stack.push(Frame::default());
        }
        let top = self.stack.len() - 1;
        &mut self.stack[top].out
    }

    fn open(&mut self, kind: Kind) {
        if self.stack.len() < DEPTH {
            self.stack.push(Frame {
                kind,
                out: String::new(),
            });
        }
    }

    fn in_code(&self) -> bool {
        self.stack
            .iter()
            .any(|frame| matches!(frame.kind, Kind::Code | Kind::Pre))
    }

    fn text(&mut self, text: &str) {
        if self.silent {
            return;
        }
        if self.stack.iter().any(|frame| frame.kind == Kind::Pre) {
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            self.out().push_str(&text);
            return;
        }
        let text = collapse(text);
        if self.in_code() {
            self.out().push_str(&text);
            return;
        }
        let at_line_start = self.out().is_empty() || self.out().ends_with('\n');
        let escaped = escape(&text, at_line_start);
        self.out().push_str(&escaped);
    }

    /// A blank line, unless nothing stands before.
    fn paragraph(&mut self) {
        let out = self.out();
        if out.is_empty() || out.ends_with("\n\n") {
            return;
        }
        out.push_str(if out.ends_with('\n') { "\n" } else { "\n\n" });
    }

    fn line(&mut self) {
        let out = self.out();
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
    }

    fn start(&mut self, name: &str, attributes: &[(String, String)]) {
        self.silent = is_silent(name);
        let attribute = |wanted: &str| {
            attributes
                .iter()
                .find(|(key, _)| key == wanted)
                .map(|(_, value)| value.clone())
        };
        match name {
            "p" | "div" | "label" => self.paragraph(),
            "br" => self.out().push_str("  \n"),
            "hr" => {
                self.paragraph();
                self.out().push_str("---\n");
            }
            "b" | "strong" => self.open(Kind::Strong),
            "i" | "em" => self.open(Kind::Emphasis),
            "a" => {
                if let Some(address) = attribute("href") {
                    self.open(Kind::Link(address));
                }
            }
            "code" if !self.stack.iter().any(|frame| frame.kind == Kind::Pre) => self.open(Kind::Code),
            "pre" => {
                self.line();
                self.open(Kind::Pre);
            }
            "blockquote" => {
                self.paragraph();
                self.open(Kind::Quote);
            }
            "ul" | "ol" => {
                if self
                    .stack
                    .iter()
                    .any(|frame| matches!(frame.kind, Kind::Item { .. }))
                {
                    self.line();
                } else {
                    self.paragraph();
                }
                let next = attribute("start")
                    .and_then(|start| start.parse().ok())
                    .unwrap_or(1);
                self.open(Kind::List {
                    ordered: name == "ol",
                    next,
                });
            }
            "li" => self.item(),
            "table" => {
                self.paragraph();
                self.open(Kind::Table { rows: Vec::new() });
            }
            "tr" => self.open(Kind::Row { cells: Vec::new() }),
            "td" | "th" if matches!(self.stack.last().map(|frame| &frame.kind), Some(Kind::Row { .. })) => {
                self.open(Kind::Cell);
            }
            _ => {
                if let Some(level) = heading(name) {
                    self.line();
                    self.open(Kind::Heading(level));
                }
            }
        }
    }

    fn item(&mut self) {
        self.close_until(
            |kind| matches!(kind, Kind::Item { .. }),
            |kind| matches!(kind, Kind::List { .. }),
        );
        let marker = match self.stack.last_mut().map(|frame| &mut frame.kind) {
            Some(Kind::List { ordered: true, next }) => {
                let marker = format!("{next}. ");
                *next += 1;
                marker
            }
            _ => "- ".to_owned(),
        };
        self.line();
        self.open(Kind::Item { marker });
    }

    fn end(&mut self, name: &str) {
        self.silent = false;
        match name {
            "p" | "div" | "label" => self.paragraph(),
            "b" | "strong" => self.close(|kind| *kind == Kind::Strong),
            "i" | "em" => self.close(|kind| *kind == Kind::Emphasis),
            "a" => self.close(|kind| matches!(kind, Kind::Link(_))),
            "code" => self.close(|kind| *kind == Kind::Code),
            "pre" => self.close(|kind| *kind == Kind::Pre),
            "blockquote" => self.close(|kind| *kind == Kind::Quote),
            "ul" | "ol" => self.close(|kind| matches!(kind, Kind::List { .. })),
            "li" => self.close(|kind| matches!(kind, Kind::Item { .. })),
            "table" => self.close(|kind| matches!(kind, Kind::Table { .. })),
            "tr" => self.close(|kind| matches!(kind, Kind::Row { .. })),
            "td" | "th" => self.close(|kind| *kind == Kind::Cell),
            _ => {
                if let Some(level) = heading(name) {
                    self.close(|kind| *kind == Kind::Heading(level));
                }
            }
        }
    }

    /// Ends the innermost frame of this kind and everything inside it; nothing when there is none.
    fn close(&mut self, wanted: impl Fn(&Kind) -> bool) {
        self.close_until(wanted, |_| false);
    }

    fn close_until(&mut self, wanted: impl Fn(&Kind) -> bool, stop: impl Fn(&Kind) -> bool) {
        let mut found = None;
        for (at, frame) in self.stack.iter().enumerate().rev() {
            if wanted(&frame.kind) {
                found = Some(at);
                break;
            }
            if stop(&frame.kind) {
                break;
            }
        }
        let Some(at) = found else { return };
        while self.stack.len() > at.max(1) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some(Frame { kind, out: text }) = self.stack.pop() else {
            return;
        };
        match kind {
            Kind::Root => self.out().push_str(&text),
            Kind::Strong => self.wrap("**", &text),
            Kind::Emphasis => self.wrap("*", &text),
            Kind::Link(address) => {
                let address = address.replace('<', "\\<").replace('>', "\\>");
                let link = format!("[{text}](<{address}>)");
                self.out().push_str(&link);
            }
            Kind::Code => {
                let fence = "`".repeat(longest_run(&text) + 1);
                let pad = if text.starts_with('`') || text.ends_with('`') {
                    " "
                } else {
                    ""
                };
                let code = format!("{fence}{pad}{text}{pad}{fence}");
                self.out().push_str(&code);
            }
            Kind::Pre => {
                let fence = "`".repeat((longest_run(&text) + 1).max(3));
                let text = text.trim_matches('\n');
                let block = format!("{fence}\n{text}\n{fence}\n");
                self.out().push_str(&block);
            }
            Kind::Quote => {
                let block = prefix(text.trim_end_matches(is_space), "> ", "> ");
                self.out().push_str(&block);
                self.out().push_str("\n\n");
            }
            Kind::List { .. } => {
                let text = text.trim_end_matches(is_space).to_owned();
                self.out().push_str(&text);
                let nested = self
                    .stack
                    .iter()
                    .any(|frame| matches!(frame.kind, Kind::Item { .. }));
                self.out().push_str(if nested { "\n" } else { "\n\n" });
            }
            Kind::Item { marker } => {
                let indent = " ".repeat(marker.len());
                let block = prefix(trim(&text), &marker, &indent);
                self.out().push_str(&block);
                self.out().push('\n');
            }
            Kind::Heading(level) => {
                let line = format!("{} {}", "#".repeat(level), text.trim_end_matches(is_space));
                self.out().push_str(line.trim_end_matches(is_space));
                self.out().push('\n');
            }
            Kind::Table { rows } => {
                let table = table(&rows) + &text;
                self.out().push_str(&table);
                self.out().push('\n');
            }
            Kind::Row { cells } => {
                if let Some(Kind::Table { rows }) = self.stack.last_mut().map(|frame| &mut frame.kind) {
                    rows.push(cells);
                } else {
                    let line = cells.concat() + &text;
                    self.out().push_str(&line);
                }
            }
            Kind::Cell => {
                let cell = trim(&text).replace('|', "\\|").replace('\n', " ");
                match self.stack.last_mut().map(|frame| &mut frame.kind) {
                    Some(Kind::Row { cells }) => cells.push(cell),
                    _ => self.out().push_str(&cell),
                }
            }
        }
    }

    /// Emphasis around a text; blanks at its ends stay outside.
    fn wrap(&mut self, marker: &str, text: &str) {
        let inner = trim(text);
        if inner.is_empty() {
            self.out().push_str(text);
            return;
        }
        let lead = &text[..text.len() - text.trim_start_matches(is_space).len()];
        let tail = &text[text.trim_end_matches(is_space).len()..];
        let wrapped = format!("{lead}{marker}{inner}{marker}{tail}");
        self.out().push_str(&wrapped);
    }

    fn finish(mut self) -> String {
        while self.stack.len() > 1 {
            self.pop();
        }
        let text = self.stack.pop().map(|frame| frame.out).unwrap_or_default();
        trim(&text).to_owned()
    }
}

fn heading(name: &str) -> Option<usize> {
    let level = name.strip_prefix('h')?;
    level
        .parse()
        .ok()
        .filter(|level| (1..=6).contains(level) && name.len() == 2)
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn prefix(text: &str, first: &str, others: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for (n, line) in text.split('\n').enumerate() {
        if n > 0 {
            out.push('\n');
        }
        let lead = if n == 0 { first } else { others };
        out.push_str(if line.is_empty() { lead.trim_end() } else { lead });
        out.push_str(line);
    }
    out
}

fn table(rows: &[Vec<String>]) -> String {
    let line = |out: &mut String, cells: &str| {
        out.push_str("| ");
        out.push_str(cells);
        out.push_str(" |\n");
    };
    let mut out = String::new();
    for (n, row) in rows.iter().enumerate() {
        line(&mut out, &row.join(" | "));
        if n == 0 {
            line(&mut out, &vec!["---"; row.len()].join(" | "));
        }
    }
    out
}

/// Escapes a text so that Markdown shows it as it is.
fn escape(text: &str, at_line_start: bool) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let (lead, rest) = if at_line_start {
        line_start(text)
    } else {
        (String::new(), text)
    };
    out.push_str(&lead);
    for c in rest.chars() {
        if "\\`*_[]()#!~><".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A text that would begin a list: its marker escaped, and the rest.
fn line_start(text: &str) -> (String, &str) {
    let trimmed = text.trim_start_matches(is_space);
    let blanks = &text[..text.len() - trimmed.len()];
    if let Some(rest) = trimmed.strip_prefix(['-', '+'])
        && (rest.is_empty() || rest.starts_with(is_space))
    {
        return (format!("{blanks}\\{}", &trimmed[..1]), rest);
    }
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0
        && let Some(rest) = trimmed[digits..].strip_prefix(['.', ')'])
        && (rest.is_empty() || rest.starts_with(is_space))
    {
        return (
            format!("{blanks}{}\\{}", &trimmed[..digits], &trimmed[digits..=digits]),
            rest,
        );
    }
    (String::new(), text)
}
