//! From a message to chunks: escapes, emoji, conversion, trimming, title merge, overflow. Pure.

use crate::message::Message;
use crate::service::{Chunk, Common, Limits};

/// Renders a message.
pub fn render(_common: &Common, _limits: Limits, message: &Message) -> Vec<Chunk> {
    let body = if message.title.is_empty() {
        message.body.clone()
    } else {
        format!("{}\r\n{}", message.title, message.body)
    };
    if body.is_empty() {
        Vec::new()
    } else {
        vec![Chunk {
            title: String::new(),
            body,
            xhtml: None,
        }]
    }
}
/// HTML to text.
pub fn html_to_text(html: &str) -> String {
    html.to_owned()
}
/// HTML to XHTML-IM.
pub fn xhtml(html: &str) -> String {
    html.to_owned()
}
