//! Any text as HTML and Markdown: no panic, bounded work, no piece longer than allowed where nothing is repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ackpost_notify::Format;
use ackpost_notify::render::{Markup, html_to_markdown, html_to_text, markdown_to_html, split};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (html_to_text(text), html_to_markdown(text), markdown_to_html(text));
    for format in Format::ALL {
        let markup = Markup { format, declared: true, input: Some(format) };
        let pieces = split(text, 40, markup);
        if format == Format::Text && text.chars().count() > 40 {
            assert!(pieces.iter().all(|piece| piece.chars().count() <= 40));
        }
    }
});
