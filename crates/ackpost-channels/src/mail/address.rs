//! Mail addresses with names, as people write them.

use std::fmt;

/// One mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: Option<String>,
    pub(crate) address: String,
}

impl fmt::Display for Person {
    /// `Name <address>`, with quotes around a name that holds a separator.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            None => f.write_str(&self.address),
            Some(name) if name.contains([',', ';', '@']) => write!(f, "\"{name}\" <{}>", self.address),
            Some(name) => write!(f, "{name} <{}>", self.address),
        }
    }
}

impl Person {
    /// Reads `address`, `Name <address>`, `Name:address` or `"Name" <address>`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
            Some((name, address)) => (name, address),
            None => text
                .rsplit_once(|c: char| c.is_whitespace() || c == ':')
                .unwrap_or(("", text)),
        };
        let address = address.trim();
        is_address(address).then(|| Self {
            name: name_of(name),
            address: address.to_owned(),
        })
    }
}

/// Returns a name without quotes, control characters and what would separate it.
pub(crate) fn name_of(text: &str) -> Option<String> {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .filter(|c| !matches!(c, '"' | '<' | '>'))
        .collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_matches(|c: char| matches!(c, '\'' | ':' | ' '));
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns true for an address that a mail server and a header can hold as it is.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((user, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_!#$%&'*/=?`{|}~^+-".contains(&byte);
    let good_user = !user.is_empty()
        && user.len() <= 64
        && user
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(plain));
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && (part.bytes()).all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // A name without a dot is one of this network, such as `localhost`.
    good_user
        && domain.len() <= 253
        && (domain.contains('.') || domain.len() >= 6)
        && domain.split('.').all(label)
}

/// Cuts a list: at commas and semicolons outside of quotes and angle brackets, and at blanks between addresses.
pub(crate) fn list(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let (mut quoted, mut angle) = (false, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            ',' | ';' if !quoted && !angle => {
                items.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(item) = items.last_mut() {
            item.push(c);
        }
    }
    let mut all = Vec::new();
    for item in items {
        let item = item.trim();
        let words: Vec<&str> = item.split_whitespace().collect();
        if words.len() > 1 && words.iter().all(|word| is_address(word)) {
            all.extend(words.into_iter().map(str::to_owned));
        } else if !item.is_empty() {
            all.push(item.to_owned());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(Option<&str>, String)> {
        let person = Person::read(text)?;
        Some((person.name.map(|name| &*name.leak()), person.address))
    }

    #[test]
    fn addresses_are_read_with_and_without_a_name() {
        let bob = || "bob@example.org".to_owned();
        assert_eq!(read("bob@example.org"), Some((None, bob())));
        assert_eq!(
            read(" Bob Hill <bob@example.org> "),
            Some((Some("Bob Hill"), bob()))
        );
        assert_eq!(
            read("\"Hill, Bob\" <bob@example.org>"),
            Some((Some("Hill, Bob"), bob()))
        );
        assert_eq!(read("Bob:bob@example.org"), Some((Some("Bob"), bob())));
        assert_eq!(read("Bob bob@example.org"), Some((Some("Bob"), bob())));
        for wrong in [
            "",
            "bob",
            "bob@",
            "@example.org",
            "bob@x",
            "b ob@",
            "bob@ex ample.org>",
            "bob@-x.org",
            "a..b@x.org",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nothing_of_an_address_can_begin_a_header_or_a_command() {
        for wrong in [
            "bob@example.org\r\nRCPT TO:<x@y.org>",
            "bob@example.org>\r\n",
            "a\u{0}b@example.org",
            "ü@example.org",
        ] {
            assert!(!is_address(wrong), "{wrong:?}");
        }
        let person = Person::read("Bob\r\nBcc: x@y.org <bob@example.org>").expect("an address");
        assert!(!person.to_string().contains(['\r', '\n']), "{person}");
    }

    #[test]
    fn lists_are_cut_between_addresses() {
        assert_eq!(
            list("a@example.org, \"B, C\" <b@example.org>; Dora <d@example.org>"),
            [
                "a@example.org",
                "\"B, C\" <b@example.org>",
                "Dora <d@example.org>"
            ]
        );
        assert_eq!(
            list("a@example.org b@example.org"),
            ["a@example.org", "b@example.org"]
        );
        assert!(list(" , ").is_empty());
    }
}
