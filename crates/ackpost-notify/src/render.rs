//! From a message to chunks: escapes, emoji, conversion, trimming, title merge, overflow. Pure.

mod emoji;
mod emoji_table;
mod entities;
mod escape;
mod html_links;
mod html_markdown;
mod html_pieces;
mod html_text;
mod html_tokens;
mod limits;
mod markdown_emphasis;
mod markdown_html;
mod markdown_marks;
mod markdown_repair;
mod overflow;
mod pipeline;
mod text_markup;

pub use emoji::emojis;
pub use escape::escapes;
pub use html_markdown::html_to_markdown;
pub use html_text::html_to_text;
pub use limits::{Limits, Measure};
pub use markdown_html::markdown_to_html;
pub(crate) use overflow::pieces_within;
pub use overflow::{Markup, split};
pub(crate) use pipeline::unrendered;
pub use pipeline::{Chunk, RenderOptions, render, render_shared};
pub use text_markup::{text_to_html, text_to_markdown};
