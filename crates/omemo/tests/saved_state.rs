//! State that earlier versions of the crate saved is loaded and goes on.

use omemo::xml::Element;
use omemo::{Account, Encrypted, Session, Version};
use serde_json::Value;

/// `vectors/state-1.json`, written by version 0.1.0: for each version of OMEMO the account and the session of a receiver that
/// has skipped messages, and of a sender whose session is not confirmed; then messages that were on their way.
#[test]
fn state_of_format_1_is_loaded() {
    let file: Value = serde_json::from_str(include_str!("../vectors/state-1.json")).unwrap();
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    for version in [Version::Axolotl, Version::Omemo2] {
        let saved = &file[version.namespace()];
        let bytes = |name: &str| hex::decode(saved[name].as_str().unwrap()).unwrap();
        let mut bob = Account::from_bytes(&bytes("receiver_account")).unwrap();
        let mut session = Some(Session::from_bytes(&bytes("receiver_session")).unwrap());
        assert_eq!(*bob.to_bytes(), bytes("receiver_account"));
        assert_eq!(*session.as_ref().unwrap().to_bytes(), bytes("receiver_session"));
        assert_eq!(bob.bundle(version).verify(), Ok(()));
        for (at, xml) in saved["on_their_way"].as_array().unwrap().iter().enumerate() {
            let element = Element::parse(xml.as_str().unwrap()).unwrap();
            let message = Encrypted::from_element(&element).unwrap();
            let opened = bob
                .decrypt(&message, "bob@b.example", &mut session, &mut rng)
                .unwrap();
            assert_eq!(
                opened.content.unwrap().as_slice(),
                format!("message {at}").as_bytes()
            );
        }
        let mut alice = Account::from_bytes(&bytes("sender_account")).unwrap();
        let mut session = Some(Session::from_bytes(&bytes("sender_session")).unwrap());
        assert!(!session.as_ref().unwrap().is_confirmed());
        let element = Element::parse(saved["answer"].as_str().unwrap()).unwrap();
        let answer = Encrypted::from_element(&element).unwrap();
        alice
            .decrypt(&answer, "alice@a.example", &mut session, &mut rng)
            .unwrap();
        assert!(session.unwrap().is_confirmed());
    }
}
