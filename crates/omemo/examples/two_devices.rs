//! Two devices talk: bundles and messages as XML, the answer that confirms the session, saved state.
//!
//! `cargo run -p omemo --example two_devices`
#![expect(clippy::print_stdout, reason = "this is its output")]

use omemo::xml::{Element, Envelope};
use omemo::{Account, Bundle, DeviceId, Encrypted, Error, Identity, MessageBuilder, Session, Version};

const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";

fn main() -> Result<(), Error> {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    // Seconds since 1970, from the clock of the program.
    let now = 1_764_460_800;
    for version in [Version::Axolotl, Version::Omemo2] {
        let mut alice = Account::new(
            Identity::generate(&mut rng),
            DeviceId::random(&mut rng),
            now,
            &mut rng,
        );
        let mut bob = Account::new(
            Identity::generate(&mut rng),
            DeviceId::random(&mut rng),
            now,
            &mut rng,
        );

        // Bob publishes his bundle; Alice fetches it.
        let (node, item) = version.bundle_address(bob.device_id());
        let published = bob.bundle(version).to_element()?.to_xml();
        println!("{version}\n  {node}, item {item}: {} bytes", published.len());
        let bundle = Bundle::from_element(&Element::parse(&published)?)?;
        println!("  fingerprint {}", bundle.identity_key);

        // Alice writes.
        let mut to_bob = Session::initiate(&alice, &bundle, &mut rng)?;
        let content = match version {
            Version::Axolotl => b"Hello, Bob!".to_vec(),
            Version::Omemo2 => Envelope::text(ALICE, "Hello, Bob!").to_bytes(&mut rng).to_vec(),
        };
        let mut message = MessageBuilder::new(version, alice.device_id(), &content, &mut rng)?;
        message.add(BOB, bob.device_id(), &mut to_bob)?;
        let xml = message.finish().to_element().to_xml();
        let saved = to_bob.to_bytes();
        println!(
            "  message of {} bytes, session of {} bytes",
            xml.len(),
            saved.len()
        );

        // Bob reads. The message carries the key exchange.
        let received = Encrypted::from_element(&Element::parse(&xml)?)?;
        let mut to_alice = None;
        let decrypted = bob.decrypt(&received, BOB, &mut to_alice, &mut rng)?;
        let content = decrypted.content.ok_or(Error::Malformed("message"))?;
        let text = match version {
            Version::Axolotl => String::from_utf8_lossy(&content).into_owned(),
            Version::Omemo2 => {
                let envelope = Envelope::from_bytes(&content)?;
                envelope.check(ALICE, None)?;
                envelope.body().unwrap_or_default()
            }
        };
        println!("  Bob reads: {text}");

        // Bob answers with an empty message, after which Alice leaves the key exchange out.
        let mut to_alice = to_alice.ok_or(Error::NoSession)?;
        let mut answer = MessageBuilder::empty(version, bob.device_id(), &mut rng);
        answer.add(ALICE, alice.device_id(), &mut to_alice)?;
        let mut to_bob = Some(Session::from_bytes(&saved)?);
        alice.decrypt(&answer.finish(), ALICE, &mut to_bob, &mut rng)?;
        println!(
            "  confirmed: {}",
            to_bob.is_some_and(|session| session.is_confirmed())
        );
    }
    Ok(())
}
