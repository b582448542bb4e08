//! Plan of the pieces and their targets, made without the network.

use std::sync::Arc;

use crate::message::Message;
use crate::problem::Diagnostic;
use crate::render::{self, Chunk};
use crate::service::loaded::ServiceUrl;
use crate::service::target::Target;

/// Chunks and targets that one service would be handed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Prepared {
    /// Targets, in order. Every target gets every chunk.
    pub targets: Vec<Target>,
    /// Chunks, in order, exactly as handed to the wire.
    pub chunks: Vec<Chunk>,
}

/// Renders a message for a service: escapes, emoji, conversion, trimming, title merge, overflow. Pure.
///
/// # Errors
/// The message is empty, an escape in it is not valid, or a part of it shows no text in the format of the
/// service.
///
/// ```
/// use ackpost_notify::{Context, Message, ServiceUrl, prepare};
///
/// let service = ServiceUrl::parse("xmpps://u:p@example.org/jane/#ops@conf.example.org", &Context::default())?;
/// let prepared = prepare(&service, &Message::new("disk full").title("db1"))?;
/// assert_eq!(prepared.targets.len(), 2);
/// assert_eq!(prepared.chunks[0].body, "db1\r\ndisk full");
/// # Ok::<(), ackpost_notify::Diagnostic>(())
/// ```
pub fn prepare(service: &ServiceUrl, message: &Message) -> Result<Prepared, Diagnostic> {
    if service.kind().takes_source {
        return prepared(service, message, render::unrendered(message)?);
    }
    let rules = service.common().rendering_of(message.input_format);
    let chunks = render::render(rules, service.limits(), message)?;
    prepared(service, message, chunks)
}

/// Prepares a message as [`prepare`] does, but without a copy: if nothing changes the message, its pieces are windows
/// into it.
///
/// # Errors
/// See [`prepare`].
pub fn prepare_shared(service: &ServiceUrl, message: &Arc<Message>) -> Result<Prepared, Diagnostic> {
    if service.kind().takes_source {
        return prepared(service, message, render::unrendered(message)?);
    }
    let rules = service.common().rendering_of(message.input_format);
    let chunks = render::render_shared(rules, service.limits(), message)?;
    prepared(service, message, chunks)
}

fn prepared(service: &ServiceUrl, message: &Message, chunks: Vec<Chunk>) -> Result<Prepared, Diagnostic> {
    let chunks = service.service().convert(service.common(), chunks);
    // If the conversion leaves a part without text, the message is refused: reporting the rest as the message would be
    // wrong.
    if chunks
        .iter()
        .any(|chunk| service.service().is_blank(service.common(), chunk))
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
