//! The ends of elements: what was collected inside is written.

use super::super::html_pieces::{BLANKS, Piece, cell, join, longest_run};
use super::super::html_text::is_hidden;
use super::{BLOCKS, Frame, Kind, PARAGRAPHS, STRUCTURE, Writer};
use crate::url::number::trim;

impl Writer {
    pub(super) fn end(&mut self, name: &str) {
        if STRUCTURE.contains(&name) {
            self.close_loose();
        }
        match name {
            "a" => {
                if let Some(Kind::Link(address)) = self.leave("a").map(|frame| frame.kind) {
                    self.emit(format!("](<{address}>)"));
                }
            }
            "ul" | "ol" => {
                if self.leave(name).is_some() && self.top().store {
                    let strong = self.top().tag != "li";
                    self.boundary(strong);
                }
            }
            "li" => self.end_item(),
            "blockquote" => {
                if self.leave(name).is_some() && self.top().store {
                    self.boundary(true);
                }
            }
            "td" | "th" => {
                if self.top().tag == name && matches!(self.top().kind, Kind::Cell { .. }) {
                    self.end_open_cell();
                }
            }
            "tr" => self.end_open_row(),
            "table" => {
                self.end_open_row();
                if self.top().tag == "table" {
                    self.close_top();
                }
            }
            "code" | "pre" | "samp" => {
                let top = self.top();
                if top.store && top.tag == name {
                    self.close_top();
                } else {
                    self.leave(name);
                }
            }
            _ => self.end_other(name),
        }
    }

    fn end_item(&mut self) {
        let Some(at) = self.innermost(|frame| frame.tag == "li") else {
            return;
        };
        let Frame { store, kind, .. } = &self.frames[at];
        let store = *store;
        let filled = store && matches!(kind, Kind::Item { opened } if *opened != self.written);
        if store {
            self.pieces.push(Piece::End);
        }
        self.leave("li");
        let top = self.top();
        if top.list == Some(true) && filled {
            top.counter = top.counter.saturating_add(1);
        }
    }

    fn end_other(&mut self, name: &str) {
        let silent = name == "body" || is_hidden(name);
        let top = self.top();
        if !top.store || matches!(top.kind, Kind::Code(_)) {
            if silent {
                self.leave(name);
            }
            return;
        }
        if BLOCKS.contains(&name) {
            self.boundary(PARAGRAPHS.contains(&name));
        }
        let top = self.top();
        if top.tag == name && matches!(top.kind, Kind::Emphasis { .. }) {
            self.close_top();
        } else if silent {
            self.leave(name);
        }
    }

    /// Ends a cell that is still open, unless a row or a table inside of it is.
    pub(super) fn end_open_cell(&mut self) {
        let Some(at) = self.innermost(|frame| matches!(frame.tag.as_str(), "tr" | "table" | "td" | "th"))
        else {
            return;
        };
        if matches!(self.frames[at].kind, Kind::Cell { .. }) {
            self.frames.truncate(at + 1);
            self.close_top();
        }
    }

    pub(super) fn end_open_row(&mut self) {
        self.end_open_cell();
        if self.top().tag == "tr" {
            self.close_top();
        }
    }

    /// Begins a paragraph for text outside of items and cells; false where text is never shown.
    pub(super) fn open_loose(&mut self) -> bool {
        if self.top().hidden {
            return false;
        }
        let (start, opened) = (self.pieces.len(), self.written);
        let frame = Frame {
            store: true,
            kind: Kind::Loose { start, opened },
            ..self.inside("")
        };
        self.begin(true);
        self.push(frame)
    }

    /// Ends such a paragraph, if one is open.
    pub(super) fn close_loose(&mut self) {
        if let Some(at) = self.innermost(|frame| matches!(frame.kind, Kind::Loose { .. })) {
            while self.frames.len() > at {
                self.close_top();
            }
        }
    }

    /// Nothing remains of a paragraph without text. A table goes on below the text with its own head.
    fn end_loose(&mut self, start: usize, opened: u64) {
        if self.written == opened {
            self.pieces.truncate(start);
            return;
        }
        self.boundary(true);
        for frame in &mut self.frames {
            if let Kind::Table { rows, .. } = &mut frame.kind {
                *rows = 0;
            }
        }
    }

    /// Ends the innermost element and writes what it has collected.
    fn close_top(&mut self) {
        if self.frames.len() < 2 {
            return;
        }
        let Some(frame) = self.frames.pop() else { return };
        match frame.kind {
            Kind::Emphasis {
                mark, opened, start, ..
            } => self.close_emphasis(mark, opened, start),
            Kind::Code(code) if frame.store => self.close_code(&frame.tag, &code),
            Kind::Plain | Kind::Item { .. } | Kind::Link(_) | Kind::Code(_) => {}
            Kind::Loose { start, opened } => self.end_loose(start, opened),
            Kind::Cell { start } => {
                // The cells of a table inside a cell are text of that cell.
                if frame.store {
                    let pieces = self.pieces.split_off(start.min(self.pieces.len()));
                    if let Kind::Row { cells, .. } = &mut self.top().kind {
                        cells.push(cell(&join(&pieces)));
                    }
                }
            }
            Kind::Row { cells, in_table, .. } => self.close_row(&cells, in_table),
            Kind::Table { store, rows } => {
                if self.top().store && !(rows == 0 && store) {
                    self.boundary(true);
                }
            }
        }
    }

    /// The mark behind a text, blanks outside of it; nothing at all where nothing was written.
    fn close_emphasis(&mut self, mark: &str, opened: u64, start: usize) {
        if self.written == opened {
            self.pieces.truncate(start);
            return;
        }
        let mut tail = String::new();
        while let Some(Piece::Text(last)) = self.pieces.last_mut() {
            let kept = last.trim_end_matches(BLANKS).len();
            if kept == last.len() {
                break;
            }
            tail.insert_str(0, &last[kept..]);
            last.truncate(kept);
            if kept > 0 {
                break;
            }
            self.pieces.pop();
        }
        self.emit(mark);
        if !tail.is_empty() {
            self.pieces.push(Piece::Text(tail));
        }
    }

    fn close_code(&mut self, tag: &str, code: &str) {
        let run = longest_run(code) + 1;
        if tag == "code" {
            let marks = "`".repeat(run);
            let pad = if code.is_empty() || code.starts_with('`') || code.ends_with('`') {
                " "
            } else {
                ""
            };
            self.emit(format!("{marks}{pad}{code}{pad}{marks}"));
            return;
        }
        let fence = "`".repeat(run.max(3));
        let (prefix, mark) = self.prefix();
        let code = code.replace('\n', &format!("\n{prefix}"));
        for line in [fence.clone(), code] {
            self.emit(line);
            self.pieces.push(Piece::End);
            if !prefix.is_empty() {
                self.pieces.push(Piece::Mark(mark, prefix.clone()));
            }
        }
        self.emit(fence);
        self.pieces.push(Piece::End);
    }

    fn close_row(&mut self, cells: &[String], in_table: bool) {
        if cells.is_empty() {
            return;
        }
        let mut first = true;
        if in_table && let Kind::Table { rows, .. } = &mut self.top().kind {
            first = *rows == 0;
            *rows += 1;
        }
        self.begin(false);
        self.emit(format!("| {} |", cells.join(" | ")));
        if first {
            self.boundary(false);
            self.emit(format!("| {} |", vec!["---"; cells.len()].join(" | ")));
        }
        if !in_table {
            self.boundary(true);
        }
    }

    pub(super) fn finish(mut self) -> String {
        while self.frames.len() > 1 {
            self.close_top();
        }
        trim(&join(&self.pieces)).to_owned()
    }
}
