//! Parameters of community URLs.

use crate::service::param::{Param, Values, Written};

/// Name of this service.
pub(super) const NAME: &str = "sogs";

/// Parameters of a community URL, in the order of the canonical URL.
pub(super) static PARAMETERS: &[Param] = &[
    Param::new(
        "to",
        Values::Text("room tokens, separated by commas"),
        "",
        "Further rooms.",
        "to=lobby,ops",
    )
    .written(Written::Address),
    Param::new(
        "public_key",
        Values::Text("64 hex digits"),
        "",
        "Public key of the server, instead of the user in the address.",
        "public_key=KEY",
    )
    .aliases(&["key"])
    .written(Written::Address),
    Param::new(
        "seed",
        Values::Text("64 hex digits"),
        "",
        "Seed of the identity that posts, instead of the password in the address.",
        "seed=SEED",
    )
    .secret()
    .written(Written::Address),
    Param::new(
        "seed_file",
        Values::Text("a path"),
        "",
        "File with the seed. It takes precedence over a seed in the URL.",
        "seed_file=/etc/ackpost/seed",
    )
    .aliases(&["password_file"])
    .written(Written::Address),
    Param::new(
        "name",
        Values::Text("text"),
        "Ackpost",
        "Display name shown to readers.",
        "name=Alerts",
    ),
    Param::new(
        "blind",
        Values::Words(&["auto", "yes", "no"]),
        "auto",
        "Use of the blinded id: `auto` if the server asks for it, `yes` always, `no` never.",
        "blind=yes",
    ),
    Param::new(
        "encrypt",
        Values::Words(&["auto", "yes", "no"]),
        "auto",
        "Sealing of requests to the key of the server: `auto` only over plain HTTP, `yes` always, `no` never.",
        "encrypt=yes",
    ),
    Param::new(
        "reply_to",
        Values::Text("a message number"),
        "",
        "Send a reply to this message.",
        "reply_to=17",
    ),
    Param::new(
        "edit",
        Values::Text("a message number"),
        "",
        "Edit this message, which the same account posted, instead of posting a new one. If it is gone, a new one is posted.",
        "edit=17",
    ),
    Param::new(
        "whisper",
        Values::Text("a Session ID (66 hex digits)"),
        "",
        "Show the message to this person only.",
        "whisper=ID",
    ),
    Param::new(
        "ca_file",
        Values::Text("a path"),
        "",
        "PEM file with the certificate authorities to trust.",
        "ca_file=/etc/ackpost/ca.pem",
    ),
];
