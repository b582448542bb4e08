//! HTML as plain text.

use super::html_tokens::{Token, tokens};
use crate::url::number::{is_space, trim};

/// Elements that begin and end a line.
const BLOCKS: [&str; 14] = [
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "div", "td", "th", "code", "pre", "label", "li",
];
/// Elements whose own text is left out, up to the next tag of any kind.
pub(super) const SILENT: [&str; 12] = [
    "form", "input", "textarea", "select", "ul", "ol", "style", "link", "meta", "title", "html", "head",
];

/// True for an element whose own text is left out.
pub(super) fn is_silent(name: &str) -> bool {
    name == "script" || SILENT.contains(&name)
}

/// Converts HTML to plain text: lines at blocks, `- ` for items, ` >` for quotes, `---` for rules; links and pictures
/// leave their text only.
///
/// ```
/// assert_eq!(notify::render::html_to_text("<h1>A</h1><ul><li>b &amp; c</li></ul>"), "A\n- b & c");
/// ```
pub fn html_to_text(html: &str) -> String {
    let mut lines = Lines::default();
    let mut stored = true;
    let mut preformatted = 0_usize;
    for token in tokens(html) {
        match token {
            Token::Start { name, .. } => {
                stored = !is_silent(&name);
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
                stored = true;
                if BLOCKS.contains(&name.as_str()) {
                    lines.break_line();
                }
                if name == "pre" {
                    preformatted = preformatted.saturating_sub(1);
                }
            }
            Token::Text(text) if stored => {
                if preformatted > 0 {
                    lines.push(&text.replace("\r\n", "\n").replace('\r', "\n"));
                } else {
                    lines.push(&collapse(&text));
                }
            }
            Token::Text(_) => {}
        }
    }
    lines.finish()
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
    /// Where the last piece of the open line begins.
    last: usize,
}

impl Lines {
    fn push(&mut self, text: &str) {
        let line = self.open.get_or_insert_default();
        self.last = line.len();
        line.push_str(text);
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
