//! Operations a second, on one core: `cargo bench -p omemo --bench sessions`.
//!
//! Prints one line per operation, `name<TAB>operations per second`.
#![expect(clippy::print_stdout, reason = "this is its output")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use omemo::{Account, DeviceId, Encrypted, Identity, MessageBuilder, Session, Version};
use rand_core::CryptoRng;

/// Time for which each operation is repeated.
const TIME: Duration = Duration::from_millis(600);
const JID: &str = "bob@example.org";

/// Runs an operation again and again. `prepare` makes its input and is not counted.
fn measure<I, T>(name: &str, mut prepare: impl FnMut() -> I, mut run: impl FnMut(I) -> T) {
    for _ in 0..20 {
        let input = prepare();
        black_box(run(input));
    }
    let (mut spent, mut count) = (Duration::ZERO, 0u32);
    while spent < TIME {
        let inputs: Vec<I> = (0..10).map(|_| prepare()).collect();
        let start = Instant::now();
        for input in inputs {
            black_box(run(input));
        }
        spent += start.elapsed();
        count += 10;
    }
    println!("{name}\t{:.0}", f64::from(count) / spent.as_secs_f64());
}

fn rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

fn device() -> Account {
    let mut rng = rng();
    Account::new(
        Identity::generate(&mut rng),
        DeviceId::random(&mut rng),
        0,
        &mut rng,
    )
}

fn message(from: &Account, to: &Account, session: &mut Session) -> Encrypted {
    let mut message = MessageBuilder::new(session.version(), from.device_id(), &[b'x'; 300], &mut rng())
        .expect("300 bytes are within the limit");
    message
        .add(JID, to.device_id(), session)
        .expect("the chain is not exhausted");
    message.finish()
}

fn main() {
    measure("create a device", || (), |()| device());
    let saved = device().to_bytes();
    measure(
        "load a device",
        || (),
        |()| Account::from_bytes(&saved).expect("just saved"),
    );
    for version in [Version::Axolotl, Version::Omemo2] {
        let (alice, bob) = (device(), device());
        let bundle = bob.bundle(version);
        let start = || Session::initiate(&alice, &bundle, &mut rng()).expect("a valid bundle");
        measure(&format!("{version}: start a session"), || (), |()| start());
        measure(
            &format!("{version}: accept a session"),
            || (bob.clone(), message(&alice, &bob, &mut start())),
            |(mut bob, message)| bob.decrypt(&message, JID, &mut None, &mut rng()).is_ok(),
        );
        let mut session = start();
        measure(
            &format!("{version}: encrypt for one device"),
            || (),
            |()| message(&alice, &bob, &mut session),
        );
        let (mut sender, mut receiver) = (alice.clone(), bob.clone());
        let (mut sending, mut receiving) = (Some(start()), None);
        let first = message(&alice, &bob, sending.as_mut().expect("just started"));
        receiver
            .decrypt(&first, JID, &mut receiving, &mut rng())
            .expect("the first message starts a session");
        let answer = message(&bob, &alice, receiving.as_mut().expect("just started"));
        sender
            .decrypt(&answer, JID, &mut sending, &mut rng())
            .expect("the answer confirms the session");
        let mut sending = sending.expect("still there");
        measure(
            &format!("{version}: decrypt in a session"),
            || message(&alice, &bob, &mut sending),
            |message| {
                receiver
                    .decrypt(&message, JID, &mut receiving, &mut rng())
                    .is_ok()
            },
        );
        measure(
            &format!("{version}: save a session"),
            || (),
            |()| session.to_bytes(),
        );
    }
}
