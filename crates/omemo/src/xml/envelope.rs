//! Stanza content encryption (XEP-0420): the envelope inside messages of [`crate::Version::Omemo2`].

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::Element;
use crate::error::Error;

const NAMESPACE: &str = "urn:xmpp:sce:1";
const CLIENT: &str = "jabber:client";
/// Lengths are padded to a multiple of this number of bytes, then by a random number of characters.
const PAD_BLOCK: usize = 64;
/// Most random characters on top: together with the block at most 200 (XEP-0420, affix element `rpad`).
const PAD_RANDOM: usize = 200 - PAD_BLOCK;

/// Content of a message of [`crate::Version::Omemo2`], before encryption and after decryption.
///
/// ```
/// use omemo::xml::Envelope;
/// # let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
///
/// let bytes = Envelope::text("alice@example.org", "hello").to_bytes(&mut rng);
/// let envelope = Envelope::from_bytes(&bytes)?;
/// envelope.check("alice@example.org", None)?;
/// assert_eq!(envelope.body().as_deref(), Some("hello"));
/// # Ok::<(), omemo::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Elements of the message that only recipients may see: body, subject, and others.
    pub content: Vec<Element>,
    /// Bare JID of the sender.
    pub from: Option<String>,
    /// Bare JID of the room; messages to a room must have it.
    pub to: Option<String>,
    /// Time of sending as a date and time of XEP-0082.
    pub time: Option<String>,
}

impl Envelope {
    /// Creates an envelope with a body. `from` is the bare JID of the sender.
    pub fn text(from: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            content: vec![Element::new("body", CLIENT).with_text(body)],
            from: Some(from.into()),
            to: None,
            time: None,
        }
    }

    /// Returns the text of the body.
    pub fn body(&self) -> Option<String> {
        self.content
            .iter()
            .find(|element| element.is("body", CLIENT))
            .map(Element::text)
    }

    /// Checks that the envelope belongs to the message it came in. A message that fails must not be shown.
    ///
    /// `from` is the real bare JID of the sender. `room` is the bare JID of the room for a message from a room.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the envelope names another sender or room, or no room for a message from a room.
    pub fn check(&self, from: &str, room: Option<&str>) -> Result<(), Error> {
        let from_fits = self.from.as_deref().is_none_or(|named| named == from);
        let to_fits = match room {
            Some(room) => self.to.as_deref() == Some(room),
            None => true,
        };
        if from_fits && to_fits {
            Ok(())
        } else {
            Err(Error::Malformed("envelope: it names another sender or room"))
        }
    }

    /// Writes the envelope as the content of [`crate::MessageBuilder::new`], with random padding.
    pub fn to_bytes<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> Zeroizing<Vec<u8>> {
        let mut content = Element::new("content", NAMESPACE);
        for element in &self.content {
            content = content.with_child(element.clone());
        }
        let len = content.to_xml().len();
        let mut element = Element::new("envelope", NAMESPACE)
            .with_child(content)
            .with_child(Element::new("rpad", NAMESPACE).with_text(padding(len, rng)));
        for (name, jid) in [("from", &self.from), ("to", &self.to)] {
            if let Some(jid) = jid {
                element = element.with_child(Element::new(name, NAMESPACE).with_attribute("jid", jid));
            }
        }
        if let Some(time) = &self.time {
            element = element.with_child(Element::new("time", NAMESPACE).with_attribute("stamp", time));
        }
        Zeroizing::new(element.to_xml().into_bytes())
    }

    /// Reads the content of a decrypted message. Call [`Envelope::check`] next.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything but an envelope, [`Error::TooLarge`] beyond the limits of [`Element::parse`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        const MALFORMED: Error = Error::Malformed("envelope");
        let text = std::str::from_utf8(bytes).map_err(|_| MALFORMED)?;
        let element = Element::parse(text)?;
        if !element.is("envelope", NAMESPACE) {
            return Err(MALFORMED);
        }
        let content = element.child("content", NAMESPACE).ok_or(MALFORMED)?;
        let attribute = |name, attribute| -> Result<Option<String>, Error> {
            let child = element.child(name, NAMESPACE);
            child
                .map(|child| child.attribute(attribute).map(str::to_owned).ok_or(MALFORMED))
                .transpose()
        };
        Ok(Self {
            content: content.children().cloned().collect(),
            from: attribute("from", "jid")?,
            to: attribute("to", "jid")?,
            time: attribute("time", "stamp")?,
        })
    }
}

/// Returns 0 to 200 random characters for a content of `len` bytes.
fn padding<R: CryptoRng + ?Sized>(len: usize, rng: &mut R) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let fill = (PAD_BLOCK - len % PAD_BLOCK) % PAD_BLOCK;
    // Slightly uneven, which does no harm to a length.
    let extra = usize::from(rng.next_u32().to_le_bytes()[0]) % (PAD_RANDOM + 1);
    let mut bytes = vec![0; fill + extra];
    rng.fill_bytes(&mut bytes);
    bytes
        .into_iter()
        .map(|byte| char::from(LETTERS[usize::from(byte & 63)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sender_and_room_have_to_fit() {
        let mut envelope = Envelope::text("a@x.example", "t");
        assert!(envelope.check("a@x.example", None).is_ok());
        assert!(envelope.check("b@x.example", None).is_err());
        assert!(envelope.check("a@x.example", Some("r@x.example")).is_err());
        envelope.to = Some("r@x.example".to_owned());
        assert!(envelope.check("a@x.example", Some("r@x.example")).is_ok());
        assert!(envelope.check("a@x.example", Some("s@x.example")).is_err());
    }

    #[test]
    fn other_elements_are_refused() {
        for text in [
            "<envelope xmlns='urn:xmpp:sce:0'><content/></envelope>",
            "<envelope xmlns='urn:xmpp:sce:1'/>",
            "<content xmlns='urn:xmpp:sce:1'/>",
            "<envelope xmlns='urn:xmpp:sce:1'><content/><from/></envelope>",
            "text",
        ] {
            assert!(Envelope::from_bytes(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Envelope::from_bytes(&[0xff]).is_err());
        // A body without its namespace is not a body.
        let text = "<envelope xmlns='urn:xmpp:sce:1'><content><body>x</body></content></envelope>";
        assert_eq!(Envelope::from_bytes(text.as_bytes()).unwrap().body(), None);
    }

    proptest! {
        #[test]
        fn envelopes_come_back_and_hide_their_length(body in "[ -~äöü\n\r\t]{0,300}", time: bool) {
            let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
            let mut envelope = Envelope::text("a@x.example", body.clone());
            envelope.to = Some("room@x.example".to_owned());
            envelope.time = time.then(|| "2026-11-29T00:00:00Z".to_owned());
            let bytes = envelope.to_bytes(&mut rng);
            let read = Envelope::from_bytes(&bytes).unwrap();
            prop_assert_eq!(read.body().unwrap(), body);
            prop_assert_eq!((read.from, read.to, read.time), (envelope.from, envelope.to, envelope.time));
        }

        #[test]
        fn padding_is_at_most_200_characters(len in 0usize..10_000) {
            let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
            prop_assert!(padding(len, &mut rng).len() <= 200);
        }
    }
}
