//! Parameters of XMPP URLs.

use crate::service::param::{Param, Values, Written};

/// Name of this service.
pub(super) const NAME: &str = "xmpp";

/// Parameters of an XMPP URL, in the order of the canonical URL.
pub(super) static PARAMETERS: &[Param] = &[
    Param::new(
        "to",
        Values::Text("users and #rooms, separated by commas"),
        "",
        "Further recipients. Without any, the account itself is the recipient.",
        "to=bob,%23ops@rooms.example.org",
    )
    .written(Written::Address),
    Param::new(
        "password_file",
        Values::Text("a path"),
        "",
        "File with the password. It takes precedence over a password in the address.",
        "password_file=/etc/ackpost/xmpp.password",
    )
    .aliases(&["seed_file"])
    .written(Written::Address),
    Param::new(
        "mode",
        Values::Words(&["starttls", "tls", "none"]),
        "starttls",
        "Encryption of the connection. `none` needs `xmpp://`, where it is the default.",
        "mode=tls",
    )
    .written(Written::Always),
    Param::new(
        "roster",
        Values::YesNo,
        "no",
        "Request the contact list after the login, on a connection that is not kept. A refusal is reported as a remark.",
        "roster=yes",
    )
    .written(Written::Always),
    Param::new(
        "subject",
        Values::YesNo,
        "no",
        "Send the title as the subject instead of the first line of the body.",
        "subject=yes",
    )
    .written(Written::Always),
    Param::new(
        "keepalive",
        Values::YesNo,
        "no",
        "Keep the connection open for further messages of the same process. The outbox and the gateway always do.",
        "keepalive=yes",
    )
    .written(Written::Always),
    Param::new(
        "scramplus",
        Values::Words(&["yes", "no", "require"]),
        "yes",
        "Binding of the login to the TLS connection: `yes` if the server offers it, `no` never, `require` always. With `require`, a login that cannot be bound fails.",
        "scramplus=require",
    )
    .written(Written::Always),
    Param::new(
        "name",
        Values::Text("letters A-Z, digits and _"),
        "",
        "Nickname in rooms. The default is the user of the address.",
        "name=alerts",
    ),
    Param::new(
        "xmpp",
        Values::Text("a host name or address"),
        "",
        "Host to connect to, instead of the one that DNS names for the domain.",
        "xmpp=chat.example.org",
    )
    .written(Written::Guarded),
    Param::new(
        "confirm",
        Values::Words(&["sent", "server", "room", "receipt"]),
        "",
        "Proof that makes a message delivered. The default is `room` for a room and `server` for a person. See the confirmation levels.",
        "confirm=receipt",
    ),
    Param::new(
        "room_password",
        Values::Text("text"),
        "",
        "Password of rooms without a separate password.",
        "room_password=SECRET",
    )
    .secret(),
    Param::new(
        "create",
        Values::YesNo,
        "no",
        "Create a room that does not exist, as a persistent room. Without it, sending to such a room fails.",
        "create=yes",
    ),
    Param::new(
        "fast",
        Values::YesNo,
        "no",
        "Store a login token of the server (FAST, XEP-0484) in the state folder, so that the next login takes fewer round trips.",
        "fast=yes",
    ),
    Param::new(
        "plain",
        Values::YesNo,
        "no",
        "Allow the login with PLAIN, which shows the password, on every connection. Without it, PLAIN needs a verified connection or a server on this machine. PLAIN is never used if the server offers SCRAM.",
        "plain=yes",
    ),
    Param::new(
        "replace",
        Values::Text("a key"),
        "",
        "Send a correction (XEP-0308) of the first message that was delivered to the same recipient with this key.",
        "replace=disk",
    ),
    Param::new(
        "edit",
        Values::Text("a message id"),
        "",
        "Send a correction (XEP-0308) of this message, which the same account sent, instead of a new message.",
        "edit=4f1c",
    ),
    Param::new(
        "omemo",
        Values::Words(&["auto", "require", "require-all", "no"]),
        "",
        "End-to-end encryption with OMEMO. `require` never sends clear text; in a room it leaves out members without OMEMO and names them, `require-all` refuses then. `auto` sends clear text to somebody who has no OMEMO, and says so. The keys are kept in the state folder. The default is `no` until the account has keys there, then `auto`.",
        "omemo=require",
    ),
    Param::new(
        "trust",
        Values::Words(&["tofu", "pinned", "any"]),
        "tofu",
        "OMEMO keys that may read. `tofu` trusts new keys of somebody until one of their keys was verified, `pinned` only verified keys, `any` every key that is not distrusted.",
        "trust=any",
    ),
    Param::new(
        "ca_file",
        Values::Text("a path"),
        "",
        "PEM file with the certificate authorities to trust.",
        "ca_file=/etc/ackpost/ca.pem",
    ),
];
