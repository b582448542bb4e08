//! Servers that send their clients elsewhere, that are older than XMPP 1.0, or that have names in other scripts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod common;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ackpost_testkit::{Ejabberd, Prosody, SelfSigned, XmppServer};
use ackpost_xmpp::probe::Probe;
use ackpost_xmpp::{
    Account, ChannelBinding, ConfirmedBy, Jid, Mode, Note, Outcome, Session, SessionOptions, Verify,
    XmppError,
};
use common::dns::NameServer;
use common::fake::*;
use common::*;

fn both() -> [&'static XmppServer; 2] {
    [Prosody::shared(), Ejabberd::shared()]
}

// --- other hosts (RFC 6120 section 4.9.3.19) ---

fn see_other_host(to: &str) -> String {
    format!(
        "{OPEN}<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{to}</see-other-host>\
         </stream:error></stream:stream>"
    )
}

/// A server that takes messages to people of `localhost`.
fn taking() -> Vec<Step> {
    let mut script = logged_in();
    for _ in 0..4 {
        script.push(reply("</iq>", |heard| pong(&format!("{heard}>"), "localhost")));
    }
    script
}

#[test]
fn another_host_is_gone_to() {
    for (ip, shown) in [
        (Ipv4Addr::LOCALHOST.into(), "127.0.0.1"),
        (std::net::IpAddr::from(Ipv6Addr::LOCALHOST), "[::1]"),
    ] {
        let home = Fake::at(ip, vec![taking()]);
        let to = format!("{shown}:{}", home.port);
        let first = one(vec![on("<stream:stream", see_other_host(&to))]);
        let outcome = ends(&first, Mode::None);
        delivered(&outcome);
        assert!(home.heard()[0].contains("hello") && !first.heard()[0].contains("hello"));
    }
}

#[test]
fn another_host_must_encrypt_with_the_same_certificate() {
    // Sent on before TLS: the connection there is encrypted like the first one, and the name is checked.
    let good = SelfSigned::new(&["localhost"]);
    let bad = SelfSigned::new(&["elsewhere.example"]);
    for certificate in [&good, &bad] {
        let mut script = vec![
            on(
                "<starttls",
                features("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
                    + "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            ),
            Step::Tls(certificate.server()),
        ];
        script.extend(taking());
        let home = one(script);
        let first = one(vec![on(
            "<stream:stream",
            see_other_host(&format!("127.0.0.1:{}", home.port)),
        )]);
        let account = to_fake(&first, Mode::StartTls).verify(Verify::Authorities(
            (good.pem.clone() + &bad.pem).into_bytes().into(),
        ));
        let outcome = ends_for(&account, user("bob@localhost"));
        if std::ptr::eq(certificate, &raw const good) {
            delivered(&outcome);
        } else {
            assert_ends!(outcome, XmppError::CertificateWrongName { .. });
        }
    }
}

#[test]
fn hosts_that_send_us_round_in_circles_are_named_and_the_message_is_deferred() {
    let port = ackpost_testkit::reserve_port();
    let to = format!("127.0.0.1:{port}");
    let circle = {
        let to = to.clone();
        // Its own address is only known now.
        let listener = TcpListener::bind(&to).unwrap();
        std::thread::spawn(move || {
            let mut visits = 0;
            for tcp in listener.incoming().take(20) {
                let mut tcp = tcp.unwrap();
                let mut bytes = [0; 4096];
                let _ = tcp.read(&mut bytes);
                let _ = tcp.write_all(see_other_host(&to).as_bytes());
                visits += 1;
                if visits > 12 {
                    break;
                }
            }
        })
    };
    let account = Account::new(jid("alice@localhost"), "secret-pw-1".to_owned().into())
        .host("127.0.0.1")
        .port(port)
        .mode(Mode::None)
        .answer_timeout(LIMIT);
    let outcome = ends_for(&account, user("bob@localhost"));
    assert!(
        matches!(outcome, Outcome::Deferred(_)) && failure(&outcome).to_string().contains(&to),
        "{outcome:?}"
    );
    assert!(!failure(&outcome).may_have_arrived());
    assert_ends!(outcome, XmppError::SeeOtherHost { .. });
    drop(circle);
    // A host that cannot be read is named too.
    let fake = one(vec![on("<stream:stream", see_other_host("node 7/x"))]);
    let outcome = ends(&fake, Mode::None);
    assert!(failure(&outcome).to_string().contains("node 7/x"), "{outcome:?}");
}

// --- servers that are older, or certificates of another kind ---

#[test]
fn a_server_from_before_xmpp() {
    let old = OPEN
        .replace(" version='1.0' \\\n", "")
        .replacen("id='s' version='1.0'", "id='s'", 1);
    let fake = one(vec![on("<stream:stream", old)]);
    let outcome = ends(&fake, Mode::None);
    assert!(failure(&outcome).remedy().contains("XMPP 1.0"));
    assert_ends!(outcome, XmppError::OldStream { .. });
}

#[test]
fn a_server_with_the_obsolete_login_alone() {
    let fake = one(vec![on(
        "<stream:stream",
        features("<auth xmlns='http://jabber.org/features/iq-auth'/>"),
    )]);
    let outcome = ends(&fake, Mode::None);
    assert!(failure(&outcome).remedy().contains("enable SASL"));
    assert_ends!(outcome, XmppError::OnlyIqAuth { .. });
}

#[test]
fn a_port_that_requires_starttls_says_so_in_a_stream_error() {
    let fake = one(vec![on(
        "<stream:stream",
        format!(
            "{OPEN}<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>Use of STARTTLS required</text></stream:error>"
        ),
    )]);
    let outcome = ends(&fake, Mode::None);
    assert!(failure(&outcome).remedy().contains("mode=starttls"));
    assert_ends!(outcome, XmppError::TlsRequired { .. });
}

#[test]
fn a_certificate_with_names_for_xmpp_alone() {
    use rcgen::SanType;
    // UTF8String "_xmpp-client.localhost" and "localhost".
    for (oid, name) in [(7, "_xmpp-client.localhost"), (5, "localhost")] {
        let wrong = certificate(|params| {
            params.subject_alt_names = vec![SanType::OtherName((
                vec![1, 3, 6, 1, 5, 5, 7, 8, oid],
                name.into(),
            ))];
        });
        let fake = one(vec![Step::Tls(wrong.server())]);
        let account = to_fake(&fake, Mode::Tls).verify(Verify::Authorities(wrong.pem.into_bytes().into()));
        let outcome = ends_for(&account, user("bob@localhost"));
        assert!(failure(&outcome).remedy().contains("DNS name"), "{outcome:?}");
        assert_ends!(outcome, XmppError::CertificateOnlyXmppNames { .. });
    }
}

// --- channel binding behind a relay that ends TLS (D18) ---

#[test]
fn a_server_behind_a_tls_relay_is_logged_in_to_without_channel_binding() {
    let failure = |condition: &str, text: &str| {
        format!(
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><{condition}/>{text}</failure></stream:stream>"
        )
    };
    let own = SelfSigned::new(&["localhost"]);
    for refusal in [
        failure("not-authorized", "<text>Invalid channel binding</text>"),
        failure("malformed-request", ""),
    ] {
        let offer = || on("<stream:stream", features(&mechanisms(&["SCRAM-SHA-1"])));
        let fake = Fake::start(vec![
            vec![Step::Tls(own.server()), offer(), on("</auth>", refusal)],
            // The second login is followed no further.
            vec![
                Step::Tls(own.server()),
                offer(),
                on("</auth>", failure("account-disabled", "")),
            ],
        ]);
        let account =
            to_fake(&fake, Mode::Tls).verify(Verify::Authorities(own.pem.clone().into_bytes().into()));
        assert_ends!(
            ends_for(&account, user("bob@localhost")),
            XmppError::AccountDisabled { .. }
        );
        let first = |heard: &str| {
            use base64::Engine as _;
            let body = heard
                .split("</auth>")
                .next()
                .unwrap()
                .rsplit('>')
                .next()
                .unwrap()
                .to_owned();
            String::from_utf8(base64::engine::general_purpose::STANDARD.decode(body).unwrap()).unwrap()
        };
        let heard = fake.heard();
        assert_eq!(heard.len(), 2, "one retry and no more");
        assert!(first(&heard[0]).starts_with("y,,") && first(&heard[1]).starts_with("n,,"));
    }
}

/// Ends TLS in front of a port that speaks in clear. With `strict`, it refuses a login whose client says that the
/// server offers no channel binding (`y,,`), in the words of ejabberd 24.12, and counts them.
fn tls_relay(to: u16, config: Arc<rustls::ServerConfig>, strict: Option<Arc<AtomicUsize>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten().take(10) {
            let (config, strict) = (config.clone(), strict.clone());
            std::thread::spawn(move || carry(tcp, to, config, strict.as_deref()));
        }
    });
    port
}

fn carry(tcp: TcpStream, to: u16, config: Arc<rustls::ServerConfig>, strict: Option<&AtomicUsize>) {
    const REFUSAL: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/>\
        <text>Invalid channel binding</text></failure></stream:stream>";
    let mut inner = TcpStream::connect(("127.0.0.1", to)).unwrap();
    let connection = rustls::ServerConnection::new(config).unwrap();
    let pause = Some(std::time::Duration::from_millis(5));
    tcp.set_read_timeout(pause).unwrap();
    inner.set_read_timeout(pause).unwrap();
    let mut outer = rustls::StreamOwned::new(connection, tcp);
    let mut bytes = [0; 16 * 1024];
    let waits = |error: &std::io::Error| {
        matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        )
    };
    loop {
        match outer.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => {
                if let Some(refused) = strict
                    && claims_no_binding(&String::from_utf8_lossy(&bytes[..count]))
                {
                    refused.fetch_add(1, Ordering::SeqCst);
                    let _ = outer.write_all(REFUSAL.as_bytes()).and_then(|()| outer.flush());
                    outer.conn.send_close_notify();
                    let _ = outer.flush();
                    return;
                }
                inner.write_all(&bytes[..count]).unwrap();
            }
            Err(error) if waits(&error) => {}
            Err(_) => return,
        }
        match inner.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => outer.write_all(&bytes[..count]).unwrap(),
            Err(error) if waits(&error) => {}
            Err(_) => return,
        }
    }
}

/// Returns true if a login with SCRAM begins here, and its client says that it knows channel binding and the server
/// does not.
fn claims_no_binding(heard: &str) -> bool {
    use base64::Engine as _;
    let first = heard
        .split("</auth>")
        .next()
        .filter(|_| heard.contains("</auth>"))
        .and_then(|auth| auth.rsplit('>').next())
        .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    first.is_some_and(|first| first.starts_with(b"y,,"))
}

#[test]
fn real_servers_behind_a_tls_relay() {
    let own = SelfSigned::new(&["localhost"]);
    let through = |server: &XmppServer, port: u16| {
        account(server, "alice", Mode::Tls)
            .port(port)
            .verify(Verify::Authorities(own.pem.clone().into_bytes().into()))
    };
    for server in both() {
        // These versions take the claim as it is.
        let account = through(server, tls_relay(server.port, own.server(), None));
        let outcome = send_one(&account, text(user("bob@localhost"), "x"));
        assert_eq!(delivered(&outcome).notes, []);
        // A server that refuses it gets the login once more, and the outcome says so.
        let refused = Arc::new(AtomicUsize::new(0));
        let port = tls_relay(server.port, own.server(), Some(refused.clone()));
        let account = through(server, port);
        let outcome = send_one(&account, text(user("bob@localhost"), "x"));
        assert_eq!(
            delivered(&outcome).notes,
            [Note::WithoutChannelBinding],
            "{}",
            server.version
        );
        assert_eq!(refused.load(Ordering::SeqCst), 1);
        // A kept session logs in once, and each of its messages says so.
        block_on(async {
            let (alice, _events) = Session::open(&account, SessionOptions::default()).await.unwrap();
            for _ in 0..2 {
                let outcome = alice.send(vec![text(user("bob@localhost"), "x")]).await.remove(0);
                assert_eq!(delivered(&outcome).notes, [Note::WithoutChannelBinding]);
            }
            alice.close().await;
        });
        assert_eq!(refused.load(Ordering::SeqCst), 2);
        let outcome = send_one(
            &account.channel_binding(ChannelBinding::Never),
            text(user("bob@localhost"), "x"),
        );
        assert_eq!(delivered(&outcome).notes, []);
        assert_eq!(refused.load(Ordering::SeqCst), 2);
    }
}

// --- services that do not exist ---

#[test]
fn a_room_service_that_does_not_exist() {
    for server in both() {
        let sender = account(server, "alice", Mode::StartTls);
        let outcome = send_one(&sender, text(room("open@nosuch.localhost"), "x"));
        assert_ends!(&outcome, XmppError::NoSuchService { domain, .. } if domain == "nosuch.localhost");
        assert!(
            failure(&outcome)
                .to_string()
                .contains("the service nosuch.localhost does not exist")
        );
        let found = block_on(async {
            let mut visit = Probe::open(&sender).await.unwrap();
            let found = visit.room(&jid("open@nosuch.localhost")).await;
            visit.close().await;
            found
        });
        assert!(matches!(found, Err(XmppError::NoSuchService { .. })), "{found:?}");
        // On another domain, which this server does not talk to.
        let outcome = send_one(&sender, text(room("open@conference.far.example"), "x"));
        assert_ends!(&outcome, XmppError::RemoteNotAllowed { .. });
    }
}

#[test]
fn a_room_that_was_made_is_there_when_we_have_left() {
    for server in both() {
        let address = server.room(&unique("made").replace(' ', "-"));
        let mut target = ackpost_xmpp::RoomTarget::new(jid(&address));
        target.create = true;
        let sender = account(server, "alice", Mode::StartTls);
        let outcome = send_one(&sender, text(ackpost_xmpp::Target::Room(target), "first"));
        assert_eq!(delivered(&outcome).notes, [Note::RoomCreated]);
        let facts = block_on(async {
            let mut visit = Probe::open(&account(server, "bob", Mode::StartTls))
                .await
                .unwrap();
            let facts = visit.room(&jid(&address)).await;
            visit.close().await;
            facts
        });
        assert!(
            facts.as_ref().is_ok_and(|facts| facts.persistent),
            "{:?}: {facts:?}",
            server.kind
        );
        let outcome = send_one(
            &account(server, "bob", Mode::StartTls),
            text(room(&address), "second"),
        );
        assert_eq!(delivered(&outcome).confirmed_by, ConfirmedBy::Room);
    }
}

// --- internationalised domains ---

#[test]
fn accounts_people_and_rooms_on_an_internationalised_domain() {
    for server in both() {
        // The name server and the certificate know the form of DNS alone.
        let names = NameServer::start(&[
            (
                "_xmpp-client._tcp.im.xn--pl-wia.net",
                &format!("SRV 1 1 {} im.xn--pl-wia.net", server.port),
            ),
            ("im.xn--pl-wia.net", "A 127.0.0.1"),
        ]);
        for (domain, other) in [
            ("im.plä.net", "im.xn--pl-wia.net"),
            ("im.xn--pl-wia.net", "im.plä.net"),
        ] {
            let own: Jid = jid(&format!("alice@{domain}"));
            let sender = Account::new(own, "alicepass".to_owned().into())
                .mode(Mode::StartTls)
                .verify(trust(server))
                .dns(names.dns())
                .answer_timeout(std::time::Duration::from_secs(10));
            let outcomes = block_on(ackpost_xmpp::send(
                &sender,
                vec![
                    text(user(&format!("bob@{other}")), "x"),
                    text(user(&format!("nobody@{domain}")), "x"),
                    text(
                        {
                            let mut target =
                                ackpost_xmpp::RoomTarget::new(jid(&format!("tägli@conference.{other}")));
                            target.create = true;
                            ackpost_xmpp::Target::Room(target)
                        },
                        "x",
                    ),
                ],
            ));
            assert_eq!(
                delivered(&outcomes[0]).confirmed_by,
                ConfirmedBy::Server,
                "{:?}",
                server.kind
            );
            assert_ends!(&outcomes[1], XmppError::NoSuchUser { .. });
            assert_eq!(delivered(&outcomes[2]).confirmed_by, ConfirmedBy::Room);
        }
        assert!(names.asked.lock().unwrap().iter().all(|name| name.is_ascii()));
    }
}
