//! Names and dates of a certificate, for people. The TLS library decides about trust, not this module.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The data of a certificate that a person wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// The DNS names and addresses it is for.
    pub(crate) names: Vec<String>,
    pub(crate) not_before: Option<SystemTime>,
    pub(crate) not_after: Option<SystemTime>,
}

impl Certificate {
    /// Reads the parts we show; what is not understood is left out.
    pub(crate) fn read(der: &[u8]) -> Self {
        Self::parts(der).unwrap_or_default()
    }

    fn parts(der: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(der)?;
        let (_, mut rest, _) = element(certificate)?;
        let mut fields = Vec::new();
        while !rest.is_empty() && fields.len() < 16 {
            let (tag, content, after) = element(rest)?;
            fields.push((tag, content));
            rest = after;
        }
        // version [0] is left out of version 1; serial, algorithm, issuer, validity, subject, key, extensions [3].
        let first = usize::from(fields.first()?.0 == 0xa0);
        let (_, validity) = fields.get(first + 3)?;
        let (tag, from, after) = element(validity)?;
        let not_before = time(tag, from);
        let (tag, to, _) = element(after)?;
        let not_after = time(tag, to);
        let names = fields
            .iter()
            .find(|(tag, _)| *tag == 0xa3)
            .and_then(|(_, content)| alternative_names(content))
            .unwrap_or_default();
        Some(Self {
            names,
            not_before,
            not_after,
        })
    }

    /// Returns the time for which it is still valid; zero when it has expired.
    pub(crate) fn remaining(&self, now: SystemTime) -> Option<Duration> {
        Some(self.not_after?.duration_since(now).unwrap_or_default())
    }

    /// `localhost, example.org; valid until 2027-01-31`.
    pub(crate) fn show(&self) -> String {
        let mut names = self.names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        if names.is_empty() {
            "no names".clone_into(&mut names);
        }
        if self.names.len() > 5 {
            let _ = write!(names, " and {} more", self.names.len() - 5);
        }
        let day = |time: SystemTime| {
            jiff::Timestamp::try_from(time).map_or(String::new(), |at| at.strftime("%Y-%m-%d").to_string())
        };
        match self.not_after {
            Some(end) => format!("for {names}; valid until {}", day(end)),
            None => format!("for {names}"),
        }
    }
}

/// Tag, content and what follows of the first DER element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (bytes, rest) = rest.split_at(count);
        (
            bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            rest,
        )
    };
    (rest.len() >= length).then(|| {
        let (content, after) = rest.split_at(length);
        (tag, content, after)
    })
}

/// UTCTime `YYMMDDHHMMSSZ` or GeneralizedTime `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, content: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        0x17 => {
            let year: i16 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        0x18 => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let date = jiff::civil::DateTime::new(year, two(0)?, two(2)?, two(4)?, two(6)?, two(8)?, 0).ok()?;
    let seconds = date
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?
        .timestamp()
        .as_second();
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// subjectAltName, 2.5.29.17.
fn alternative_names(extensions: &[u8]) -> Option<Vec<String>> {
    const OID: &[u8] = &[0x55, 0x1d, 0x11];
    let (_, mut rest, _) = element(extensions)?;
    while !rest.is_empty() {
        let (_, extension, after) = element(rest)?;
        rest = after;
        let (_, oid, mut parts) = element(extension)?;
        if oid != OID {
            continue;
        }
        // A critical flag may be before the value.
        let (mut tag, mut value, after) = element(parts)?;
        if tag == 0x01 {
            parts = after;
            (tag, value, _) = element(parts)?;
        }
        if tag != 0x04 {
            return None;
        }
        let (_, mut names, _) = element(value)?;
        let mut found = Vec::new();
        while !names.is_empty() && found.len() < 200 {
            let (tag, name, after) = element(names)?;
            names = after;
            match (tag, name.len()) {
                (0x82, _) => found.push(String::from_utf8_lossy(name).into_owned()),
                (0x87, 4) => {
                    found.push(std::net::Ipv4Addr::from(<[u8; 4]>::try_from(name).ok()?).to_string());
                }
                (0x87, 16) => {
                    found.push(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(name).ok()?).to_string());
                }
                _ => {}
            }
        }
        return Some(found);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_dates_of_a_real_certificate() {
        let names = [
            "localhost".to_owned(),
            "xmpp.test".to_owned(),
            "127.0.0.1".to_owned(),
        ];
        let mut params = rcgen::CertificateParams::new(names.clone()).expect("names");
        params.not_before = rcgen::date_time_ymd(2024, 1, 2);
        params.not_after = rcgen::date_time_ymd(2051, 2, 3);
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("signed");
        let certificate = Certificate::read(made.der());
        assert_eq!(certificate.names, names);
        let day = |time: Option<SystemTime>| {
            jiff::Timestamp::try_from(time.expect("a date"))
                .expect("in range")
                .to_string()
        };
        assert_eq!(day(certificate.not_before), "2024-01-02T00:00:00Z");
        assert_eq!(day(certificate.not_after), "2051-02-03T00:00:00Z");
        assert!(certificate.show().ends_with("valid until 2051-02-03"));
    }

    #[test]
    fn damaged_certificates_say_nothing() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = rcgen::CertificateParams::new(["a.b".to_owned()])
            .expect("names")
            .self_signed(&key)
            .expect("signed");
        for end in 0..made.der().len() {
            let _ = Certificate::read(&made.der()[..end]);
        }
        assert_eq!(
            Certificate::read(b"\x30\x84\xff\xff\xff\xff"),
            Certificate::default()
        );
    }
}
