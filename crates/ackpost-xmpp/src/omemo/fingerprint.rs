//! Fingerprints, as people and their clients compare them.

use crate::jid::Jid;

/// Returns the fingerprint in groups of 8 digits, as people compare it (XEP-0384 0.9, "Security Considerations").
///
/// ```
/// use ackpost_xmpp::omemo::grouped;
///
/// assert_eq!(grouped(&"0123456789abcdef".repeat(4)).split(' ').count(), 8);
/// ```
pub fn grouped(fingerprint: &str) -> String {
    let digits: Vec<char> = fingerprint.chars().filter(|c| !c.is_whitespace()).collect();
    let groups: Vec<String> = digits.chunks(8).map(|group| group.iter().collect()).collect();
    groups.join(" ")
}

/// Returns the address with fingerprints that clients read from a QR code: `xmpp:bob@example.org?omemo-sid-123=ab…`.
pub fn verification_uri(jid: &Jid, devices: &[(u32, String)]) -> String {
    let mut uri = String::from("xmpp:");
    for byte in jid.to_bare().to_string().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@!$&'()*+,;=:".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    for (at, (device, fingerprint)) in devices.iter().enumerate() {
        uri.push(if at == 0 { '?' } else { ';' });
        uri.push_str(&format!("omemo-sid-{device}={fingerprint}"));
    }
    uri
}

/// Maximum number of devices that are read from one address.
const DEVICES_IN_URI_MAX: usize = 100;

/// Reads an address with fingerprints, such as that of a QR code: the account, and each device with its fingerprint.
/// Returns `None` if the text is not such an address.
///
/// ```
/// use ackpost_xmpp::omemo::{read_verification_uri, verification_uri};
///
/// let jane = "jane@example.org".parse()?;
/// let uri = verification_uri(&jane, &[(7, "ab".repeat(32))]);
/// assert_eq!(read_verification_uri(&uri), Some((jane, vec![(7, "ab".repeat(32))])));
/// # Ok::<(), ackpost_xmpp::JidError>(())
/// ```
pub fn read_verification_uri(text: &str) -> Option<(Jid, Vec<(u32, String)>)> {
    let (scheme, rest) = text.trim().split_once(':')?;
    let (path, query) = rest.split_once('?')?;
    if !scheme.eq_ignore_ascii_case("xmpp") {
        return None;
    }
    let jid: Jid = decoded(path.trim_start_matches('/'))?.parse().ok()?;
    let mut devices = Vec::new();
    // Clients write `&` as well, and other words, such as `message`.
    for pair in query.split([';', '&']) {
        let Some((device, fingerprint)) = pair
            .strip_prefix("omemo-sid-")
            .and_then(|pair| pair.split_once('='))
        else {
            continue;
        };
        devices.push((device.parse().ok()?, fingerprint.to_owned()));
    }
    (!devices.is_empty() && devices.len() <= DEVICES_IN_URI_MAX).then(|| (jid.to_bare(), devices))
}

/// Undoes the escaping of an address.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verification_addresses_are_escaped() {
        let jid: Jid = "bücher@example.org/phone".parse().unwrap();
        let uri = verification_uri(&jid, &[(7, "ab".repeat(32)), (9, "cd".repeat(32))]);
        assert_eq!(
            uri,
            format!(
                "xmpp:b%C3%BCcher@example.org?omemo-sid-7={};omemo-sid-9={}",
                "ab".repeat(32),
                "cd".repeat(32)
            )
        );
        let read = read_verification_uri(&uri).unwrap();
        assert_eq!(read.0, jid.to_bare());
        assert_eq!(read.1, [(7, "ab".repeat(32)), (9, "cd".repeat(32))]);
    }

    proptest::proptest! {
        /// The text of a QR code comes from anybody.
        #[test]
        fn any_text_is_read_or_refused(text: String, rest in "[%a-f0-9;&=@.-]{0,60}") {
            let _ = read_verification_uri(&text);
            let _ = read_verification_uri(&format!("xmpp:{rest}?omemo-sid-{rest}"));
        }
    }

    #[test]
    fn other_addresses_have_no_fingerprints() {
        let good = "xmpp://bob@x.example?message&omemo-sid-7=AB&omemo-sid-8=cd";
        let read = read_verification_uri(good).unwrap();
        assert_eq!(
            read.1,
            [(7, "AB".to_owned()), (8, "cd".to_owned())],
            "as clients write it"
        );
        let many = format!("xmpp:bob@x.example?{}", "omemo-sid-7=ab;".repeat(101));
        for text in [
            "",
            "bob@x.example",
            "xmpp:bob@x.example",
            "xmpp:bob@x.example?message",
            "xmpp:bob@x.example?omemo-sid-=ab",
            "xmpp:bob@x.example?omemo-sid-99999999999=ab",
            "xmpp:%ff@x.example?omemo-sid-7=ab",
            "xmpp:bob%4@x.example?omemo-sid-7=ab",
            "https:bob@x.example?omemo-sid-7=ab",
            &many,
        ] {
            assert_eq!(read_verification_uri(text), None, "{text}");
        }
    }
}
