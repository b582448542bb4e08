//! The order of things: escapes, emoji, conversion, trimming, title merge, overflow.

use std::borrow::Cow;
use std::sync::Arc;

use crate::message::{Format, Kind, Message, Overflow};
use crate::problem::Diagnostic;
use crate::text::{Text, Whole};
use crate::url::number::{is_space, trim};

use super::limits::Limits;
use super::overflow::{self, Markup};
use super::{
    emojis, escapes, html_to_markdown, html_to_text, markdown_to_html, text_to_html, text_to_markdown,
};

/// Rules of one service for the texts of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenderOptions {
    /// The format that the service shows.
    pub format: Format,
    /// The handling of a text that is longer than the limits.
    pub overflow: Overflow,
    /// Emoji short codes become emoji.
    pub emojis: bool,
    /// `emojis` is in the URL.
    pub emojis_written: bool,
}

/// One piece of text as it is handed to the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The subject, for services that carry one apart from the body; else empty.
    pub title: String,
    /// The text.
    pub body: Text,
    /// The same text as XHTML-IM body content (XMPP with `format=html`, D20).
    pub xhtml: Option<String>,
    /// Text behind this piece was cut off (`overflow=truncate`).
    pub cut: bool,
    /// The end of the title was cut off. Set at the first piece of a message.
    pub title_cut: bool,
    /// The format of the text.
    pub format: Format,
    /// Subject of the message.
    pub kind: Kind,
    /// The format that the message declares, for services that render it themselves
    /// ([`ServiceKind::takes_source`](crate::ServiceKind::takes_source)).
    pub declared: Option<Format>,
    /// Number of gateways that the message went through.
    pub hops: u32,
}

impl Chunk {
    /// Length of the body in Unicode code points, the unit of every limit here.
    pub fn chars(&self) -> usize {
        self.body.chars().count()
    }
}

/// Renders a message for a service. No chunk means that there is nothing to say; blank pieces are left out (D22).
///
/// # Errors
/// An escape in the message is not valid, or nothing of it is left in the format of the service.
pub fn render(options: RenderOptions, limits: Limits, message: &Message) -> Result<Vec<Chunk>, Diagnostic> {
    chunks(options, limits, message, None)
}

/// Renders a message as [`render`] does. A body that nothing changes is not copied; its pieces share the message's
/// memory.
///
/// # Errors
/// See [`render`].
pub fn render_shared(
    options: RenderOptions,
    limits: Limits,
    message: &Arc<Message>,
) -> Result<Vec<Chunk>, Diagnostic> {
    chunks(options, limits, message, Some(Whole::Body(Arc::clone(message))))
}

/// Returns a message as it was written, as one chunk, for a service that renders it itself. Escapes and the emoji that the
/// message asks for are settled; nothing is converted, trimmed or cut.
pub(crate) fn unrendered(message: &Message) -> Result<Vec<Chunk>, Diagnostic> {
    let (mut title, mut body) = (message.title.clone(), message.body.clone());
    if message.interpret_escapes {
        title = unescape(&title)?;
        body = unescape(&body)?;
    }
    if message.interpret_emojis == Some(true) {
        title = emojis(&title);
        body = emojis(&body);
    }
    if message.attachments.is_empty() && title.trim().is_empty() && body.trim().is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Chunk {
        title,
        body: body.into(),
        format: message.input_format.unwrap_or_default(),
        kind: message.kind,
        declared: message.input_format,
        hops: message.hops,
        ..Chunk::default()
    }])
}

/// `whole` is the message's body, when it may be shared.
fn chunks(
    options: RenderOptions,
    limits: Limits,
    message: &Message,
    whole: Option<Whole>,
) -> Result<Vec<Chunk>, Diagnostic> {
    // Borrowed as long as nothing changes it: bodies may be long.
    let (mut title, mut body) = (
        Cow::Borrowed(message.title.as_str()),
        Cow::Borrowed(message.body.as_str()),
    );
    if message.interpret_escapes {
        title = unescape(&title)?.into();
        body = unescape(&body)?.into();
    }
    if with_emojis(options, message) {
        title = emojis(&title).into();
        body = emojis(&body).into();
    }
    let merged = limits.title == 0;
    let given = !body.chars().all(is_space);
    body = convert(message.input_format, options.format, body);
    if given && body.chars().all(is_space) {
        return Err(nothing_left(message.input_format, options.format));
    }
    if merged {
        title = convert(message.input_format, options.format, title);
    }
    let mut title = trim(&title).to_owned();
    // Only what nothing has changed yet is a part of the message.
    let whole = match (&body, whole) {
        (Cow::Borrowed(_), Some(whole)) => whole,
        _ => Whole::Text(Arc::default()),
    };
    let blanks = merged && !body.is_empty();
    let mut body = Cow::Borrowed(body.trim_end_matches(is_space));
    if body.is_empty() && !title.is_empty() && !blanks {
        // A title alone is the message (D22); one above blanks is merged with them.
        body = std::mem::take(&mut title).into();
    }
    if merged && !title.is_empty() {
        body = merge(&title, &body, options.format, message.input_format).into();
        title.clear();
    }
    let markup = Markup {
        format: options.format,
        declared: message.input_format.is_some(),
        input: message.input_format,
    };
    let mut chunks = overflowed(options.overflow, limits, title, &body, markup, &whole);
    chunks.retain(|chunk| !chunk.body.chars().all(is_space));
    for (number, chunk) in chunks.iter_mut().enumerate() {
        // It is said once.
        chunk.title_cut &= number == 0;
        chunk.format = options.format;
        chunk.kind = message.kind;
        chunk.hops = message.hops;
    }
    Ok(chunks)
}

/// A text of which a conversion leaves nothing.
fn nothing_left(from: Option<Format>, to: Format) -> Diagnostic {
    let from = from.unwrap_or_default();
    Diagnostic::error(
        format!("nothing is left of the body when {from} becomes {to}"),
        format!("write a body whose markup leaves text, or send it as it is with --input-format {to}"),
    )
    .key("body")
}

fn unescape(text: &str) -> Result<String, Diagnostic> {
    escapes(text).ok_or_else(|| {
        Diagnostic::error(
            "an escape is half of a surrogate pair, which a message cannot contain",
            "write the character itself, or \\U with its eight digits",
        )
    })
}

fn with_emojis(options: RenderOptions, message: &Message) -> bool {
    match message.interpret_emojis {
        Some(true) => options.emojis || !options.emojis_written,
        Some(false) => false,
        None => options.emojis,
    }
}

fn convert(from: Option<Format>, to: Format, text: Cow<'_, str>) -> Cow<'_, str> {
    match (from, to) {
        (Some(Format::Text), Format::Html) => text_to_html(&text).into(),
        (Some(Format::Text), Format::Markdown) => text_to_markdown(&text).into(),
        (Some(Format::Markdown), Format::Html) => markdown_to_html(&text).into(),
        (Some(Format::Html), Format::Text) => html_to_text(&text).into(),
        (Some(Format::Html), Format::Markdown) => html_to_markdown(&text).into(),
        _ => text,
    }
}

fn merge(title: &str, body: &str, format: Format, input: Option<Format>) -> String {
    match format {
        Format::Html => format!("<b>{title}</b><br />\r\n{body}"),
        Format::Markdown if input.is_some() => {
            let title = title.trim_start_matches(['\r', '\n', ' ', '\t', '\u{b}', '\u{c}', '#', '-']);
            if title.is_empty() {
                body.to_owned()
            } else {
                format!("# {title}\n{body}")
            }
        }
        _ => format!("{title}\r\n{body}"),
    }
}

fn overflowed(
    overflow: Overflow,
    limits: Limits,
    mut title: String,
    body: &str,
    markup: Markup,
    whole: &Whole,
) -> Vec<Chunk> {
    let text = |piece: Cow<'_, str>| match piece {
        Cow::Borrowed(piece) => whole.piece(piece),
        Cow::Owned(piece) => piece.into(),
    };
    if overflow == Overflow::Upstream {
        return vec![Chunk {
            title,
            body: text(body.into()),
            ..Chunk::default()
        }];
    }
    let mut title_cut = false;
    if limits.title > 0 && title.chars().count() > limits.title {
        title = title.chars().take(limits.title).collect();
        title.truncate(title.trim_end_matches(is_space).len());
        title_cut = true;
    }
    if overflow == Overflow::Truncate {
        return vec![Chunk {
            title,
            body: text(overflow::truncate(body, limits, markup)),
            cut: !limits.fits(body),
            title_cut,
            ..Chunk::default()
        }];
    }
    let pieces = overflow::pieces(body, limits, markup);
    let count = pieces.len();
    let digits = count.to_string().len();
    let counter = 4 + 2 * digits;
    if title.is_empty() || count < 2 || counter > 12 {
        return pieces
            .into_iter()
            .map(|body| Chunk {
                title: title.clone(),
                body: text(body),
                title_cut,
                ..Chunk::default()
            })
            .collect();
    }
    let room = limits.title.saturating_sub(counter);
    if title.chars().count() > room {
        title = title.chars().take(room).collect();
        title_cut = true;
    }
    pieces
        .into_iter()
        .enumerate()
        .map(|(n, body)| Chunk {
            title: format!("{title} [{:0digits$}/{count:0digits$}]", n + 1),
            body: text(body),
            title_cut,
            ..Chunk::default()
        })
        .collect()
}
