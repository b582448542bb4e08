//! Padding of message content: `content ‖ 0x80 ‖ 0x00…`.

/// The block that current clients pad to, bytes.
pub const BLOCK_LEN_BYTES: usize = 160;

/// Length rule for padding. Every client reads both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Padding {
    /// Total length a multiple of 160: libsession, hence current apps.
    #[default]
    Block,
    /// Total length one less than a multiple of 160: session.js and older desktop apps.
    BlockLessOne,
}

impl Padding {
    /// Length after padding `content_len` bytes.
    pub fn padded_len(self, content_len: usize) -> usize {
        match self {
            // Content of 159 bytes modulo 160 would fill its block with the marker, and gets a whole block more.
            Self::Block => (content_len + 2).next_multiple_of(BLOCK_LEN_BYTES),
            Self::BlockLessOne => (content_len + 2).next_multiple_of(BLOCK_LEN_BYTES) - 1,
        }
    }

    /// Pads `content`.
    pub fn pad(self, mut content: Vec<u8>) -> Vec<u8> {
        let padded = self.padded_len(content.len());
        content.push(0x80);
        content.resize(padded, 0);
        content
    }
}

/// Drops trailing zeros and one `0x80`. Where there is no `0x80` before the zeros, nothing was padded and
/// everything is kept.
pub fn unpad(data: &[u8]) -> &[u8] {
    match data.iter().rposition(|&b| b != 0) {
        Some(last) if data[last] == 0x80 => &data[..last],
        _ => data,
    }
}
