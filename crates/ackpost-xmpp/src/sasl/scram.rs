//! SCRAM, the client's side (RFC 5802, RFC 7677), with downgrade protection (XEP-0474).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::SecretString;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Choice, Hash, Offer, prepare};
use crate::error::XmppError;

/// Minimum number of rounds: fewer make it easy to guess the password from a stolen exchange (RFC 5802 section 5.1 says
/// 4096 at least).
pub(crate) const MIN_ITERATIONS: u32 = 4096;
/// Maximum number of rounds: more only cost time (this number takes about a second).
pub(crate) const MAX_ITERATIONS: u32 = 1_000_000;
/// Maximum length of a server message of SCRAM.
const MESSAGE_MAX_BYTES: usize = 8192;

/// An exchange that has begun.
pub(crate) struct Scram {
    hash: Hash,
    /// `p=tls-exporter,,` and the like.
    gs2: String,
    binding: Vec<u8>,
    nonce: String,
    first_bare: String,
}

/// The request in the server's first message.
pub(crate) struct Challenge {
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    nonce: String,
    message: String,
    /// The hash of the offer, as the server reports it (XEP-0474).
    offer_hash: Option<Vec<u8>>,
}

/// The proof that the server's last message must hold.
pub(crate) struct Proof {
    hash: Hash,
    signature: Zeroizing<Vec<u8>>,
}

impl Scram {
    /// `nonce` must be fresh and random, of printable ASCII without commas.
    pub(crate) fn new(hash: Hash, choice: &Choice, user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self {
            hash,
            gs2: choice.gs2.clone(),
            binding: choice.binding.clone(),
            first_bare: format!("n={user},r={nonce}"),
            nonce,
        }
    }

    /// The first message.
    pub(crate) fn first(&self) -> String {
        format!("{}{}", self.gs2, self.first_bare)
    }

    /// Reads the server's first message and checks everything in it that can be checked.
    pub(crate) fn challenge(&self, message: &[u8]) -> Result<Challenge, XmppError> {
        let broken = |reason| XmppError::LoginProtocol { reason };
        if message.len() > MESSAGE_MAX_BYTES {
            return Err(broken("the challenge is too long"));
        }
        let message = std::str::from_utf8(message).map_err(|_| broken("the challenge is not text"))?;
        let (mut nonce, mut salt, mut iterations, mut offer_hash) = (None, None, None, None);
        for (at, field) in message.split(',').enumerate() {
            match field.split_once('=') {
                Some(("m", _)) => return Err(broken("it demands an extension of SCRAM")),
                Some(("r", value)) if at == 0 => nonce = Some(value),
                Some(("s", value)) if at == 1 => salt = BASE64.decode(value).ok(),
                Some(("i", value)) if at == 2 => iterations = value.parse::<u64>().ok(),
                Some(("h", value)) => {
                    offer_hash = Some(
                        BASE64
                            .decode(value)
                            .map_err(|_| broken("its downgrade protection is not readable"))?,
                    );
                }
                _ => {}
            }
        }
        let nonce = nonce.ok_or_else(|| broken("the challenge has no nonce"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() <= self.nonce.len() {
            return Err(broken("its nonce does not continue ours"));
        }
        let salt = salt
            .filter(|salt| !salt.is_empty())
            .ok_or_else(|| broken("the challenge has no salt"))?;
        let count = iterations.ok_or_else(|| broken("the challenge has no iteration count"))?;
        let iterations = u32::try_from(count)
            .ok()
            .filter(|count| (MIN_ITERATIONS..=MAX_ITERATIONS).contains(count))
            .ok_or(XmppError::Iterations {
                count,
                min: MIN_ITERATIONS,
                max: MAX_ITERATIONS,
            })?;
        Ok(Challenge {
            iterations,
            salt,
            nonce: nonce.to_owned(),
            message: message.to_owned(),
            offer_hash,
        })
    }

    /// XEP-0474: the offer that the server reports must equal the offer that arrived here.
    pub(crate) fn check_offer(&self, challenge: &Challenge, offer: &Offer) -> Result<(), XmppError> {
        let Some(theirs) = &challenge.offer_hash else {
            return Ok(());
        };
        let mut mechanisms = offer.mechanisms.clone();
        mechanisms.sort_unstable();
        let mut text = mechanisms.join("\u{1e}");
        if let Some(bindings) = &offer.bindings {
            let mut bindings = bindings.clone();
            bindings.sort_unstable();
            text.push('\u{1f}');
            text.push_str(&bindings.join("\u{1e}"));
        }
        if *theirs == self.hash.digest(text.as_bytes()) {
            Ok(())
        } else {
            Err(XmppError::Downgraded)
        }
    }

    /// Our last message, and the answer that the server must give.
    pub(crate) fn answer(&self, challenge: &Challenge, salted: &[u8]) -> (Zeroizing<String>, Proof) {
        let hash = self.hash;
        let mut bound = self.gs2.clone().into_bytes();
        bound.extend_from_slice(&self.binding);
        let without_proof = format!("c={},r={}", BASE64.encode(bound), challenge.nonce);
        let auth = format!("{},{},{without_proof}", self.first_bare, challenge.message);

        let client_key = hash.hmac(salted, b"Client Key");
        let stored_key = Zeroizing::new(hash.digest(&client_key));
        let signature = hash.hmac(&stored_key, auth.as_bytes());
        let proof: Zeroizing<Vec<u8>> = Zeroizing::new(
            client_key
                .iter()
                .zip(signature.iter())
                .map(|(a, b)| a ^ b)
                .collect(),
        );
        let server_key = hash.hmac(salted, b"Server Key");
        let expected = hash.hmac(&server_key, auth.as_bytes());
        (
            Zeroizing::new(format!("{without_proof},p={}", BASE64.encode(&*proof))),
            Proof {
                hash,
                signature: expected,
            },
        )
    }
}

/// The slow part. Runs on its own thread when it takes long enough to notice.
pub(crate) async fn salted_password(
    hash: Hash,
    password: &SecretString,
    salt: Vec<u8>,
    iterations: u32,
) -> Result<Zeroizing<Vec<u8>>, XmppError> {
    const NOTICEABLE: u32 = 20_000;
    let password = prepare(password)?;
    if iterations < NOTICEABLE {
        return Ok(hash.pbkdf2(password.as_bytes(), &salt, iterations));
    }
    tokio::task::spawn_blocking(move || hash.pbkdf2(password.as_bytes(), &salt, iterations))
        .await
        .map_err(|_| XmppError::LoginProtocol {
            reason: "the password could not be hashed",
        })
}

impl Proof {
    /// Returns true if the server's last message proves that it knows the password too.
    pub(crate) fn check(&self, message: &[u8]) -> bool {
        let _ = self.hash;
        let Ok(message) = std::str::from_utf8(message) else {
            return false;
        };
        let Some(value) = message
            .split(',')
            .next()
            .and_then(|field| field.strip_prefix("v="))
        else {
            return false;
        };
        BASE64
            .decode(value)
            .is_ok_and(|theirs| bool::from(theirs.ct_eq(&self.signature)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::MechanismKind;
    use super::*;

    fn choice(hash: Hash, gs2: &str, binding: &[u8]) -> Choice {
        Choice {
            mechanism: hash.mechanism(!binding.is_empty()).to_owned(),
            kind: MechanismKind::Scram(hash),
            gs2: gs2.to_owned(),
            binding: binding.to_vec(),
            binding_kind: None,
        }
    }

    fn exchange(hash: Hash, nonce: &str, server_first: &str) -> (Zeroizing<String>, Proof) {
        let scram = Scram::new(hash, &choice(hash, "n,,", b""), "user", nonce.to_owned());
        let challenge = scram.challenge(server_first.as_bytes()).unwrap();
        let salted = hash.pbkdf2(b"pencil", &challenge.salt, challenge.iterations);
        scram.answer(&challenge, &salted)
    }

    #[test]
    fn the_example_of_rfc_5802() {
        let (last, proof) = exchange(
            Hash::Sha1,
            "fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        );
        assert_eq!(
            *last,
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        assert!(proof.check(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="));
        for wrong in [
            "v=rmF9pqV8S7suAoZWja4dJRkFsKR=",
            "v=",
            "",
            "e=other-error",
            "x=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ] {
            assert!(!proof.check(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let (last, proof) = exchange(
            Hash::Sha256,
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        );
        assert_eq!(
            *last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(proof.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    }

    #[test]
    fn challenges_that_break_the_rules_are_refused() {
        let scram = Scram::new(
            Hash::Sha256,
            &choice(Hash::Sha256, "n,,", b""),
            "user",
            "abc".to_owned(),
        );
        let refused = |text: &str| scram.challenge(text.as_bytes()).err();
        assert!(scram.challenge(b"r=abcdef,s=QUJD,i=4096").is_ok());
        assert!(matches!(
            refused("r=xyz,s=QUJD,i=4096"),
            Some(XmppError::LoginProtocol { .. })
        ));
        assert!(matches!(
            refused("r=abc,s=QUJD,i=4096"),
            Some(XmppError::LoginProtocol { .. })
        ));
        assert!(matches!(
            refused("r=abcd,i=4096"),
            Some(XmppError::LoginProtocol { .. })
        ));
        assert!(matches!(
            refused("m=1,r=abcd,s=QUJD,i=4096"),
            Some(XmppError::LoginProtocol { .. })
        ));
        assert!(matches!(
            refused("r=abcd,s=QUJD,i=x"),
            Some(XmppError::LoginProtocol { .. })
        ));
        assert!(matches!(
            refused("r=abcd,s=QUJD,i=1"),
            Some(XmppError::Iterations { count: 1, .. })
        ));
        assert!(matches!(
            refused("r=abcd,s=QUJD,i=99999999999"),
            Some(XmppError::Iterations {
                count: 99_999_999_999,
                ..
            })
        ));
        assert!(refused(&format!("r=abc{},s=QUJD,i=4096", "d".repeat(9000))).is_some());
    }

    #[test]
    fn a_changed_offer_is_noticed() {
        let scram = Scram::new(
            Hash::Sha1,
            &choice(Hash::Sha1, "n,,", b""),
            "user",
            "abc".to_owned(),
        );
        let offered = Offer {
            mechanisms: vec!["SCRAM-SHA-1-PLUS".to_owned(), "SCRAM-SHA-1".to_owned()],
            bindings: Some(vec!["tls-server-end-point".to_owned(), "tls-exporter".to_owned()]),
        };
        let said =
            Hash::Sha1.digest(b"SCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS\x1ftls-exporter\x1etls-server-end-point");
        let first = format!("r=abcd,s=QUJD,i=4096,h={}", BASE64.encode(said));
        let challenge = scram.challenge(first.as_bytes()).unwrap();
        assert_eq!(scram.check_offer(&challenge, &offered), Ok(()));
        let stripped = Offer {
            mechanisms: vec!["SCRAM-SHA-1".to_owned()],
            ..offered
        };
        assert_eq!(
            scram.check_offer(&challenge, &stripped),
            Err(XmppError::Downgraded)
        );
    }

    #[test]
    fn names_are_escaped_and_bindings_repeated() {
        let scram = Scram::new(
            Hash::Sha256,
            &choice(Hash::Sha256, "p=tls-exporter,,", b"\x01\x02"),
            "a=b,c",
            "nnn".to_owned(),
        );
        assert_eq!(scram.first(), "p=tls-exporter,,n=a=3Db=2Cc,r=nnn");
        let challenge = scram.challenge(b"r=nnnx,s=QUJD,i=4096").unwrap();
        let (last, _) = scram.answer(&challenge, b"salted");
        let mut bound = b"p=tls-exporter,,".to_vec();
        bound.extend_from_slice(b"\x01\x02");
        assert!(last.starts_with(&format!("c={},r=nnnx,p=", BASE64.encode(bound))));
    }
}
