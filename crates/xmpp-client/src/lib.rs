//! One XMPP account: connect, log in, join, send, confirm, receive.
