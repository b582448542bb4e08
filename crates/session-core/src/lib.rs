//! Session bytes and cryptography: bytes in, values out.
