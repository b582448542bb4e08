//! Any bytes as a bencoded list; what is a list has one form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use session_protocol::onion::bencode;

fuzz_target!(|data: &[u8]| {
    if let Ok((first, second)) = bencode::decode_list(data) {
        let strings: Vec<&[u8]> = [Some(first), second].into_iter().flatten().collect();
        assert_eq!(bencode::encode_list(&strings), data);
    }
});
