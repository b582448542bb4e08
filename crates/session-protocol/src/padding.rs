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

/// Reads the content of a community message: drops trailing zeros and one `0x80`. Where there is no `0x80` before the
/// zeros, nothing was padded and everything is kept.
pub fn unpad(data: &[u8]) -> &[u8] {
    match data.iter().rposition(|&b| b != 0) {
        Some(last) if data[last] == 0x80 => &data[..last],
        _ => data,
    }
}

/// Reads the content of a direct message, as libsession does: drops trailing zeros, and one `0x80` if it is before them.
pub fn unpad_direct(data: &[u8]) -> &[u8] {
    let end = data
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    data[..end].strip_suffix(&[0x80]).unwrap_or(&data[..end])
}

#[cfg(test)]
mod tests {
    use super::{unpad, unpad_direct};

    #[test]
    fn zeros_without_a_marker_are_content_of_a_community_message_and_padding_of_a_direct_one() {
        for (padded, community, direct) in [
            (&[0; 160][..], &[0; 160][..], &[][..]),
            (b"text\0\0", b"text\0\0", b"text"),
            (b"text\x80\0", b"text", b"text"),
            (b"\x80\x80\0", b"\x80", b"\x80"),
            (b"", b"", b""),
        ] {
            assert_eq!(
                (unpad(padded), unpad_direct(padded)),
                (community, direct),
                "{padded:?}"
            );
        }
    }
}
