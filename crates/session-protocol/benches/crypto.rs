//! Operations a second, on one core: `cargo bench -p session-protocol --bench crypto`.
//!
//! Prints one line per operation, `name<TAB>operations per second`, which `scripts/bench-crypto` puts beside
//! libsodium's numbers of the same run.
#![expect(clippy::print_stdout, reason = "this is its output")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use session_protocol::auth::{RawHeaders, Request, Signer, Unverified};
use session_protocol::content::Content;
use session_protocol::dm::Conversation;
use session_protocol::message::{self, SignedPost};
use session_protocol::onion::{self, Cipher, Sealed};
use session_protocol::padding::Padding;
use session_protocol::{Identity, ServerSecret};

/// Time for which each operation is repeated.
const TIME: Duration = Duration::from_millis(600);

fn measure<T>(name: &str, mut run: impl FnMut() -> T) {
    for _ in 0..20 {
        black_box(run());
    }
    let (start, mut count) = (Instant::now(), 0u32);
    while start.elapsed() < TIME {
        for _ in 0..10 {
            black_box(run());
        }
        count += 10;
    }
    println!("{name}\t{:.0}", f64::from(count) / start.elapsed().as_secs_f64());
}

fn main() {
    let server = ServerSecret::from_bytes([0x5e; 32]);
    let key = server.public();
    let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let body = vec![b'x'; 300];
    let request = Request {
        method: "POST",
        path: "/room/test/message",
        body: &body,
    };
    let blinded = Signer::blind15(&alice, &key);
    let account = Signer::account(&alice);

    measure("blind an account for a server", || alice.blind15(&key));
    measure("sign a request, blinded", || {
        request.sign(&blinded, &key, &[7; 16], 1_700_000_000)
    });
    measure("sign a request, unblinded", || {
        request.sign(&account, &key, &[7; 16], 1_700_000_000)
    });

    let headers = request.sign(&blinded, &key, &[7; 16], 1_700_000_000);
    let raw: RawHeaders<'_> = headers.as_raw();
    measure("verify a request, key not seen before", || {
        Unverified::parse(raw, true, 1_700_000_000).map(|u| u.map(|u| u.verify(&key, &request)))
    });
    measure("verify a request, key seen before", || {
        Unverified::parse_with(raw, true, 1_700_000_000, |_| true)
            .map(|u| u.map(|u| u.verify(&key, &request)))
    });

    let text = "A message of middling length, as people write them in communities all day long. ".repeat(2);
    measure("encode, pad and sign a message, blinded", || {
        SignedPost::new(
            &Content::text(text.as_str(), Some("Alice"), 1_700_000_000_000),
            &blinded,
            Padding::Block,
        )
    });
    measure("encode, pad and sign a message, XEd25519", || {
        SignedPost::new(
            &Content::text(text.as_str(), Some("Alice"), 1_700_000_000_000),
            &account,
            Padding::Block,
        )
    });
    for (signer, name) in [(&blinded, "15"), (&account, "05")] {
        let content = Content::text(text.as_str(), Some("Alice"), 1_700_000_000_000);
        let post = SignedPost::new(&content, signer, Padding::Block);
        let id = signer.shown_id();
        measure(&format!("verify and decode a message, {name} id"), || {
            (
                message::verify(&id, &post.data, &post.signature),
                message::open(&post.data),
            )
        });
        let mut verifier = message::Verifier::new();
        measure(&format!("the same, {name} id seen before"), || {
            (
                verifier.verify(&id, &post.data, &post.signature),
                message::open(&post.data),
            )
        });
    }

    let plaintext = vec![b'y'; 1_000];
    for cipher in [Cipher::AesGcm, Cipher::XChaCha20] {
        let nonce = vec![3; cipher.nonce_len()];
        measure(&format!("onion: seal 1 kB, {}", cipher.name()), || {
            Sealed::with(&plaintext, &key, cipher, [9; 32], &nonce)
        });
        let sealed = Sealed::with(&plaintext, &key, cipher, [9; 32], &nonce)
            .expect("a valid key")
            .to_body();
        measure(&format!("onion: open 1 kB, {}", cipher.name()), || {
            onion::open(&sealed, &server)
        });
    }

    direct_messages(&alice, &bob, &server, text.as_str());
}

fn direct_messages(alice: &Identity, bob: &Identity, server: &ServerSecret, text: &str) {
    let key = server.public();
    let (from, to) = (alice.blind15(&key).id(), bob.blind15(&key).id());
    let padded = Padding::Block.pad(Content::text(text, None, 1).to_bytes());
    measure("direct message: seal", || {
        Conversation::new(alice, &to, &key).map(|c| c.seal(&padded, &[5; 24]))
    });
    let sealed = Conversation::new(alice, &to, &key)
        .expect("a blinded id")
        .seal(&padded, &[5; 24]);
    measure("direct message: open and prove its sender", || {
        Conversation::new(bob, &from, &key).map(|c| c.open_received(&sealed))
    });
}
