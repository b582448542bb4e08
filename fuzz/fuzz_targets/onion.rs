//! Any bytes into a server's and a hop's end of an onion request, and what opens survives being sealed again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use session_protocol::ServerSecret;
use session_protocol::onion::{self, Cipher, Sealed, path, v3, v4};

fuzz_target!(|data: &[u8]| {
    let secret = ServerSecret::from_bytes([7; 32]);
    let _ = onion::open(data, &secret);
    let _ = path::peel(data, &secret);
    if let Ok(request) = v4::Request::from_plaintext(data) {
        assert_eq!(v4::Request::from_plaintext(&request.to_plaintext()).unwrap(), request);
    }
    if let Ok(response) = v4::Response::from_plaintext(data) {
        // A content length is not passed on; everything else comes back.
        let again = v4::Response::from_plaintext(&response.to_plaintext()).unwrap();
        assert_eq!((again.code, again.body), (response.code, response.body));
    }
    if let Ok(request) = v3::Request::from_plaintext(data) {
        assert_eq!(v3::Request::from_plaintext(&request.to_plaintext()).unwrap(), request);
    }
    // The same bytes as the inside of a layer that does open.
    for (cipher, nonce) in [(Cipher::AesGcm, &[1; 12][..]), (Cipher::XChaCha20, &[1; 24][..])] {
        let sealed = Sealed::with(data, &secret.public(), cipher, [9; 32], nonce).unwrap();
        let body = sealed.to_body();
        assert_eq!(onion::open(&body, &secret).unwrap().plaintext, data);
        let _ = path::peel(&body, &secret);
        let _ = v4::Request::open(&body, &secret);
        let _ = v3::Request::open(&body, &secret);
        let _ = v4::Response::open(&sealed.blob, &sealed.reply);
    }
});
