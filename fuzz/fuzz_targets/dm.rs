//! Any bytes as a direct message, and any content through both ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use session_protocol::dm::Conversation;
use session_protocol::{Identity, ServerKey};

fuzz_target!(|data: &[u8]| {
    let server = ServerKey::from_bytes([3; 32]);
    let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let (from, to) = (alice.blind15(&server).id(), bob.blind15(&server).id());
    let sending = Conversation::new(&alice, &to, &server).unwrap();
    let receiving = Conversation::new(&bob, &from, &server).unwrap();
    assert!(receiving.open_received(data).is_err());
    let opened = receiving.open_received(&sending.seal(data, &[5; 24])).unwrap();
    assert_eq!((opened.data.as_slice(), opened.sender), (data, alice.session_id()));
});
