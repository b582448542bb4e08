//! Lists in answers of nodes, kept in bounded memory.

use core::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The elements of a JSON list, not yet parsed; at most `MAX` are kept.
pub(super) struct Entries<'a, const MAX: usize> {
    pub(super) kept: Vec<&'a RawValue>,
    /// True if the list has more than `MAX` elements.
    pub(super) too_many: bool,
}

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for Entries<'a, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<const MAX: usize>;

        impl<'de, const MAX: usize> Visitor<'de> for List<MAX> {
            type Value = Entries<'de, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < MAX {
                    match list.next_element()? {
                        Some(entry) => kept.push(entry),
                        None => {
                            return Ok(Entries {
                                kept,
                                too_many: false,
                            });
                        }
                    }
                }
                let mut too_many = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    too_many = true;
                }
                Ok(Entries { kept, too_many })
            }
        }

        deserializer.deserialize_seq(List::<MAX>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_kept_up_to_its_limit() {
        let read =
            |text| serde_json::from_str::<Entries<2>>(text).map(|list| (list.kept.len(), list.too_many));
        assert_eq!(read("[]").unwrap(), (0, false));
        assert_eq!(read("[1, {}]").unwrap(), (2, false));
        assert_eq!(read("[1, {}, [7]]").unwrap(), (2, true));
        for bad in ["[1, {}, [7]", "{}", "[1,,2]", ""] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
