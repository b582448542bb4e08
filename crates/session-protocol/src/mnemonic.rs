//! Recovery phrases: 13 English words for 16 bytes.
//!
//! Twelve words carry the bytes, three words for each four; the thirteenth repeats one of them as a checksum.
//! Words are known by their first three letters alone, as in Session's apps.

use std::sync::LazyLock;

use zeroize::{Zeroize as _, Zeroizing};

/// The word list file, as the comment at its top describes it.
const LIST: &str = include_str!("../data/mnemonic-english-1626.txt");
/// Letters that determine a word.
const PREFIX_LEN: usize = 3;
const DATA_WORDS: usize = 12;

/// All words in index order.
static WORDS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| LIST.lines().filter(|line| !line.starts_with('#')).collect());

/// Reason why words are not a valid recovery phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MnemonicError {
    /// The phrase does not have 13 words.
    #[error("a recovery phrase has 13 words, this has {found}")]
    WordCount {
        /// Number of words in the phrase.
        found: usize,
    },
    /// A word that the list does not have. The word itself is not shown: it may be part of a secret.
    #[error("word {position} of the recovery phrase is not in the word list")]
    UnknownWord {
        /// Position of the word, counted from 1.
        position: usize,
    },
    /// Three words that no four bytes encode to.
    #[error("words {first} to {} of the recovery phrase do not belong together: one of them is wrong", first + 2)]
    Impossible {
        /// The first of the three, counted from 1.
        first: usize,
    },
    /// The 13th word does not repeat the word it must.
    #[error("the last word of the recovery phrase does not fit the others: a word is wrong or out of place")]
    Checksum,
}

/// The phrase of 16 bytes.
pub fn encode(entropy: &[u8; 16]) -> Zeroizing<String> {
    let words = &*WORDS;
    let n = words.len();
    let mut indexes = Zeroizing::new([0usize; DATA_WORDS]);
    for (chunk, out) in entropy.chunks_exact(4).zip(indexes.chunks_exact_mut(3)) {
        let x = u32::from_le_bytes(chunk.try_into().expect("4 bytes")) as usize;
        out[0] = x % n;
        out[1] = (x / n + out[0]) % n;
        out[2] = (x / n / n + out[1]) % n;
    }
    let mut phrase = Zeroizing::new(String::with_capacity((DATA_WORDS + 1) * 13));
    for &index in indexes.iter() {
        phrase.push_str(words[index]);
        phrase.push(' ');
    }
    phrase.push_str(words[indexes[checksum_position(&indexes)]]);
    phrase
}

/// The 16 bytes of a phrase. Case and spacing do not matter; of each word the first three letters count.
pub fn decode(phrase: &str) -> Result<Zeroizing<[u8; 16]>, MnemonicError> {
    // Counted first, so that text of any length costs one pass and no memory.
    let found = phrase.split_whitespace().count();
    if found != DATA_WORDS + 1 {
        return Err(MnemonicError::WordCount { found });
    }
    let n = WORDS.len();
    let mut indexes = Zeroizing::new([0usize; DATA_WORDS + 1]);
    for (at, word) in phrase.split_whitespace().enumerate() {
        indexes[at] = index_of(word).ok_or(MnemonicError::UnknownWord { position: at + 1 })?;
    }
    let mut entropy = Zeroizing::new([0; 16]);
    for (at, w) in indexes[..DATA_WORDS].chunks_exact(3).enumerate() {
        let x = w[0] + n * ((n - w[0] + w[1]) % n) + n * n * ((n - w[1] + w[2]) % n);
        // n³ is a little more than 2³², so some triples stand for no four bytes.
        let x = u32::try_from(x).map_err(|_| MnemonicError::Impossible { first: at * 3 + 1 })?;
        entropy[at * 4..at * 4 + 4].copy_from_slice(&x.to_le_bytes());
    }
    let data = indexes.first_chunk().expect("13 indexes");
    if indexes[DATA_WORDS] != data[checksum_position(data)] {
        return Err(MnemonicError::Checksum);
    }
    Ok(entropy)
}

/// All words in index order.
pub fn word_list() -> &'static [&'static str] {
    &WORDS
}

fn index_of(word: &str) -> Option<usize> {
    let mut prefix = word.get(..PREFIX_LEN)?.to_ascii_lowercase();
    let found = WORDS
        .binary_search_by(|candidate| candidate[..PREFIX_LEN].cmp(&prefix))
        .ok();
    prefix.zeroize();
    found
}

/// Index of the word of the twelve that the thirteenth repeats: CRC-32 over their first three letters, modulo 12.
fn checksum_position(indexes: &[usize; DATA_WORDS]) -> usize {
    let mut crc = crc32fast::Hasher::new();
    for &index in indexes {
        crc.update(&WORDS[index].as_bytes()[..PREFIX_LEN]);
    }
    crc.finalize() as usize % DATA_WORDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_sorted_and_prefix_free() {
        assert_eq!(WORDS.len(), 1626);
        assert!(WORDS.windows(2).all(|w| w[0][..PREFIX_LEN] < w[1][..PREFIX_LEN]));
    }

    #[test]
    fn each_kind_of_wrong_phrase_has_its_own_answer() {
        let good = encode(&[7; 16]);
        assert_eq!(*decode(&good.to_uppercase().replace(' ', "  ")).unwrap(), [7; 16]);
        assert_eq!(
            decode("abbey abbey").unwrap_err(),
            MnemonicError::WordCount { found: 2 }
        );
        let mut words: Vec<_> = good.split(' ').collect();
        words[4] = "zzzzzz";
        assert_eq!(
            decode(&words.join(" ")).unwrap_err(),
            MnemonicError::UnknownWord { position: 5 }
        );
        words[4] = "éé";
        assert_eq!(
            decode(&words.join(" ")).unwrap_err(),
            MnemonicError::UnknownWord { position: 5 }
        );
        let mut words: Vec<_> = good.split(' ').collect();
        words[12] = if words[12] == "abbey" { "zoom" } else { "abbey" };
        assert_eq!(decode(&words.join(" ")).unwrap_err(), MnemonicError::Checksum);
        // w1 = 1625, w2 = 1624, w3 = 1623 gives n³ - 1, which is more than 32 bits hold.
        let last = WORDS[1625];
        let phrase = format!("{last} {} {}{}", WORDS[1624], WORDS[1623], " abbey".repeat(10));
        assert_eq!(
            decode(&phrase).unwrap_err(),
            MnemonicError::Impossible { first: 1 }
        );
    }
}
