//! Any bytes as the content of a message; what decodes encodes to the same meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use session_protocol::content::Content;
use session_protocol::message;
use session_protocol::padding::{Padding, unpad};

fuzz_target!(|data: &[u8]| {
    if let Ok(content) = Content::decode_bounded(data) {
        assert_eq!(Content::decode_bounded(&content.to_bytes()).unwrap(), content);
        let _ = (content.body(), content.display_name(), content.is_visible(), content.is_out_of_time(0.0));
    }
    let _ = message::open(data);
    for padding in [Padding::Block, Padding::BlockLessOne] {
        assert_eq!(unpad(&padding.pad(data.to_vec())), data);
    }
});
