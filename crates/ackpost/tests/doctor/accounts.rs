//! URLs of alice's account on the real XMPP servers.

use ackpost_testkit::XmppServer;

/// alice, believing the server's own authority; `query` is added.
pub(crate) fn alice(server: &XmppServer, port: u16, query: &str) -> String {
    format!(
        "xmpps://alice:alicepass@localhost:{port}/bob?xmpp=127.0.0.1&ca_file={}&{query}",
        server.ca.display()
    )
}

/// The same to a room of the server, over STARTTLS.
pub(crate) fn room(server: &XmppServer, name: &str, query: &str) -> String {
    let to = format!("%23{}", server.room(name).replace('@', "%40"));
    alice(server, server.port, &format!("mode=starttls&{query}")).replace("/bob?", &format!("/{to}?"))
}
