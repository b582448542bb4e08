//! Destination of the events of a session.

use super::event::{Event, Received};
use super::queue::{QueueSender, Weighed};
#[cfg(feature = "omemo")]
use super::refer::ArchivePlace;
#[cfg(feature = "omemo")]
use crate::jid::Jid;
#[cfg(feature = "omemo")]
use crate::xml::Element;
#[cfg(feature = "omemo")]
use ::omemo::DeviceList;

/// Something on its way to the owner of the session.
#[cfg(feature = "omemo")]
pub(super) enum Arrived {
    Event(Box<Event>),
    Encrypted(Box<EncryptedStanza>),
    /// A device list has changed.
    Devices {
        of: Jid,
        list: DeviceList,
    },
}

/// An encrypted message with its data from the connection.
#[cfg(feature = "omemo")]
pub(super) struct EncryptedStanza {
    pub(super) message: Element,
    /// Real bare address of the sender; `None` if the room does not show it.
    pub(super) sender: Option<Jid>,
    pub(super) room: Option<Jid>,
    pub(super) nick: Option<String>,
    pub(super) archive: Option<ArchivePlace>,
    pub(super) stamp: Option<String>,
    pub(super) from_archive: bool,
}

/// The way of the events to their owner.
pub(super) enum Outlet {
    Direct(QueueSender<Event>),
    /// Encrypted messages are decrypted on the way.
    #[cfg(feature = "omemo")]
    Decrypting(QueueSender<Arrived>),
}

/// Bytes that an item takes beside its texts.
const ITEM_BYTES: usize = 512;

impl Weighed for Event {
    fn weight(&self) -> usize {
        let texts = match self {
            Self::Chat(received)
            | Self::Room(received)
            | Self::Correction(received)
            | Self::File(received) => text_bytes(received),
            Self::Subject { subject, .. } => subject.len(),
            Self::Reaction { to, emoji, .. } => to.len() + emoji.iter().map(String::len).sum::<usize>(),
            _ => 0,
        };
        ITEM_BYTES + texts
    }
}

fn text_bytes(received: &Received) -> usize {
    received.body.len()
        + received.subject.as_ref().map_or(0, String::len)
        + received.files.iter().map(String::len).sum::<usize>()
}

#[cfg(feature = "omemo")]
impl Weighed for Arrived {
    fn weight(&self) -> usize {
        match self {
            Self::Event(event) => event.weight(),
            Self::Encrypted(stanza) => ITEM_BYTES + element_bytes(&stanza.message),
            Self::Devices { list, .. } => ITEM_BYTES + size_of_val(list.devices()),
        }
    }
}

/// About the number of bytes that a tree of elements takes.
#[cfg(feature = "omemo")]
fn element_bytes(element: &Element) -> usize {
    use crate::xml::Node;

    let attributes = element
        .attributes()
        .map(|(name, value)| 64 + name.len() + value.len())
        .sum::<usize>();
    let content = element.nodes().iter().map(|node| match node {
        Node::Element(child) => element_bytes(child),
        Node::Text(text) => 32 + text.len(),
    });
    128 + attributes + content.sum::<usize>()
}

impl Outlet {
    /// Hands an event over, or counts it as lost and returns false when there is no place. When nobody listens any more,
    /// events are dropped.
    pub(super) fn emit(&self, event: Event) -> bool {
        match self {
            Self::Direct(events) => events.put(event),
            #[cfg(feature = "omemo")]
            Self::Decrypting(arrived) => arrived.put(Arrived::Event(Box::new(event))),
        }
    }

    /// Returns true if encrypted messages go in as they are.
    #[cfg(feature = "omemo")]
    pub(super) fn decrypts(&self) -> bool {
        matches!(self, Self::Decrypting(_))
    }
}
