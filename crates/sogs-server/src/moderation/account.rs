//! The server's own account: the key pair that signs notices, whispers and nothing else.

use blake2::{Blake2b256, Digest as _};
use bytes::Bytes;
use session_protocol::content::{AttachmentPointer, Content, DataMessage, Profile, Quote};
use session_protocol::message::SignedPost;
use session_protocol::padding::Padding;
use session_protocol::{Identity, ServerKey, ServerSecret, SessionId, Signer};
use zeroize::Zeroizing;

use crate::clock::unix_now;
use crate::store::cases::OwnPost;

/// The name that apps show.
const NAME: &str = "Moderation";

/// The account of a server. Its seed follows from the server's key, so that all processes and every restored backup of a
/// community have the same one, and there is no second secret to keep.
#[derive(Clone)]
pub(crate) struct Account {
    identity: Identity,
    key: ServerKey,
    signer: Signer,
}

impl Account {
    pub(crate) fn new(secret: &ServerSecret) -> Self {
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(
            Blake2b256::new()
                .chain_update(b"ackpost: account of the server, version 1")
                .chain_update(secret.expose_bytes())
                .finalize()
                .into(),
        );
        let identity = Identity::from_seed(*seed);
        let key = secret.public();
        Self {
            signer: Signer::blind15(&identity, &key),
            identity,
            key,
        }
    }

    /// The id under which it posts.
    pub(crate) fn id(&self) -> SessionId {
        self.signer.shown_id()
    }

    /// Returns true for the ids of the account.
    pub(crate) fn is(&self, id: &SessionId) -> bool {
        *id == self.id() || *id == self.identity.blind25(&self.key).id()
    }

    /// The text of a direct message to the account; `None` when it is not readable.
    pub(crate) fn open(&self, sender: &SessionId, message: &[u8]) -> Option<String> {
        let conversation = session_protocol::dm::Conversation::new(&self.identity, sender, &self.key).ok()?;
        let opened = conversation.open_received(message).ok()?;
        let content = session_protocol::message::open(&opened.data).ok()?;
        content.body().map(str::to_owned)
    }

    /// Signs a post. The time inside is the one it is posted at: a reply names a message by either.
    pub(crate) fn post(
        &self,
        text: String,
        attachments: Vec<AttachmentPointer>,
        quote: Option<Quote>,
    ) -> OwnPost {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "milliseconds since 1970 fit"
        )]
        let now_ms = (unix_now() * 1000.0) as u64;
        let content = Content {
            data_message: Some(DataMessage {
                body: Some(text),
                attachments,
                quote,
                profile: Some(Profile {
                    display_name: Some(NAME.to_owned()),
                    ..Profile::default()
                }),
                ..DataMessage::default()
            }),
            sig_timestamp: Some(now_ms),
        };
        let signed = SignedPost::new(&content, &self.signer, Padding::Block);
        let size = signed.data.len();
        let data = Bytes::from(signed.data);
        let unpadded = data.slice(..session_protocol::padding::unpad(&data).len());
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
        OwnPost {
            posted: now_ms as f64 / 1000.0,
            data: unpadded,
            data_size: i64::try_from(size).unwrap_or(i64::MAX),
            signature: Bytes::copy_from_slice(&signed.signature),
        }
    }
}
