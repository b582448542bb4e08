//! The format of serialized state: a format byte, a kind byte, the fields in a fixed order, and a checksum.
//!
//! Reading is strict: a state that was cut, altered or written for something else is refused, never half read. The
//! checksum finds damage; it does not protect against somebody who may write the state.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::keys::Secret;

/// The format that this version of the crate writes.
const FORMAT: u8 = 1;
/// Length of the checksum, the first bytes of SHA-256, in bytes.
const CHECKSUM_BYTES: usize = 8;

/// Kind of a serialized value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Account = 1,
    Session = 2,
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    *Sha256::digest(bytes)
        .first_chunk()
        .expect("a hash is longer than the checksum")
}

pub(crate) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    /// Starts a value. `capacity` should hold all of it: a buffer that grows leaves secret bytes behind.
    pub(crate) fn new(kind: Kind, capacity: usize) -> Self {
        let mut out = Zeroizing::new(Vec::with_capacity(capacity));
        out.extend_from_slice(&[FORMAT, kind as u8]);
        Self(out)
    }

    pub(crate) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn flag(&mut self, value: bool) {
        self.byte(value.into());
    }

    pub(crate) fn number(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn long(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Writes the number of entries of a list.
    pub(crate) fn count(&mut self, len: usize) {
        self.number(u32::try_from(len).expect("all lists are bounded"));
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    pub(crate) fn finish(mut self) -> Zeroizing<Vec<u8>> {
        let sum = checksum(&self.0);
        self.bytes(&sum);
        self.0
    }
}

pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], kind: Kind) -> Result<Self, Error> {
        match bytes.first() {
            Some(&format) if format > FORMAT => return Err(Error::NewerState(format)),
            Some(&FORMAT) => {}
            _ => return Err(Error::DamagedState),
        }
        let (content, sum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(Error::DamagedState)?;
        if checksum(content) != *sum || content.get(1) != Some(&(kind as u8)) {
            return Err(Error::DamagedState);
        }
        Ok(Self(&content[2..]))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Error::DamagedState)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn secret(&mut self) -> Result<Secret, Error> {
        Ok(Zeroizing::new(*self.array()?))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Error> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::DamagedState),
        }
    }

    pub(crate) fn number(&mut self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(*self.array()?))
    }

    pub(crate) fn long(&mut self) -> Result<u64, Error> {
        Ok(u64::from_be_bytes(*self.array()?))
    }

    /// Reads the number of entries of a list that holds at most `limit`.
    pub(crate) fn count(&mut self, limit: usize) -> Result<usize, Error> {
        let count = usize::try_from(self.number()?).map_err(|_| Error::DamagedState)?;
        if count > limit {
            return Err(Error::DamagedState);
        }
        Ok(count)
    }

    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::DamagedState)
        }
    }
}
