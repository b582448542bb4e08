//! Markdown as HTML: CommonMark with tables and hard line breaks (D31).

use pulldown_cmark::{Event, Options, Parser, html};

/// Converts Markdown to HTML. Every line end inside a paragraph is a line break.
///
/// ```
/// assert_eq!(ackpost_notify::render::markdown_to_html("a\n*b*"), "<p>a<br />\n<em>b</em></p>");
/// ```
pub fn markdown_to_html(text: &str) -> String {
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).map(|event| match event {
        Event::SoftBreak => Event::HardBreak,
        other => other,
    });
    let mut out = String::with_capacity(text.len() * 2);
    html::push_html(&mut out, events);
    out.truncate(out.trim_end().len());
    out
}
