//! Proving who we are: which mechanism, and its messages. Pure: bytes in, bytes out.

mod choice;
mod fast;
mod hash;
mod scram;

pub(crate) use choice::{Choice, MechanismKind, Offer, Rules, choose};
pub(crate) use fast::{FastLogin, token_mechanism};
pub(crate) use hash::Hash;
pub(crate) use scram::{Proof, Scram, salted_password};

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::error::XmppError;

/// RFC 4616: the password in clear, for connections where nobody listens.
pub(crate) fn plain(user: &str, password: &SecretString) -> Result<Zeroizing<Vec<u8>>, XmppError> {
    let password = prepare(password)?;
    let mut message = Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 2));
    message.push(0);
    message.extend_from_slice(user.as_bytes());
    message.push(0);
    message.extend_from_slice(password.as_bytes());
    Ok(message)
}

/// RFC 4013: the form of a password in which both sides hash it.
pub(crate) fn prepare(password: &SecretString) -> Result<Zeroizing<String>, XmppError> {
    match stringprep::saslprep(password.expose_secret()) {
        Ok(prepared) if !prepared.is_empty() => Ok(Zeroizing::new(prepared.into_owned())),
        _ => Err(XmppError::PasswordCharacters),
    }
}
