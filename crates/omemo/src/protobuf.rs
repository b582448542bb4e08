//! The part of Protocol Buffers that OMEMO needs: numbers and bytes.
//!
//! Written by hand, because OMEMO authenticates the encoded bytes: every field is written, zeros too, in the order of
//! the numbers, and a message is read as slices of what was received. Three messages of two kinds of field do not
//! justify a code generator.

use crate::error::Error;

/// The highest number of fields read in one message, known or not.
const MAX_FIELDS: usize = 64;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// Value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Returns the number of a `uint32` field.
    pub(crate) fn number(self) -> Result<u32, Error> {
        match self {
            Value::Number(number) => number.try_into().map_err(|_| MALFORMED),
            Value::Bytes(_) => Err(MALFORMED),
        }
    }

    /// Returns the content of a `bytes` field.
    pub(crate) fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Number(_) => Err(MALFORMED),
        }
    }
}

const MALFORMED: Error = Error::Malformed("message");

/// Reads all fields and gives the known ones (numbers or bytes) to `each`. A field that occurs twice is given twice;
/// fields of fixed length are skipped.
pub(crate) fn read<'a>(
    mut input: &'a [u8],
    mut each: impl FnMut(u64, Value<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    for _ in 0..MAX_FIELDS {
        if input.is_empty() {
            return Ok(());
        }
        let key = varint(&mut input)?;
        let number = key >> 3;
        if number == 0 {
            return Err(MALFORMED);
        }
        match key & 7 {
            VARINT => each(number, Value::Number(varint(&mut input)?))?,
            FIXED64 => {
                take(&mut input, 8)?;
            }
            BYTES => {
                let len = varint(&mut input)?;
                each(number, Value::Bytes(take(&mut input, len)?))?;
            }
            FIXED32 => {
                take(&mut input, 4)?;
            }
            _ => return Err(MALFORMED),
        }
    }
    Err(MALFORMED)
}

fn take<'a>(input: &mut &'a [u8], len: u64) -> Result<&'a [u8], Error> {
    let len = usize::try_from(len).map_err(|_| MALFORMED)?;
    let (taken, rest) = input.split_at_checked(len).ok_or(MALFORMED)?;
    *input = rest;
    Ok(taken)
}

fn varint(input: &mut &[u8]) -> Result<u64, Error> {
    let mut out = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first().ok_or(MALFORMED)?;
        *input = rest;
        // The tenth byte holds the last bit alone.
        if shift == 63 && byte > 1 {
            return Err(MALFORMED);
        }
        out |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(out);
        }
    }
    Err(MALFORMED)
}

/// Appends a `uint32` field.
pub(crate) fn write_number(out: &mut Vec<u8>, field: u8, number: u32) {
    out.push(field << 3);
    write_varint(out, number);
}

/// Appends a `bytes` field.
pub(crate) fn write_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    write_varint(out, u32::try_from(bytes.len()).expect("messages are short"));
    out.extend_from_slice(bytes);
}

fn write_varint(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(input: &[u8]) -> Result<Vec<(u64, Value<'_>)>, Error> {
        let mut out = Vec::new();
        read(input, |number, value| {
            out.push((number, value));
            Ok(())
        })?;
        Ok(out)
    }

    proptest! {
        #[test]
        fn fields_come_back(number: u32, bytes: Vec<u8>) {
            let mut out = Vec::new();
            write_number(&mut out, 1, number);
            write_bytes(&mut out, 15, &bytes);
            let expected = vec![(1, Value::Number(number.into())), (15, Value::Bytes(&bytes))];
            prop_assert_eq!(all(&out).unwrap(), expected);
        }

        #[test]
        fn any_bytes_are_read_or_refused(input: Vec<u8>) {
            let _ = all(&input);
        }
    }

    #[test]
    fn zeros_are_written() {
        let mut out = Vec::new();
        write_number(&mut out, 2, 0);
        assert_eq!(out, [0x10, 0]);
    }

    #[test]
    fn unknown_fields_are_skipped_and_broken_ones_refused() {
        // A fixed 64-bit field, a fixed 32-bit field, then field 2 = 5.
        assert_eq!(
            all(&[0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x0d, 1, 2, 3, 4, 0x10, 5]).unwrap(),
            [(2, Value::Number(5))]
        );
        for broken in [
            &[0x10][..],                                             // no value
            &[0x12, 3, 1, 2],                                        // too short
            &[0x0b, 0x0c],                                           // a group
            &[0x02, 0],                                              // field number 0
            &[0x10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], // more than 64 bits
            &[0x09, 1],
            &[0x12, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
        ] {
            assert_eq!(all(broken), Err(MALFORMED), "{broken:?}");
        }
        assert_eq!(all(&[0x10, 0].repeat(65)), Err(MALFORMED));
        assert_eq!(Value::Number(1 << 32).number(), Err(MALFORMED));
    }
}
