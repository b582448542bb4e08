//! The Double Ratchet.
//!
//! Source: "The Double Ratchet Algorithm", Trevor Perrin and Moxie Marlinspike, Signal, revision 4. Departures:
//!
//! - Clients of [`Version::Axolotl`] disagree about the length of the previous chain (`pn`), so it is not used there.
//!   The last [`MAX_CHAINS`] receiving chains are kept instead, and late messages are derived from them.
//! - In [`Version::Omemo2`], `pn` closes the previous chain: its skipped keys are stored and its chain key is wiped.
//!
//! Nothing changes until a message has been authenticated and accepted.

use std::collections::VecDeque;

use aes::Aes256;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use hmac::Mac as _;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::kdf::{self, CipherKeys};
use crate::keys::{KeyPair, Secret};
use crate::limits::{MAX_SKIP, MAX_SKIPPED_KEYS};
use crate::state::{Reader, Writer};
use crate::version::Version;
use crate::wire::{self, Header, Message};

/// Number of receiving chains that are remembered.
const MAX_CHAINS: usize = 5;
/// First message number at which the receiver has to answer, so that chains turn (XEP-0384 0.9,
/// "Business Rules").
const HEARTBEAT_AT: u32 = 53;

#[derive(Clone)]
struct Sending {
    chain_key: Secret,
    next: u32,
}

#[derive(Clone)]
struct Receiving {
    ratchet_key: [u8; 32],
    /// `None` when the chain is closed: no key beyond the stored ones can be derived.
    chain_key: Option<Secret>,
    next: u32,
    /// True once the answer to a long chain was asked for.
    heartbeat: bool,
}

#[derive(Clone)]
struct Skipped {
    ratchet_key: [u8; 32],
    number: u32,
    message_key: Secret,
}

/// State of one Double Ratchet. Secret parts are wiped when dropped.
#[derive(Clone)]
pub(crate) struct Ratchet {
    version: Version,
    root: Secret,
    own: KeyPair,
    sending: Option<Sending>,
    /// Length of the previous sending chain.
    previous: u32,
    /// Newest first.
    receiving: VecDeque<Receiving>,
    /// Oldest first.
    skipped: VecDeque<Skipped>,
}

/// The end of a chain that was advanced, and the keys that were passed over.
struct Advance {
    chain_key: Secret,
    next: u32,
    skipped: Vec<(u32, Secret)>,
}

/// Changes that a message makes once it is authenticated.
enum Plan {
    /// The key at this index of the skipped keys is used up.
    UseSkipped(usize),
    /// The chain at this index is advanced.
    InChain(usize, Advance),
    /// A new chain starts; in [`Version::Omemo2`] the newest one is closed at this point.
    NewChain {
        close: Option<Advance>,
        root: Secret,
        chain: Advance,
    },
}

impl Ratchet {
    /// Starts as the initiator, whose first ratchet key is `own`, with the responder's signed prekey.
    pub(crate) fn initiate(
        version: Version,
        shared: &Secret,
        own: KeyPair,
        signed_prekey: &[u8; 32],
    ) -> Result<Self, Error> {
        let (root, chain_key) = kdf::root_step(version, shared, &own.agree(signed_prekey)?);
        let mut ratchet = Self::respond(version, shared.clone(), own);
        ratchet.root = root;
        ratchet.sending = Some(Sending { chain_key, next: 0 });
        Ok(ratchet)
    }

    /// Starts as the responder, whose first ratchet key is the signed prekey.
    pub(crate) fn respond(version: Version, shared: Secret, signed_prekey: KeyPair) -> Self {
        Self {
            version,
            root: shared,
            own: signed_prekey,
            sending: None,
            previous: 0,
            receiving: VecDeque::new(),
            skipped: VecDeque::new(),
        }
    }

    /// Encrypts one message.
    pub(crate) fn encrypt(&mut self, plaintext: &[u8], associated: &[u8]) -> Result<Vec<u8>, Error> {
        self.encrypt_with(plaintext, associated, self.previous)
    }

    /// Encrypts with another length of the previous chain in the header; the vectors of other libraries need it.
    pub(crate) fn encrypt_with(
        &mut self,
        plaintext: &[u8],
        associated: &[u8],
        previous: u32,
    ) -> Result<Vec<u8>, Error> {
        let sending = self.sending.as_mut().ok_or(Error::NotReady)?;
        let following = sending.next.checked_add(1).ok_or(Error::ChainExhausted)?;
        let (message_key, chain_key) = kdf::chain_step(&sending.chain_key);
        let keys = CipherKeys::of_message(self.version, &message_key);
        let ciphertext = cbc::Encryptor::<Aes256>::new(&keys.aes.into(), &keys.iv.into())
            .encrypt_padded_vec::<Pkcs7>(plaintext);
        let header = Header {
            ratchet_key: self.own.public,
            number: sending.next,
            previous,
        };
        sending.chain_key = chain_key;
        sending.next = following;
        Ok(wire::encode_message(
            self.version,
            &header,
            &ciphertext,
            &keys,
            associated,
        ))
    }

    /// Length of the previous sending chain.
    #[cfg(test)]
    pub(crate) fn previous(&self) -> u32 {
        self.previous
    }

    /// Decrypts one message. `accept` sees the plaintext; if it fails, so does the message, and nothing changes.
    ///
    /// Returns the plaintext and whether the chain has become so long that an answer is due.
    pub(crate) fn decrypt<R: CryptoRng + ?Sized>(
        &mut self,
        message: &Message<'_>,
        associated: &[u8],
        accept: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
        rng: &mut R,
    ) -> Result<(Zeroizing<Vec<u8>>, bool), Error> {
        let (plan, message_key) = self.plan(&message.header)?;
        let plaintext = open(self.version, &message_key, message, associated)?;
        accept(&plaintext)?;
        self.commit(plan, &message.header, rng)?;
        let number = message.header.number;
        let chain = self
            .receiving
            .iter_mut()
            .find(|chain| chain.ratchet_key == message.header.ratchet_key);
        let answer = chain
            .is_some_and(|chain| number >= HEARTBEAT_AT && !std::mem::replace(&mut chain.heartbeat, true));
        Ok((plaintext, answer))
    }

    /// Finds the message key, and what will change.
    fn plan(&self, header: &Header) -> Result<(Plan, Secret), Error> {
        let skipped = self
            .skipped
            .iter()
            .position(|key| key.ratchet_key == header.ratchet_key && key.number == header.number);
        if let Some(at) = skipped {
            return Ok((Plan::UseSkipped(at), self.skipped[at].message_key.clone()));
        }
        let known = self
            .receiving
            .iter()
            .position(|chain| chain.ratchet_key == header.ratchet_key);
        if let Some(at) = known {
            let chain = &self.receiving[at];
            if header.number < chain.next {
                return Err(Error::Duplicate);
            }
            // A message after the end that its own sender named.
            let chain_key = chain.chain_key.as_ref().ok_or(Error::NotAuthentic)?;
            let (advance, message_key) = advance(chain_key, chain.next, header.number)?;
            return Ok((Plan::InChain(at, advance), message_key));
        }
        let close = self.close(header.previous)?;
        let dh = self.own.agree(&header.ratchet_key)?;
        let (root, chain_key) = kdf::root_step(self.version, &self.root, &dh);
        let (chain, message_key) = advance(&chain_key, 0, header.number)?;
        Ok((Plan::NewChain { close, root, chain }, message_key))
    }

    /// Derives the keys up to the end of the newest chain, where the version lets its sender name the end.
    fn close(&self, end: u32) -> Result<Option<Advance>, Error> {
        let Some(chain) = self.receiving.front() else {
            return Ok(None);
        };
        match (&chain.chain_key, self.version) {
            (Some(chain_key), Version::Omemo2) => skip(chain_key, chain.next, end.max(chain.next)).map(Some),
            _ => Ok(None),
        }
    }

    fn commit<R: CryptoRng + ?Sized>(
        &mut self,
        plan: Plan,
        header: &Header,
        rng: &mut R,
    ) -> Result<(), Error> {
        match plan {
            Plan::UseSkipped(at) => {
                self.skipped.remove(at);
            }
            Plan::InChain(at, advance) => {
                let chain = &mut self.receiving[at];
                chain.chain_key = Some(advance.chain_key);
                chain.next = advance.next;
                self.store(header.ratchet_key, advance.skipped);
            }
            Plan::NewChain { close, root, chain } => {
                let own = KeyPair::generate(rng);
                let (root, sending) = kdf::root_step(self.version, &root, &own.agree(&header.ratchet_key)?);
                if let (Some(close), Some(old)) = (close, self.receiving.front_mut()) {
                    old.chain_key = None;
                    old.next = close.next;
                    let ratchet_key = old.ratchet_key;
                    self.store(ratchet_key, close.skipped);
                }
                self.root = root;
                self.own = own;
                self.previous = self.sending.as_ref().map_or(0, |sending| sending.next);
                self.sending = Some(Sending {
                    chain_key: sending,
                    next: 0,
                });
                self.receiving.push_front(Receiving {
                    ratchet_key: header.ratchet_key,
                    chain_key: Some(chain.chain_key),
                    next: chain.next,
                    heartbeat: false,
                });
                self.receiving.truncate(MAX_CHAINS);
                self.store(header.ratchet_key, chain.skipped);
            }
        }
        Ok(())
    }

    fn store(&mut self, ratchet_key: [u8; 32], keys: Vec<(u32, Secret)>) {
        for (number, message_key) in keys {
            if self.skipped.len() >= MAX_SKIPPED_KEYS {
                self.skipped.pop_front();
            }
            self.skipped.push_back(Skipped {
                ratchet_key,
                number,
                message_key,
            });
        }
    }

    /// Upper bound of the serialized length in bytes.
    pub(crate) fn written_len(&self) -> usize {
        160 + 72 * self.receiving.len() + 68 * self.skipped.len()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.bytes(&*self.root);
        out.bytes(self.own.expose_secret());
        out.number(self.previous);
        out.flag(self.sending.is_some());
        if let Some(sending) = &self.sending {
            out.bytes(&*sending.chain_key);
            out.number(sending.next);
        }
        out.count(self.receiving.len());
        for chain in &self.receiving {
            out.bytes(&chain.ratchet_key);
            out.number(chain.next);
            out.flag(chain.heartbeat);
            out.flag(chain.chain_key.is_some());
            if let Some(chain_key) = &chain.chain_key {
                out.bytes(&**chain_key);
            }
        }
        out.count(self.skipped.len());
        for key in &self.skipped {
            out.bytes(&key.ratchet_key);
            out.number(key.number);
            out.bytes(&*key.message_key);
        }
    }

    pub(crate) fn read(version: Version, input: &mut Reader<'_>) -> Result<Self, Error> {
        let root = input.secret()?;
        let own = KeyPair::from_secret(&*input.secret()?);
        let previous = input.number()?;
        let sending = if input.flag()? {
            Some(Sending {
                chain_key: input.secret()?,
                next: input.number()?,
            })
        } else {
            None
        };
        let mut receiving = VecDeque::new();
        for _ in 0..input.count(MAX_CHAINS)? {
            receiving.push_back(Receiving {
                ratchet_key: *input.array()?,
                next: input.number()?,
                heartbeat: input.flag()?,
                chain_key: if input.flag()? {
                    Some(input.secret()?)
                } else {
                    None
                },
            });
        }
        let mut skipped = VecDeque::new();
        for _ in 0..input.count(MAX_SKIPPED_KEYS)? {
            skipped.push_back(Skipped {
                ratchet_key: *input.array()?,
                number: input.number()?,
                message_key: input.secret()?,
            });
        }
        Ok(Self {
            version,
            root,
            own,
            sending,
            previous,
            receiving,
            skipped,
        })
    }
}

/// Derives the keys from `next` to before `end`.
fn skip(chain_key: &Secret, next: u32, end: u32) -> Result<Advance, Error> {
    if end - next > MAX_SKIP {
        return Err(Error::TooFarAhead);
    }
    let mut chain_key = chain_key.clone();
    let mut skipped = Vec::new();
    for number in next..end {
        let (message_key, following) = kdf::chain_step(&chain_key);
        skipped.push((number, message_key));
        chain_key = following;
    }
    Ok(Advance {
        chain_key,
        next: end,
        skipped,
    })
}

/// Derives the key of message `number`, which is `next` or later, and the keys before it.
fn advance(chain_key: &Secret, next: u32, number: u32) -> Result<(Advance, Secret), Error> {
    let mut advance = skip(chain_key, next, number)?;
    advance.next = number.checked_add(1).ok_or(Error::TooFarAhead)?;
    let (message_key, following) = kdf::chain_step(&advance.chain_key);
    advance.chain_key = following;
    Ok((advance, message_key))
}

/// Checks the MAC, then decrypts.
fn open(
    version: Version,
    message_key: &Secret,
    message: &Message<'_>,
    associated: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let keys = CipherKeys::of_message(version, message_key);
    // The length of the code was checked when the message was read.
    keys.mac(&[associated, message.authenticated])
        .verify_truncated_left(message.mac)
        .map_err(|_| Error::NotAuthentic)?;
    cbc::Decryptor::<Aes256>::new(&keys.aes.into(), &keys.iv.into())
        .decrypt_padded_vec::<Pkcs7>(message.ciphertext)
        .map(Zeroizing::new)
        .map_err(|_| Error::Malformed("message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSIONS: [Version; 2] = [Version::Axolotl, Version::Omemo2];

    fn rng() -> impl CryptoRng {
        rand_core::UnwrapErr(getrandom::SysRng)
    }

    fn pair(version: Version) -> (Ratchet, Ratchet) {
        let (shared, signed) = (Zeroizing::new([7; 32]), KeyPair::from_secret(&[9; 32]));
        let own = KeyPair::generate(&mut rng());
        let alice = Ratchet::initiate(version, &shared, own, &signed.public).unwrap();
        (alice, Ratchet::respond(version, shared, signed))
    }

    fn receive(ratchet: &mut Ratchet, bytes: &[u8]) -> Result<(Vec<u8>, bool), Error> {
        let message = Message::parse(ratchet.version, bytes)?;
        let (plaintext, answer) = ratchet.decrypt(&message, b"ad", &mut |_| Ok(()), &mut rng())?;
        Ok((plaintext.to_vec(), answer))
    }

    fn state(ratchet: &Ratchet) -> Vec<u8> {
        let mut out = Writer::new(crate::state::Kind::Session, ratchet.written_len());
        ratchet.write(&mut out);
        out.finish().to_vec()
    }

    #[test]
    fn exactly_the_allowed_number_of_messages_is_skipped() {
        for version in VERSIONS {
            let (mut alice, mut bob) = pair(version);
            let messages: Vec<_> = (0..=MAX_SKIP + 1)
                .map(|_| alice.encrypt(b"x", b"ad").unwrap())
                .collect();
            let last = messages.last().unwrap();
            let before = state(&bob);
            assert_eq!(receive(&mut bob, last).unwrap_err(), Error::TooFarAhead);
            assert_eq!(state(&bob), before);
            receive(&mut bob, &messages[MAX_SKIP as usize]).unwrap();
            assert_eq!(bob.skipped.len(), MAX_SKIP as usize);
            receive(&mut bob, last).unwrap();
            for message in &messages[..MAX_SKIP as usize] {
                receive(&mut bob, message).unwrap();
                assert_eq!(receive(&mut bob, message).unwrap_err(), Error::Duplicate);
            }
            assert!(bob.skipped.is_empty());
        }
    }

    #[test]
    fn stored_keys_are_bounded_and_the_oldest_go_first() {
        for version in VERSIONS {
            let (mut alice, mut bob) = pair(version);
            let mut messages = Vec::new();
            for _ in 0..3 {
                messages.extend((0..=MAX_SKIP).map(|_| alice.encrypt(b"x", b"ad").unwrap()));
                receive(&mut bob, messages.last().unwrap()).unwrap();
                let (written, len) = (state(&bob).len(), bob.written_len());
                assert!(written <= len + 16, "{written} {len}");
            }
            assert_eq!(bob.skipped.len(), MAX_SKIPPED_KEYS);
            assert_eq!(receive(&mut bob, &messages[0]).unwrap_err(), Error::Duplicate);
            let oldest = MAX_SKIP as usize + 1;
            receive(&mut bob, &messages[oldest]).unwrap();
        }
    }

    /// In the newer version the end of the previous chain that a message names is bounded too, and in the older one it is
    /// not looked at.
    #[test]
    fn the_length_of_the_previous_chain_is_bounded() {
        for (version, expected) in VERSIONS.into_iter().zip([None, Some(Error::TooFarAhead)]) {
            let (mut alice, mut bob) = pair(version);
            receive(&mut bob, &alice.encrypt(b"x", b"ad").unwrap()).unwrap();
            receive(&mut alice, &bob.encrypt(b"y", b"ad").unwrap()).unwrap();
            let message = alice.encrypt_with(b"z", b"ad", u32::MAX).unwrap();
            let before = state(&bob);
            let result = receive(&mut bob, &message);
            assert_eq!(result.as_ref().err(), expected.as_ref());
            assert_eq!(state(&bob) == before, expected.is_some());
        }
    }

    #[test]
    fn counters_end_at_their_largest_value() {
        for version in VERSIONS {
            let (mut alice, mut bob) = pair(version);
            alice.sending.as_mut().unwrap().next = u32::MAX;
            let before = state(&alice);
            assert_eq!(alice.encrypt(b"x", b"ad").unwrap_err(), Error::ChainExhausted);
            assert_eq!(state(&alice), before);

            alice.sending.as_mut().unwrap().next = u32::MAX - 1;
            let far = alice.encrypt(b"x", b"ad").unwrap();
            assert_eq!(receive(&mut bob, &far).unwrap_err(), Error::TooFarAhead);

            // A chain that is at its end: the last number cannot be received, because nothing could follow it.
            let (mut alice, mut bob) = pair(version);
            receive(&mut bob, &alice.encrypt(b"x", b"ad").unwrap()).unwrap();
            bob.receiving[0].next = u32::MAX - 1;
            alice.sending.as_mut().unwrap().next = u32::MAX - 1;
            receive(&mut bob, &alice.encrypt(b"x", b"ad").unwrap()).unwrap();
            let keys = CipherKeys::of_message(version, &[0; 32]);
            let header = Header {
                ratchet_key: alice.own.public,
                number: u32::MAX,
                previous: u32::MAX,
            };
            let last = wire::encode_message(version, &header, &[0; 16], &keys, b"ad");
            let before = state(&bob);
            assert_eq!(receive(&mut bob, &last).unwrap_err(), Error::TooFarAhead);
            assert_eq!(state(&bob), before);
        }
    }

    #[test]
    fn ratchet_keys_of_small_order_are_refused() {
        for version in VERSIONS {
            let (_, mut bob) = pair(version);
            let before = state(&bob);
            for low in [0, 1] {
                let mut ratchet_key = [0; 32];
                ratchet_key[0] = low;
                let header = Header {
                    ratchet_key,
                    number: 0,
                    previous: 0,
                };
                let keys = CipherKeys::of_message(version, &[0; 32]);
                let message = wire::encode_message(version, &header, &[0; 16], &keys, b"ad");
                assert_eq!(receive(&mut bob, &message).unwrap_err(), Error::InvalidKey);
            }
            assert_eq!(state(&bob), before);
        }
    }

    #[test]
    fn a_long_chain_asks_for_one_answer() {
        for version in VERSIONS {
            let (mut alice, mut bob) = pair(version);
            let asked: Vec<u32> = (0..60)
                .filter(|_| receive(&mut bob, &alice.encrypt(b"x", b"ad").unwrap()).unwrap().1)
                .collect();
            assert_eq!(asked, [HEARTBEAT_AT]);
        }
    }

    #[test]
    fn padding_that_is_wrong_under_a_right_mac_changes_nothing() {
        for version in VERSIONS {
            let (mut alice, mut bob) = pair(version);
            let first = alice.clone();
            let (message_key, _) = kdf::chain_step(&first.sending.as_ref().unwrap().chain_key);
            let keys = CipherKeys::of_message(version, &message_key);
            let header = Header {
                ratchet_key: alice.own.public,
                number: 0,
                previous: 0,
            };
            let before = state(&bob);
            for ciphertext in [&[][..], &[1; 15], &[1; 16], &[1; 17]] {
                let message = wire::encode_message(version, &header, ciphertext, &keys, b"ad");
                assert!(receive(&mut bob, &message).is_err());
            }
            assert_eq!(state(&bob), before);
            receive(&mut bob, &alice.encrypt(b"x", b"ad").unwrap()).unwrap();
        }
    }
}
