//! Service records and address families, by a name server that says what the test wants.

#[path = "../../../ackpost-xmpp/tests/common/dns.rs"]
mod dns;

use ackpost_testkit::{Prosody, XmppServer};

use self::dns::NameServer;
use crate::examined::{fails_with, is_free};
use crate::front::ipv6_front;

const STARTTLS: &str = "_xmpp-client._tcp.xmpp.test";
const DIRECT: &str = "_xmpps-client._tcp.xmpp.test";

/// alice of `xmpp.test`, found by service records.
fn alice(server: &XmppServer) -> String {
    format!(
        "xmpps://alice:alicepass@xmpp.test/bob?ca_file={}",
        server.ca.display()
    )
}

/// The doctor's words for a zone.
fn asking<'a>(zone: &'a NameServer, words: &'a mut String, url: &'a str) -> [&'a str; 3] {
    *words = zone.address.to_string();
    ["--dns", words, url]
}

fn fails(step: &str, records: &[(&str, &str)], url: &str) -> serde_json::Value {
    let zone = NameServer::start(records);
    fails_with(step, &asking(&zone, &mut String::new(), url))
}

fn free(records: &[(&str, &str)], url: &str) -> serde_json::Value {
    let zone = NameServer::start(records);
    is_free(&asking(&zone, &mut String::new(), url))
}

#[test]
fn service_records_that_lead_nowhere() {
    let server = Prosody::shared();
    let url = alice(server);
    let right = format!("SRV 0 0 {} server.xmpp.test", server.port);
    let address = ("server.xmpp.test", "A 127.0.0.1");
    let report = free(&[(STARTTLS, &right), address], &url);
    let seen = report["steps"][1]["seen"].as_str().expect("text");
    assert!(
        seen.contains("server.xmpp.test") && seen.contains("STARTTLS"),
        "{report:#}"
    );
    // The domain says that it offers no such service.
    fails("dns", &[(STARTTLS, "SRV 0 0 0 ."), (DIRECT, "SRV 0 0 0 .")], &url);
    // The record names a host that does not exist.
    fails("dns", &[(STARTTLS, "SRV 0 0 5222 gone.xmpp.test")], &url);
    // There is no record, and the domain itself has no address.
    fails("dns", &[], &url);
    // The record names a port that nobody listens on.
    let closed = ackpost_testkit::reserve_port();
    fails(
        "tcp",
        &[(STARTTLS, &format!("SRV 0 0 {closed} server.xmpp.test")), address],
        &url,
    );
    // It names the port for the other kind of encryption.
    fails(
        "tls",
        &[
            (STARTTLS, &format!("SRV 0 0 {} server.xmpp.test", server.tls_port)),
            address,
        ],
        &url,
    );
    let direct = format!("SRV 0 0 {} server.xmpp.test", server.tls_port);
    free(&[(DIRECT, &direct), address], &url);
}

#[test]
fn servers_that_are_reached_over_ipv6_only() {
    let server = Prosody::shared();
    let url = alice(server);
    let front = ipv6_front(server.port);
    let record = format!("SRV 0 0 {front} six.xmpp.test");
    let report = free(&[(STARTTLS, &record), ("six.xmpp.test", "AAAA ::1")], &url);
    let seen = report["steps"][2]["seen"].as_str().expect("text");
    assert!(seen.contains("[::1]") && seen.contains("connected"), "{report:#}");
    // The name has an IPv6 address, the server listens on the other family only.
    let record = format!("SRV 0 0 {} six.xmpp.test", server.port);
    fails("tcp", &[(STARTTLS, &record), ("six.xmpp.test", "AAAA ::1")], &url);
    free(&[(STARTTLS, &record), ("six.xmpp.test", "A 127.0.0.1")], &url);
}
