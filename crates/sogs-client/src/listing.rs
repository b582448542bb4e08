//! Lists of a server's answer, read one element after the other: no more is kept than was asked for, and one element
//! that cannot be read does not spoil the others.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer as _;
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::SogsError;
use crate::transport::Answer;

/// Elements of a list, sorted, with what had to be left out.
#[derive(Debug)]
pub(crate) struct Listing<T> {
    /// The first elements in the order asked for, at most as many as asked for.
    pub(crate) items: Vec<T>,
    /// Number of elements in the answer.
    pub(crate) total: usize,
    /// The elements came in ascending order of their key, and there is more than one.
    pub(crate) ascending: bool,
}

/// Sort order and limit of a list.
pub(crate) struct Cut<T> {
    /// Most elements to keep.
    pub(crate) limit: usize,
    /// The number to sort by.
    pub(crate) key: fn(&T) -> i128,
    /// Keep the elements with the highest keys, highest first, instead of the lowest.
    pub(crate) descending: bool,
}

/// Reads the list of an answer whose status has been checked.
///
/// # Errors
/// [`Cause::NotASogs`](crate::Cause::NotASogs) if the answer is not a list, or if none of its elements can be read.
pub(crate) fn read<T: DeserializeOwned>(answer: &Answer, cut: Cut<T>) -> Result<Listing<T>, SogsError> {
    let not_sogs = |error: &serde_json::Error| crate::call::not_sogs(answer, &error.to_string());
    let mut json = serde_json::Deserializer::from_slice(&answer.body);
    let walk = Walk {
        cut,
        list: PhantomData,
    };
    let (listing, bad) = json.deserialize_seq(walk).map_err(|error| not_sogs(&error))?;
    json.end().map_err(|error| not_sogs(&error))?;
    if let Some((count, error)) = bad {
        if listing.items.is_empty() {
            return Err(not_sogs(&error));
        }
        tracing::warn!(count, %error, "elements of a list cannot be read and are left out");
    }
    Ok(listing)
}

struct Walk<T> {
    cut: Cut<T>,
    list: PhantomData<T>,
}

type Walked<T> = (Listing<T>, Option<(usize, serde_json::Error)>);

impl<'de, T: DeserializeOwned> Visitor<'de> for Walk<T> {
    type Value = Walked<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Walked<T>, A::Error> {
        let Cut {
            limit,
            key,
            descending,
        } = self.cut;
        let sort = |items: &mut Vec<T>| {
            items.sort_by_key(|item| if descending { -key(item) } else { key(item) });
            items.truncate(limit);
        };
        let mut items: Vec<T> = Vec::new();
        let mut bad: Option<(usize, serde_json::Error)> = None;
        let (mut total, mut last, mut ascending) = (0usize, None, true);
        while let Some(raw) = list.next_element::<&RawValue>()? {
            total += 1;
            match serde_json::from_str::<T>(raw.get()) {
                Ok(item) => {
                    let at = key(&item);
                    ascending &= last.replace(at).is_none_or(|last| last < at);
                    items.push(item);
                }
                Err(error) => {
                    let (count, _) = bad.get_or_insert((0, error));
                    *count += 1;
                }
            }
            if items.len() >= limit.saturating_mul(2).saturating_add(64) {
                sort(&mut items);
            }
        }
        ascending &= items.len() > 1;
        sort(&mut items);
        let listing = Listing {
            items,
            total,
            ascending,
        };
        Ok((listing, bad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(json: &str, limit: usize, descending: bool) -> Result<Listing<u32>, SogsError> {
        let answer = Answer {
            status: 200,
            headers: Vec::new(),
            body: bytes::Bytes::copy_from_slice(json.as_bytes()),
            truncated: false,
            clock_offset: None,
        };
        let key = |item: &u32| i128::from(*item);
        read(
            &answer,
            Cut {
                limit,
                key,
                descending,
            },
        )
    }

    #[test]
    fn the_limit_holds_whatever_the_order() {
        let many: Vec<u32> = (0..5_000).collect();
        let json = serde_json::to_string(&many).expect("numbers");
        let newest = listing(&json, 3, true).expect("a list");
        assert_eq!(
            (newest.items, newest.total, newest.ascending),
            (vec![4_999, 4_998, 4_997], 5_000, true)
        );
        assert_eq!(listing(&json, 3, false).expect("a list").items, [0, 1, 2]);
        assert!(!listing("[3,2,1]", 9, true).expect("a list").ascending);
        assert!(!listing("[3]", 9, true).expect("a list").ascending);
    }

    #[test]
    fn one_bad_element_spoils_nothing() {
        assert_eq!(
            listing(r#"[1,"x",null,2]"#, 9, false).expect("a list").items,
            [1, 2]
        );
        assert!(listing(r#"["x"]"#, 9, false).is_err());
        assert!(listing("{}", 9, false).is_err());
        assert!(listing("[1]]", 9, false).is_err());
        assert!(listing("[]", 9, false).expect("a list").items.is_empty());
    }
}
