//! Messages that cannot be encrypted, and keys that may read.

use ackpost_testkit::{OmemoPeer as Peer, XmppServer};
use ackpost_xmpp::Note;
use ackpost_xmpp::XmppError;
use ackpost_xmpp::omemo::{EncryptionMode, LeftOutReason, OmemoError, Trust, TrustPolicy};

use crate::on_both_servers;
use crate::support::{account, device, outcome, plain, report, send, text, user};

on_both_servers!(
    without_keys_a_message_is_refused_or_goes_in_clear_text_and_says_so
    keys_are_trusted_by_policy
);

fn cause(outcome: &ackpost_xmpp::Outcome) -> OmemoError {
    match outcome.error() {
        Some(XmppError::Encryption(cause)) => (**cause).clone(),
        other => panic!("{other:?}"),
    }
}

fn without_keys_a_message_is_refused_or_goes_in_clear_text_and_says_so(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("ours");
    let to = user(server, "keys18");
    let refused = outcome(
        &account(server, "keys17", &state),
        text(&to.to_string(), "secret"),
    );
    assert_eq!(cause(&refused), OmemoError::NoKeys { to: to.clone() });
    let auto = plain(server, "keys17").omemo(device(&state).mode(EncryptionMode::Auto));
    let sent = send(&auto, text(&to.to_string(), "in clear text"));
    let no_keys = Note::NotEncrypted(Box::new(OmemoError::NoKeys { to: to.clone() }));
    assert!(sent.notes.contains(&no_keys), "{sent:?}");
    // The refused text never left.
    let mut peer = Peer::start(server, "omemo", "keys18", &folder.path().join("theirs"));
    assert_eq!(peer.expect("plain")["text"], "in clear text");
    // From now on there are keys: the same sender encrypts by itself.
    let sent = report(&send(&auto, text(&peer.jid, "encrypted now")));
    assert_eq!(sent.devices.len(), 1);
    assert_eq!(peer.text().0, "encrypted now");
    // The keys vanish: that is no reason for clear text.
    peer.unpublish();
    device(&state).forget_lists(auto.jid()).unwrap();
    let refused = outcome(&auto, text(&peer.jid, "still secret"));
    assert_eq!(cause(&refused), OmemoError::KeysGone { to });
    peer.nothing_more();
}

fn keys_are_trusted_by_policy(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("ours");
    let mut first = Peer::start(server, "dr", "keys20", &folder.path().join("first"));
    let to = user(server, "keys20");
    let with = |policy: TrustPolicy| plain(server, "keys19").omemo(device(&state).trust(policy));
    let refused = outcome(&with(TrustPolicy::Pinned), text(&first.jid, "no"));
    match cause(&refused) {
        OmemoError::NoUsableDevice { devices, .. } => {
            assert_eq!(devices[0].reason, LeftOutReason::NotPinned);
        }
        other => panic!("{other}"),
    }
    let pinned = plain(server, "keys19").omemo(
        device(&state)
            .trust(TrustPolicy::Pinned)
            .pin(&to, &first.fingerprint),
    );
    send(&pinned, text(&first.jid, "pinned"));
    assert_eq!(first.text().0, "pinned");
    // A verified key: a device that comes later waits for a decision.
    let omemo = device(&state);
    let own = user(server, "keys19");
    omemo
        .set_trust(&own, &to, &first.fingerprint, Trust::Verified)
        .unwrap();
    let mut second = Peer::start(server, "omemo", "keys20", &folder.path().join("second"));
    omemo.forget_lists(&own).unwrap();
    let sent = report(&send(
        &with(TrustPolicy::Tofu),
        text(&first.jid, "for the verified"),
    ));
    assert_eq!(sent.devices.len(), 1);
    assert_eq!(
        (sent.left_out[0].device, sent.left_out[0].reason),
        (Some(second.device), LeftOutReason::NotVerified)
    );
    assert_eq!(first.text().0, "for the verified");
    second.nothing_more();
    // A person decides.
    omemo
        .set_trust(&own, &to, &second.fingerprint, Trust::Verified)
        .unwrap();
    omemo
        .set_trust(&own, &to, &first.fingerprint, Trust::Distrusted)
        .unwrap();
    let sent = report(&send(&with(TrustPolicy::Any), text(&first.jid, "for the second")));
    assert_eq!(sent.devices[0].device, second.device);
    assert_eq!(sent.left_out[0].reason, LeftOutReason::Distrusted);
    assert_eq!(second.text().0, "for the second");
    first.nothing_more();
    let known = omemo.devices(&own, &to).unwrap();
    let mut trust: Vec<_> = known
        .iter()
        .map(|info| (info.fingerprint.clone().unwrap(), info.trust.unwrap()))
        .collect();
    trust.sort_by_key(|(_, trust)| *trust);
    assert_eq!(
        trust,
        [
            (second.fingerprint.clone(), Trust::Verified),
            (first.fingerprint.clone(), Trust::Distrusted)
        ]
    );
}
