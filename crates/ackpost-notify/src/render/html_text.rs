//! HTML as plain text.

use super::html_links;
use super::html_tokens::{Attribute, Token, tokens};
use crate::url::number::{is_space, trim};

/// Elements that begin and end a line.
const BLOCKS: [&str; 14] = [
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "div", "td", "th", "code", "pre", "label", "li",
];
/// Elements in which blanks mean nothing.
const BLANKS_ONLY: [&str; 10] = [
    "form", "input", "textarea", "select", "ul", "ol", "link", "meta", "html", "head",
];

/// True for an element whose own text is never shown.
pub(super) fn is_hidden(name: &str) -> bool {
    matches!(name, "script" | "style" | "title")
}

/// Treatment of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is kept.
    Kept,
    /// It is kept, unless it is blank.
    NotBlank,
    /// It is kept, unless it is blank, and is its own line: a list outside of its items.
    Line,
    /// It is never shown.
    Hidden,
}

impl Place {
    fn behind(tag: &str) -> Self {
        match tag {
            "ul" | "ol" => Self::Line,
            _ if is_hidden(tag) => Self::Hidden,
            _ if BLANKS_ONLY.contains(&tag) => Self::NotBlank,
            _ => Self::Kept,
        }
    }

    fn keeps(self, text: &str) -> bool {
        match self {
            Self::Kept => true,
            Self::NotBlank | Self::Line => !text.chars().all(is_space),
            Self::Hidden => false,
        }
    }
}

/// Converts HTML to plain text: lines at blocks, `- ` for items, ` >` for quotes, `---` for rules, the address of a link
/// behind its text. Pictures leave nothing.
///
/// ```
/// assert_eq!(ackpost_notify::render::html_to_text("<h1>A</h1><ul><li>b &amp; c</li></ul>"), "A\n- b & c");
/// assert_eq!(ackpost_notify::render::html_to_text("<a href='https://e.org/'>Log</a>"), "Log <https://e.org/>");
/// ```
pub fn html_to_text(html: &str) -> String {
    let mut lines = Lines::default();
    let mut place = Place::Kept;
    let mut link: Option<Link> = None;
    let mut preformatted = 0_usize;
    for token in tokens(html) {
        match token {
            Token::Start { name, attributes } => {
                place = Place::behind(&name);
                if name == "a" {
                    lines.address(link.take());
                    link = Link::of(attributes);
                }
                if BLOCKS.contains(&name.as_str()) {
                    lines.break_line();
                }
                match name.as_str() {
                    "li" => lines.push("- "),
                    "br" => lines.push("\n"),
                    "hr" => lines.rule(),
                    "blockquote" => lines.push(" >"),
                    "pre" => preformatted += 1,
                    _ => {}
                }
            }
            Token::End { name } => {
                place = Place::Kept;
                if name == "a" {
                    lines.address(link.take());
                }
                if BLOCKS.contains(&name.as_str()) {
                    lines.break_line();
                }
                if name == "pre" {
                    preformatted = preformatted.saturating_sub(1);
                }
            }
            Token::Text(text) if place.keeps(&text) => {
                if let Some(link) = &mut link {
                    link.text.push_str(&text);
                }
                if place == Place::Line {
                    lines.break_line();
                    lines.push(&collapse(&text));
                    lines.break_line();
                } else if preformatted > 0 {
                    lines.push(&text.replace("\r\n", "\n").replace('\r', "\n"));
                } else {
                    lines.push(&collapse(&text));
                }
            }
            Token::Text(_) => {}
        }
    }
    lines.address(link);
    lines.finish()
}

/// An open link.
struct Link {
    address: String,
    text: String,
}

impl Link {
    fn of(attributes: Vec<Attribute>) -> Option<Self> {
        let (_, address) = attributes.into_iter().find(|(name, _)| name == "href")?;
        Some(Self {
            address: address?,
            text: String::new(),
        })
    }
}

/// Runs of blanks become one.
pub(super) fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blank = false;
    for c in text.chars() {
        if is_space(c) {
            if !blank {
                out.push(' ');
            }
            blank = true;
        } else {
            out.push(c);
            blank = false;
        }
    }
    out
}

#[derive(Default)]
struct Lines {
    done: Vec<String>,
    open: Option<String>,
    /// Start of the last piece of the open line.
    last: usize,
}

impl Lines {
    fn push(&mut self, text: &str) {
        let line = self.open.get_or_insert_default();
        self.last = line.len();
        line.push_str(text);
    }

    /// The address of a link, unless its text shows it already.
    fn address(&mut self, link: Option<Link>) {
        let Some(link) = link else { return };
        let Some(address) = html_links::shown(&link.address, &link.text) else {
            return;
        };
        let blank = self
            .open
            .as_ref()
            .is_none_or(|line| line.is_empty() || line.ends_with(is_space));
        self.push(&if blank {
            format!("<{address}>")
        } else {
            format!(" <{address}>")
        });
    }

    /// A rule; blanks at the end of the piece in front of it are dropped.
    fn rule(&mut self) {
        let line = self.open.get_or_insert_default();
        let start = self.last.min(line.len());
        line.truncate(start + line[start..].trim_end_matches(' ').len());
        self.push("\n---\n");
    }

    /// Ends the line; ends that follow each other directly count once.
    fn break_line(&mut self) {
        if let Some(line) = self.open.take() {
            self.done.push(trim(&line).to_owned());
        }
    }

    fn finish(mut self) -> String {
        self.break_line();
        trim(&self.done.join("\n")).to_owned()
    }
}
