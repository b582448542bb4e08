//! What would be sent where: pure, no network.

use std::sync::Arc;

use crate::entry::Entry;
use crate::message::Message;
use crate::problem::Diagnostic;
use crate::render;
use crate::service::{Chunk, Service, Target};

/// What one service would be handed.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Where to, in order. Every target gets every chunk.
    pub targets: Vec<Target>,
    /// What, in order, exactly as handed to the wire.
    pub chunks: Vec<Chunk>,
}

/// Renders a message for a service: escapes, emoji, conversion, trimming, title merge, overflow. Pure.
///
/// ```
/// use ackpost_notify::{Context, Message, Service, prepare};
///
/// let service = Service::parse("xmpps://u:p@example.org/jane/#ops@conf.example.org", &Context::default())?;
/// let prepared = prepare(&service, &Message::new("disk full").title("db1"))?;
/// assert_eq!(prepared.targets.len(), 2);
/// assert_eq!(prepared.chunks[0].body, "db1\r\ndisk full");
/// # Ok::<(), ackpost_notify::Diagnostic>(())
/// ```
pub fn prepare(service: &Service, message: &Message) -> Result<Prepared, Diagnostic> {
    let chunks = render::render(service.common().rendering(), service.limits(), message)?;
    prepared(service, message, chunks)
}

/// The same without a copy: the pieces of a message that is sent as it stands are windows into it.
pub fn prepare_shared(service: &Service, message: &Arc<Message>) -> Result<Prepared, Diagnostic> {
    let chunks = render::render_shared(service.common().rendering(), service.limits(), message)?;
    prepared(service, message, chunks)
}

fn prepared(service: &Service, message: &Message, chunks: Vec<Chunk>) -> Result<Prepared, Diagnostic> {
    let endpoint = service.endpoint();
    let chunks = endpoint.finish(service.common(), chunks, message.input_format);
    // What a conversion swallows is no message: that the rest arrived would not be the truth.
    if chunks
        .iter()
        .any(|chunk| endpoint.is_blank(service.common(), chunk))
    {
        return Err(Diagnostic::error(
            format!(
                "a part of the message shows no text when it is sent as {}",
                service.common().format
            ),
            "write text that can be shown, or choose another ?format=",
        )
        .key("body"));
    }
    if chunks.is_empty() && message.attachments.is_empty() {
        return Err(Diagnostic::error(
            "there is nothing to send: title and body are empty",
            "give a body or a title",
        ));
    }
    Ok(Prepared {
        targets: service.targets(),
        chunks,
    })
}

/// What a message would become at every service that a filter chooses.
#[derive(Debug)]
pub struct Plan<'a> {
    /// One entry per service, in order.
    pub services: Vec<Planned<'a>>,
    /// Templates that could not be resolved.
    pub problems: Vec<Diagnostic>,
}

/// One service of a [`Plan`].
#[derive(Debug)]
pub struct Planned<'a> {
    /// The entry it came from.
    pub entry: &'a Entry,
    /// The service, a template resolved.
    pub service: Service,
    /// What it would be handed, or why nothing.
    pub prepared: Result<Prepared, Diagnostic>,
}
