//! Markdown as message styling (XEP-0393): the marks that clients show as bold, italic, code, quotes.

use std::fmt::Write as _;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Markdown (CommonMark with strikethrough) as a body with message styling.
///
/// `**bold**` becomes `*bold*`, `*italic*` becomes `_italic_`, headings become bold lines, links
/// `text <address>`, pictures `text <address>`; quotes, code and fenced code keep their marks.
///
/// ```
/// assert_eq!(
///     ackpost_xmpp::styling_from_markdown("# Up\n\n**all** is *well*, see [here](https://x.y)"),
///     "*Up*\n\n*all* is _well_, see here <https://x.y>"
/// );
/// ```
pub fn styling_from_markdown(markdown: &str) -> String {
    let mut writer = StylingWriter::default();
    for event in Parser::new_ext(markdown, Options::ENABLE_STRIKETHROUGH) {
        writer.take(event);
    }
    writer.out.trim_end().to_owned()
}

#[derive(Default)]
struct StylingWriter {
    out: String,
    /// Depth of quotes.
    quotes: usize,
    /// The next number of each list around us; `None` for bullets.
    lists: Vec<Option<u64>>,
    /// Addresses to write behind the text of links.
    links: Vec<(String, usize)>,
    /// Inside a heading, which is bold as a whole.
    heading: bool,
    code_block: bool,
    /// The item just opened needs no new line.
    fresh_item: bool,
}

impl StylingWriter {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(end) => self.end(end),
            Event::Text(text) => self.text(&text),
            Event::Code(code) => {
                self.out.push('`');
                self.out.push_str(&code);
                self.out.push('`');
            }
            Event::SoftBreak | Event::HardBreak => self.new_line(),
            Event::Rule => {
                self.block();
                self.out.push_str("———");
            }
            Event::Html(html) | Event::InlineHtml(html) => self.text(&html),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph => self.block(),
            Tag::Heading { .. } => {
                self.block();
                self.heading = true;
                self.out.push('*');
            }
            Tag::BlockQuote(_) => {
                // The mark is written by the block inside.
                if self.quotes == 0 {
                    self.gap();
                }
                self.quotes += 1;
            }
            Tag::CodeBlock(kind) => {
                self.block();
                self.code_block = true;
                self.out.push_str("```");
                if let CodeBlockKind::Fenced(language) = kind {
                    self.out.push_str(&language);
                }
                self.new_line();
            }
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.gap();
                }
                self.lists.push(first);
            }
            Tag::Item => {
                if !self.out.is_empty() && !self.out.ends_with('\n') {
                    self.out.push('\n');
                }
                self.quote_marks();
                let depth = self.lists.len().saturating_sub(1);
                self.out.push_str(&"  ".repeat(depth));
                match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let _ = write!(self.out, "{number}. ");
                        *number += 1;
                    }
                    _ => self.out.push_str("- "),
                }
                self.fresh_item = true;
            }
            Tag::Emphasis => self.out.push('_'),
            // Nothing is bolder than bold.
            Tag::Strong if self.heading => {}
            Tag::Strong => self.out.push('*'),
            Tag::Strikethrough => self.out.push('~'),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.links.push((dest_url.into_string(), self.out.len()));
            }
            _ => {}
        }
    }

    fn end(&mut self, end: TagEnd) {
        match end {
            TagEnd::Heading(_) => {
                self.heading = false;
                self.out.push('*');
            }
            TagEnd::BlockQuote(_) => self.quotes = self.quotes.saturating_sub(1),
            TagEnd::CodeBlock => {
                self.code_block = false;
                if !self.out.ends_with('\n') && !self.out.ends_with("> ") {
                    self.new_line();
                }
                self.out.push_str("```");
            }
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::Item => self.fresh_item = false,
            TagEnd::Emphasis => self.out.push('_'),
            TagEnd::Strong if self.heading => {}
            TagEnd::Strong => self.out.push('*'),
            TagEnd::Strikethrough => self.out.push('~'),
            TagEnd::Link | TagEnd::Image => {
                if let Some((address, at)) = self.links.pop() {
                    let text = self.out.get(at..).unwrap_or_default().to_owned();
                    if text.is_empty() {
                        self.out.push_str(&address);
                    } else if text != address && Some(text.as_str()) != address.strip_prefix("mailto:") {
                        let _ = write!(self.out, " <{address}>");
                    }
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        // The last line end of a code block belongs to the fence.
        let text = if self.code_block {
            text.strip_suffix('\n').unwrap_or(text)
        } else {
            text
        };
        for (number, line) in text.split('\n').enumerate() {
            if number > 0 {
                self.new_line();
            }
            self.out.push_str(line);
        }
    }

    /// A block begins: on its own line, one empty line below what came before.
    fn block(&mut self) {
        if std::mem::take(&mut self.fresh_item) {
            return;
        }
        self.gap();
        self.quote_marks();
        if !self.lists.is_empty() {
            self.out.push_str(&"  ".repeat(self.lists.len()));
        }
    }

    fn gap(&mut self) {
        if self.out.is_empty() {
            return;
        }
        while self.out.ends_with('\n') {
            self.out.pop();
        }
        self.out.push('\n');
        if self.quotes > 0 {
            self.quote_marks();
        }
        self.out.push('\n');
    }

    fn new_line(&mut self) {
        self.out.push('\n');
        self.quote_marks();
        if !self.lists.is_empty() {
            self.out.push_str(&"  ".repeat(self.lists.len()));
        }
    }

    fn quote_marks(&mut self) {
        for _ in 0..self.quotes {
            self.out.push_str("> ");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::styling_from_markdown as styled;

    #[test]
    fn marks_are_mapped() {
        assert_eq!(styled("**a** *b* ~~c~~ `d*` [e](https://f) ![g](https://h)"), {
            "*a* _b_ ~c~ `d*` e <https://f> g <https://h>"
        });
        assert_eq!(styled("<https://a.b>"), "https://a.b");
        assert_eq!(styled("# A **b**\ntext\n\nmore"), "*A b*\n\ntext\n\nmore");
    }

    #[test]
    fn blocks_keep_their_shape() {
        assert_eq!(
            styled("- a\n- b\n  - c\n\n1. d\n2. e"),
            "- a\n- b\n  - c\n\n1. d\n2. e"
        );
        assert_eq!(styled("> a\n> b\n\nc"), "> a\n> b\n\nc");
        assert_eq!(
            styled("```rust\nlet a;\n\nlet b;\n```\nafter"),
            "```rust\nlet a;\n\nlet b;\n```\n\nafter"
        );
        assert_eq!(styled("a\n\n---\n\nb"), "a\n\n———\n\nb");
    }

    proptest! {
        #[test]
        fn any_text_can_be_styled(text in "[a-z *_`~>#\\n\\[\\]()<!-]{0,80}") {
            styled(&text);
        }
    }
}
