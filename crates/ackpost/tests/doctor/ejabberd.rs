//! XMPP on the other server: a real ejabberd.

use ackpost_testkit::{Ejabberd, Prosody, XmppServer};

use crate::accounts::{alice, room};
use crate::examined::{fails_at, is_free};

/// A crash of such a server loses messages that it has confirmed (measured in ADR 0004): the operator is told before.
#[test]
fn a_server_that_answers_before_it_stores_is_named() {
    let login = |url: &str| {
        let found = is_free(&[url]);
        let steps = found["steps"].as_array().expect("the steps").clone();
        let login = steps
            .iter()
            .find(|step| step["name"] == "login")
            .expect("a login");
        login["seen"].as_str().expect("words").to_owned()
    };
    let sentence = "the server is ejabberd, which answers before it stores: a crash can lose messages it has just \
                    confirmed, only confirm=receipt proves more";
    for mode in ["starttls", "tls"] {
        let query = format!("mode={mode}");
        let port = |server: &XmppServer| {
            if mode == "tls" {
                server.tls_port
            } else {
                server.port
            }
        };
        let ejabberd = Ejabberd::shared();
        let said = login(&alice(ejabberd, port(ejabberd), &query));
        assert!(said.ends_with(&format!("; {sentence}")), "{said}");
        let prosody = Prosody::shared();
        let said = login(&alice(prosody, port(prosody), &query));
        assert!(said.ends_with("; the server is Prosody"), "{said}");
    }
}

#[test]
fn the_way_to_ejabberd_and_what_bars_it() {
    let server = Ejabberd::shared();
    let good = alice(server, server.port, "mode=starttls");
    is_free(&["--send", &good]);
    is_free(&["--send", &room(server, "open", "")]);
    // The wrong kind of encryption for the port, both ways.
    fails_at("tls", &alice(server, server.tls_port, "mode=starttls"));
    fails_at("tls", &alice(server, server.port, "mode=tls"));
    is_free(&[&alice(server, server.tls_port, "mode=tls")]);
    // No encryption where it is insisted on.
    fails_at(
        "tls",
        &alice(server, server.strict_port, "mode=none").replacen("xmpps:", "xmpp:", 1),
    );
    is_free(&[&alice(server, server.strict_port, "mode=starttls")]);
    // An authority that is not believed.
    fails_at(
        "tls",
        &good.replace(&format!("&ca_file={}", server.ca.display()), ""),
    );
    // A domain that it does not serve.
    fails_at(
        "stream",
        &alice(server, server.port, "mode=none")
            .replacen("xmpps:", "xmpp:", 1)
            .replace("@localhost", "@elsewhere.test"),
    );
    // Password and name.
    fails_at("login", &good.replace("alicepass", "wrong"));
    fails_at("login", &good.replace("alice:", "nobody:"));
    // Rooms.
    fails_at("room", &room(server, "nowhere", ""));
    fails_at("room", &room(server, "members", ""));
    fails_at("room", &room(server, "secret", ""));
    fails_at("room", &room(server, "secret", "room_password=wrong"));
    is_free(&["--send", &room(server, "secret", "room_password=roompass")]);
    fails_at("room", &room(server, "moderated", ""));
}
