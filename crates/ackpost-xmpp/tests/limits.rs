//! The size that a server announces for stanzas (XEP-0478).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use ackpost_xmpp::{Account, Content, Mode, Outcome, Outgoing, XmppError};
use common::fake::{Fake, features, mechanisms, on};
use common::*;

#[test]
fn a_message_larger_than_the_server_takes_is_not_written() {
    let offer = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>\
        <limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes></limits>";
    let fake = Fake::start(vec![vec![
        on("<stream:stream", features(&mechanisms(&["PLAIN"]))),
        on("</auth>", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
        on("<stream:stream", features(offer)),
    ]]);
    let account = Account::new("alice@localhost".parse().unwrap(), "secret".to_owned().into())
        .mode(Mode::None)
        .host("127.0.0.1")
        .port(fake.port);
    let bob: ackpost_xmpp::Jid = "bob@localhost".parse().unwrap();
    let messages = ["x".repeat(20_000), "short".to_owned()]
        .map(|text| Outgoing::new(bob.clone(), Content::text(text)))
        .to_vec();
    let outcomes = block_on(ackpost_xmpp::send(&account, messages));
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        let Outcome::Refused(error) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(
            matches!(error, XmppError::TooLarge { limit: 10_000, .. }),
            "{error}"
        );
        assert!(
            error.to_string().ends_with("the server takes at most 10000"),
            "{error}"
        );
    }
    assert!(
        !fake.heard().concat().contains("<message"),
        "nothing of it was written"
    );
}
