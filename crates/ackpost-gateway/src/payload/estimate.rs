//! Checks JSON before a value is built of it: how many values it holds, and how much memory they take.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Maximum number of values of one JSON text, those inside of others included.
pub(crate) const MAX_VALUES: usize = 100_000;

/// Memory of one value in a list: itself, and what a growing list wastes.
const VALUE_BYTES: usize = 96;
/// Memory of a list or object with anything in it, and of a name with its value.
const LIST_BYTES: usize = 160;
const OBJECT_BYTES: usize = 480;
const MEMBER_BYTES: usize = 288;

/// Reason why JSON is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The text is not JSON; the error has the position.
    Syntax(serde_json::Error),
    TooMany,
}

/// Returns the bytes of memory that the value of this JSON takes. Builds nothing.
pub(crate) fn estimate(bytes: &[u8]) -> Result<usize, Refusal> {
    let estimator = Estimator {
        left: Cell::new(MAX_VALUES),
        bytes: Cell::new(0),
    };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = (&estimator)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    match read {
        Ok(()) => Ok(estimator.bytes.get()),
        Err(_) if estimator.left.get() == 0 => Err(Refusal::TooMany),
        Err(error) => Err(Refusal::Syntax(error)),
    }
}

struct Estimator {
    left: Cell<usize>,
    bytes: Cell<usize>,
}

impl Estimator {
    fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
    }

    /// Counts one value; an error when there are too many.
    fn count<E: serde::de::Error>(&self) -> Result<(), E> {
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        if left == 0 {
            return Err(E::custom("too many values"));
        }
        self.add(VALUE_BYTES);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &Estimator {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Estimator {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.count()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.count()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.count()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.count()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.count()
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.add(text.len());
        self.count()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.count()?;
        self.add(LIST_BYTES);
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.count()?;
        self.add(OBJECT_BYTES);
        while members.next_key_seed(self)?.is_some() {
            self.add(MEMBER_BYTES);
            members.next_value_seed(self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_is_that_of_the_built_value_and_large_counts_are_refused() {
        assert!(estimate(b"\"0123456789\"").expect("JSON") >= 10);
        let flat = format!("[{}]", vec!["1"; 50_000].join(","));
        assert!(estimate(flat.as_bytes()).expect("JSON") >= 50_000 * 32);
        let keys: Vec<String> = (0..MAX_VALUES).map(|n| format!("\"k{n}\":0")).collect();
        for many in [
            format!("[{}]", vec!["1"; MAX_VALUES].join(",")),
            format!("[{}]", vec!["[]"; MAX_VALUES].join(",")),
            format!("{{{}}}", keys.join(",")),
        ] {
            assert!(matches!(estimate(many.as_bytes()), Err(Refusal::TooMany)));
        }
        for broken in ["", "[", "{\"a\":}", "[1] x", &"[".repeat(100_000), "\"\\ud800\""] {
            assert!(
                matches!(estimate(broken.as_bytes()), Err(Refusal::Syntax(_))),
                "{broken:.20}"
            );
        }
    }
}
