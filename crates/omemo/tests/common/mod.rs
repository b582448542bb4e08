//! Devices for the tests.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "only tests call it")]

use omemo::{Account, Decrypted, DeviceId, Encrypted, Error, Identity, MessageBuilder, Session, Version};
use rand_core::CryptoRng;

pub(crate) const VERSIONS: [Version; 2] = [Version::Axolotl, Version::Omemo2];

pub(crate) fn rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// A device with at most one session, which knows its own JID.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) jid: &'static str,
    pub(crate) account: Account,
    pub(crate) session: Option<Session>,
}

impl Peer {
    pub(crate) fn new(jid: &'static str) -> Self {
        let mut rng = rng();
        let identity = Identity::generate(&mut rng);
        Self {
            jid,
            account: Account::new(identity, DeviceId::random(&mut rng), 0, &mut rng),
            session: None,
        }
    }

    /// Starts a session with the other device, as after fetching its bundle.
    pub(crate) fn start(&mut self, version: Version, other: &Self) {
        let bundle = other.account.bundle(version);
        self.session = Some(Session::initiate(&self.account, &bundle, &mut rng()).unwrap());
    }

    pub(crate) fn send(&mut self, to: &Self, text: &[u8]) -> Encrypted {
        let session = self.session.as_mut().unwrap();
        let mut message =
            MessageBuilder::new(session.version(), self.account.device_id(), text, &mut rng()).unwrap();
        message.add(to.jid, to.account.device_id(), session).unwrap();
        message.finish()
    }

    pub(crate) fn send_empty(&mut self, to: &Self) -> Encrypted {
        let session = self.session.as_mut().unwrap();
        let mut message = MessageBuilder::empty(session.version(), self.account.device_id(), &mut rng());
        message.add(to.jid, to.account.device_id(), session).unwrap();
        message.finish()
    }

    pub(crate) fn receive(&mut self, message: &Encrypted) -> Result<Decrypted, Error> {
        self.account
            .decrypt(message, self.jid, &mut self.session, &mut rng())
    }

    pub(crate) fn read(&mut self, message: &Encrypted) -> Result<Vec<u8>, Error> {
        self.receive(message)
            .map(|opened| opened.content.unwrap().to_vec())
    }

    /// Everything that a message could change.
    pub(crate) fn state(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let session = self.session.as_ref().map(|session| session.to_bytes().to_vec());
        (self.account.to_bytes().to_vec(), session)
    }

    /// Saves and loads.
    pub(crate) fn reload(&mut self) {
        self.account = Account::from_bytes(&self.account.to_bytes()).unwrap();
        if let Some(session) = &mut self.session {
            *session = Session::from_bytes(&session.to_bytes()).unwrap();
        }
    }
}

/// Two devices whose session is confirmed on both sides.
pub(crate) fn connected(version: Version) -> (Peer, Peer) {
    let (mut alice, mut bob) = (Peer::new("alice@a.example"), Peer::new("bob@b.example"));
    alice.start(version, &bob);
    let first = alice.send(&bob, b"first");
    bob.read(&first).unwrap();
    let answer = bob.send_empty(&alice);
    alice.receive(&answer).unwrap();
    (alice, bob)
}
