//! HTML as Markdown.

mod close;

use super::html_links::safe;
use super::html_pieces::{BLANKS, Mark, Piece};
use super::html_text::{collapse, is_hidden};
use super::html_tokens::{Attribute, Token, tokens};
use crate::url::number::{python_int, trim};

/// Converts HTML to Markdown: ATX headings, `**` and `*`, `[text](<address>)`, lists, quotes, fences, pipe tables;
/// text is escaped so that it shows as it is.
///
/// ```
/// assert_eq!(ackpost_notify::render::html_to_markdown("<h1>A</h1><p><b>b</b></p>"), "# A\n\n**b**");
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

/// Deepest nesting that is kept apart; what is deeper is not opened.
const DEPTH: usize = 200;
/// Lists and quotes are not indented further than this many levels.
const LEVELS: usize = 4;
/// Elements that begin and end a line.
const BLOCKS: [&str; 14] = [
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "div", "td", "th", "pre", "samp", "label", "li",
];
/// Elements of lists and tables.
const STRUCTURE: [&str; 7] = ["ul", "ol", "li", "table", "tr", "td", "th"];
/// Those that stand apart from what is around them.
const PARAGRAPHS: [&str; 5] = ["p", "div", "td", "th", "label"];
/// Elements whose text, where it is outside of items and cells, is its own paragraph.
const INLINE: [&str; 17] = [
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "div", "label", "code", "pre", "samp", "b", "strong", "i", "em",
    "a",
];

/// An open element, and what holds inside of it.
#[derive(Clone, Debug, Default)]
struct Frame {
    tag: String,
    /// Text is kept where it stands.
    store: bool,
    /// Text is never shown.
    hidden: bool,
    /// The innermost list is ordered or not.
    list: Option<bool>,
    /// Nesting of lists.
    depth: usize,
    /// Number of the next item.
    counter: i64,
    /// Text of the items is kept.
    list_store: bool,
    /// Nesting of quotes.
    quotes: usize,
    /// Beginning of the continuation lines of an item.
    indent: String,
    /// Beginning of all items of the outermost list.
    indent_base: String,
    kind: Kind,
}

#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    Plain,
    Item {
        opened: u64,
    },
    /// `start` is where its mark stands among the pieces.
    Emphasis {
        mark: &'static str,
        opened: u64,
        start: usize,
        written: bool,
    },
    Link(String),
    /// Text as it stands.
    Code(String),
    Table {
        store: bool,
        rows: usize,
    },
    Row {
        cells: Vec<String>,
        in_table: bool,
        store: bool,
    },
    Cell {
        start: usize,
    },
    /// Text of a list or table outside of its items and cells. `start` is where it begins among the pieces.
    Loose {
        start: usize,
        opened: u64,
    },
}

#[derive(Debug)]
struct Writer {
    frames: Vec<Frame>,
    pieces: Vec<Piece>,
    /// Counts what was written, so that an empty element is noticed.
    written: u64,
}

impl Default for Writer {
    fn default() -> Self {
        let root = Frame {
            store: true,
            list_store: true,
            ..Frame::default()
        };
        Self {
            frames: vec![root],
            pieces: Vec::new(),
            written: 0,
        }
    }
}

impl Writer {
    fn top(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            *self = Self::default();
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    /// A frame inside the innermost one.
    fn inside(&mut self, tag: &str) -> Frame {
        Frame {
            tag: tag.to_owned(),
            kind: Kind::Plain,
            ..self.top().clone()
        }
    }

    /// False when it would be too deep.
    fn push(&mut self, frame: Frame) -> bool {
        let fits = self.frames.len() < DEPTH;
        if fits {
            self.frames.push(frame);
        }
        fits
    }

    fn innermost(&self, wanted: impl Fn(&Frame) -> bool) -> Option<usize> {
        (1..self.frames.len()).rev().find(|at| wanted(&self.frames[*at]))
    }

    /// Leaves the innermost element of this name, and all inside of it.
    fn leave(&mut self, tag: &str) -> Option<Frame> {
        let at = self.innermost(|frame| frame.tag == tag)?;
        let frame = self.frames.swap_remove(at);
        self.frames.truncate(at);
        Some(frame)
    }

    fn emit(&mut self, text: impl Into<String>) {
        self.pieces.push(Piece::Text(text.into()));
        self.written += 1;
    }

    /// Returns the beginning of a further line, and the kind of its mark.
    fn prefix(&mut self) -> (String, Mark) {
        let top = self.top();
        let mark = if top.quotes > 0 { Mark::Quote } else { Mark::Indent };
        (format!("{}{}", top.indent, "> ".repeat(top.quotes)), mark)
    }

    /// Ends a line, or with `strong` a paragraph.
    fn boundary(&mut self, strong: bool) {
        let (prefix, mark) = self.prefix();
        if strong {
            self.pieces.push(Piece::Gap {
                quoted: mark == Mark::Quote && !prefix.is_empty(),
                prefix,
            });
            return;
        }
        self.pieces.push(Piece::End);
        if !prefix.is_empty() {
            self.pieces.push(Piece::Mark(mark, prefix));
        }
    }

    /// Begins a block, unless a mark has just begun the line.
    fn begin(&mut self, strong: bool) {
        if !self.pieces.last().is_some_and(Piece::is_mark) {
            self.boundary(strong);
        }
    }

    fn text(&mut self, text: &str) {
        if !self.top().store && (trim(text).is_empty() || !self.open_loose()) {
            return;
        }
        if let Kind::Code(code) = &mut self.top().kind {
            code.push_str(text);
            return;
        }
        if trim(text).is_empty() && text.contains('\u{a0}') {
            self.emit("\u{a0}");
            return;
        }
        let text = collapse(text);
        let fresh = match self.pieces.last() {
            None | Some(Piece::Mark(..) | Piece::End | Piece::Gap { .. }) => {
                if trim(&text).is_empty() {
                    return;
                }
                true
            }
            Some(Piece::Text(last)) => last.ends_with('\n'),
        };
        let mut text = escape(&text);
        if fresh {
            escape_line_start(&mut text);
        }
        if let Kind::Emphasis { written: false, .. } = self.top().kind {
            let content = text.trim_start_matches(BLANKS);
            let lead = text[..text.len() - content.len()].to_owned();
            let content = content.to_owned();
            if !lead.is_empty() {
                // Blanks are in front of the mark, not behind it.
                let at = self.pieces.len().saturating_sub(1);
                self.pieces.insert(at, Piece::Text(lead));
            }
            if content.is_empty() {
                return;
            }
            if let Kind::Emphasis { written, .. } = &mut self.top().kind {
                *written = true;
            }
            text = content;
        }
        self.emit(text);
    }

    fn start(&mut self, name: &str, attributes: &[Attribute]) {
        if matches!(self.top().kind, Kind::Code(_)) {
            return;
        }
        let value = |wanted: &str| {
            let found = attributes.iter().find(|(key, _)| key == wanted);
            found.and_then(|(_, value)| value.as_deref())
        };
        if STRUCTURE.contains(&name) {
            self.close_loose();
        } else if INLINE.contains(&name) && !self.top().store {
            self.open_loose();
        }
        match name {
            "ul" | "ol" => self.list(name, value("start")),
            "li" => self.item(value("value")),
            "blockquote" => self.quote(),
            "table" => self.table(),
            "tr" => self.row(),
            "td" | "th" if self.cell(name) => {}
            _ => self.other(name, value("href")),
        }
    }

    fn list(&mut self, name: &str, start: Option<&str>) {
        let ordered = name == "ol";
        let mut frame = self.inside(name);
        let top = self.top();
        frame.store = false;
        frame.list = Some(ordered);
        frame.depth = (top.depth + 1).min(LEVELS);
        frame.counter = start
            .filter(|_| ordered)
            .and_then(python_int)
            .map_or(1, |number| number.max(0));
        if !matches!(top.tag.as_str(), "ul" | "ol") {
            frame.list_store = top.store;
        }
        if top.depth == 0 {
            frame.indent_base.clone_from(&top.indent);
        }
        if top.store && top.tag != "li" {
            self.begin(true);
        }
        self.push(frame);
    }

    fn item(&mut self, number: Option<&str>) {
        let opened = self.written;
        let top = self.top();
        let ordered = top.list == Some(true);
        if ordered && let Some(number) = number.and_then(python_int) {
            top.counter = number.max(0);
        }
        let mut marker = "  ".repeat(top.depth.saturating_sub(1));
        if ordered {
            marker.push_str(&top.counter.to_string());
            marker.push_str(". ");
        } else {
            marker.push_str("- ");
        }
        let quotes = top.quotes;
        let store = top.list_store;
        let frame = Frame {
            store,
            indent: format!("{}{}", top.indent_base, " ".repeat(marker.len())),
            kind: Kind::Item { opened },
            ..self.inside("li")
        };
        if !self.push(frame) || !store {
            return;
        }
        if !self.pieces.last().is_some_and(Piece::is_mark) {
            self.pieces.push(Piece::End);
            if quotes > 0 {
                self.pieces.push(Piece::Mark(Mark::Quote, "> ".repeat(quotes)));
            }
        }
        self.pieces.push(Piece::Mark(Mark::Item, marker));
    }

    fn quote(&mut self) {
        let frame = self.inside("blockquote");
        let outer = frame.quotes;
        let quotes = (outer + 1).min(LEVELS);
        let (store, indent) = (frame.store, frame.indent.clone());
        if !self.push(Frame { quotes, ..frame }) || !store {
            return;
        }
        let one = || Piece::Mark(Mark::Quote, "> ".to_owned());
        match self.pieces.last() {
            Some(Piece::Mark(Mark::Quote, _) | Piece::Gap { quoted: true, .. }) => {
                if quotes > outer {
                    self.pieces.push(one());
                }
            }
            Some(Piece::Mark(..)) => self.pieces.push(Piece::Mark(Mark::Quote, "> ".repeat(quotes))),
            Some(Piece::Text(_)) => {
                // The paragraph in front ends where it stands, outside of this quote.
                self.top().quotes = outer;
                self.boundary(true);
                self.top().quotes = quotes;
                if quotes > outer {
                    self.pieces.push(one());
                }
            }
            _ => {
                let prefix = indent + &"> ".repeat(quotes);
                self.pieces.push(Piece::Mark(Mark::Quote, prefix));
            }
        }
    }

    fn table(&mut self) {
        let nested = self
            .innermost(|frame| matches!(frame.tag.as_str(), "td" | "th"))
            .is_some();
        let store = self.top().store && !nested;
        if store {
            self.begin(true);
        }
        let frame = Frame {
            store: false,
            kind: Kind::Table { store, rows: 0 },
            ..self.inside("table")
        };
        self.push(frame);
    }

    fn row(&mut self) {
        self.end_open_row();
        let (in_table, store) = match self.top().kind {
            Kind::Table { store, .. } => (true, store),
            _ => (false, self.top().store),
        };
        let frame = Frame {
            store: false,
            kind: Kind::Row {
                cells: Vec::new(),
                in_table,
                store,
            },
            ..self.inside("tr")
        };
        self.push(frame);
    }

    /// A cell of a row; false when no row is open.
    fn cell(&mut self, name: &str) -> bool {
        self.end_open_cell();
        let Kind::Row { store, .. } = self.top().kind else {
            return false;
        };
        let frame = Frame {
            store,
            kind: Kind::Cell {
                start: self.pieces.len(),
            },
            ..self.inside(name)
        };
        self.push(frame);
        true
    }

    fn other(&mut self, name: &str, href: Option<&str>) {
        let outer = self.top().store;
        let frame = self.inside(name);
        let quotes_and_lists = frame.clone();
        if matches!(name, "code" | "pre" | "samp") {
            self.push(Frame {
                kind: Kind::Code(String::new()),
                ..frame
            });
        } else if name == "body" {
            let store = !frame.hidden;
            self.push(Frame { store, ..frame });
        } else if is_hidden(name) {
            self.push(Frame {
                store: false,
                hidden: true,
                ..frame
            });
        }
        if !outer {
            return;
        }
        if BLOCKS.contains(&name) {
            self.begin(PARAGRAPHS.contains(&name));
        }
        match name {
            "br" => {
                let (prefix, _) = self.prefix();
                self.emit(format!("  \n{prefix}"));
            }
            "hr" => {
                self.begin(true);
                self.emit("---");
                self.pieces.push(Piece::End);
            }
            "strong" | "b" => self.emphasis(quotes_and_lists, "**"),
            "em" | "i" => self.emphasis(quotes_and_lists, "*"),
            "a" => {
                if let Some(address) = href.map(address) {
                    let frame = Frame {
                        kind: Kind::Link(address),
                        ..quotes_and_lists
                    };
                    if self.push(frame) {
                        self.emit("[");
                    }
                }
            }
            _ => {
                if let Some(level) = heading(name) {
                    self.emit(format!("{} ", "#".repeat(level)));
                }
            }
        }
    }

    fn emphasis(&mut self, frame: Frame, mark: &'static str) {
        let kind = Kind::Emphasis {
            mark,
            opened: self.written,
            start: self.pieces.len(),
            written: false,
        };
        if self.push(Frame { kind, ..frame }) {
            self.pieces.push(Piece::Text(mark.to_owned()));
        }
    }
}

fn heading(name: &str) -> Option<usize> {
    let level = name.strip_prefix('h')?.parse().ok()?;
    ((1..=6).contains(&level) && name.len() == 2).then_some(level)
}

/// An address as it may be linked to: `#` instead of one that would run something.
fn address(written: &str) -> String {
    let Some(visible) = safe(written) else {
        return "#".to_owned();
    };
    let mut out = String::with_capacity(visible.len());
    for c in visible.chars() {
        if matches!(c, '\\' | '<' | '>') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Escapes a text so that Markdown shows it as it is.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if "\\`*_~#[]()!<>".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Escapes what would begin a list or be a rule at the beginning of a line.
fn escape_line_start(text: &mut String) {
    let ends = |rest: &str| rest.is_empty() || rest == "\n" || rest.starts_with([' ', '\t']);
    let digits = text.len() - text.trim_start_matches(char::is_numeric).len();
    if digits > 0 && text[digits..].strip_prefix('.').is_some_and(ends) {
        text.insert(digits, '\\');
        return;
    }
    if text.strip_prefix(['-', '+']).is_some_and(ends) {
        text.insert(0, '\\');
        return;
    }
    let trimmed = text.trim_matches(BLANKS);
    let rule = ['-', '='].into_iter().any(|mark| {
        trimmed.starts_with(mark)
            && trimmed.matches(mark).count() >= 3
            && trimmed.chars().all(|c| c == mark || c == ' ' || c == '\t')
    });
    if rule {
        let at = text.len() - text.trim_start_matches(BLANKS).len();
        text.insert(at, '\\');
    }
}
