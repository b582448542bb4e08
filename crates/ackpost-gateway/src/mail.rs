//! A mail as a message: subject, text and attachments of a MIME message, within limits.

mod parts;

use ackpost_notify::{Format, HOPS_HEADER, Kind};
use bytes::Bytes;
use mail_parser::{Address, HeaderName, HeaderValue, Message, MessageParser};

use parts::{
    Head, MAX_HEAD, MAX_HEADS, MAX_NESTED, MAX_PARTS, MAX_TEXT, MAX_TEXTS, Place, Text, Walk,
    begins_with_head, split,
};

/// Maximum number of recipients that a mail names.
const MAX_RECIPIENTS: usize = 100;
/// Words of a subject that report a failure.
const BAD: [&str; 6] = ["error", "fail", "critical", "degraded", "fatal", "unreachable"];

/// A mail that was read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Mail {
    /// Subject; empty if the mail has none.
    pub title: String,
    /// Text, or HTML if the mail has no text.
    pub body: String,
    /// Format of the body.
    pub format: Format,
    /// Importance, from the subject and the headers.
    pub kind: Kind,
    /// Attachments, in their order.
    pub files: Vec<MailFile>,
    /// Addresses of `To`, `Cc` and `Bcc`.
    pub recipients: Vec<String>,
    /// Number of mail servers that it went through.
    pub(crate) hops: usize,
    /// Number of gateways that the message went through.
    pub(crate) gateways: u64,
}

/// An attachment of a mail.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MailFile {
    /// File name as the mail gives it; it may hold anything.
    pub name: Option<String>,
    /// Media type such as `image/png`.
    pub media_type: Option<String>,
    /// Content.
    pub bytes: Bytes,
}

/// Reason why a mail cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// It has too many parts or levels, or its headers are too long.
    #[error(
        "the mail has more than {MAX_PARTS} parts or {MAX_NESTED} levels, or headers of more than {} KiB in one part or \
         {} KiB in all of them",
        MAX_HEAD >> 10,
        MAX_HEADS >> 10
    )]
    TooComplex,
    /// Its text is longer than any message.
    #[error("the text of the mail is larger than {} KiB", MAX_TEXT >> 10)]
    TooLong,
    /// It has neither a subject nor a text nor a file.
    #[error("the mail is empty")]
    Empty,
}

impl MailError {
    /// Returns the sentence that says how to correct it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::TooComplex => "send fewer parts, or put the files into one archive",
            Self::TooLong => "send less text, or attach it as a file",
            Self::Empty => "send a subject, a text or a file",
        }
    }
}

impl Mail {
    /// Returns the largest memory that a mail of so many bytes takes, itself included, while it is read and afterwards.
    ///
    /// A file is held as it came, without its encoding and once in between. A text is held in addition as characters, each of
    /// which takes up to three bytes, before and after its line ends are changed.
    pub fn memory(bytes: usize) -> usize {
        let texts = 6 * bytes.min(MAX_TEXTS);
        bytes.saturating_mul(3).saturating_add(texts)
    }

    /// Reads a mail: headers, an empty line and a body. A text without headers is a body.
    ///
    /// # Errors
    /// [`MailError`] if it is empty, too complex or too long. See [`Mail::memory`] for the memory that it takes.
    pub fn read(raw: &[u8]) -> Result<Self, MailError> {
        let (head, body) = if begins_with_head(raw) {
            split(raw)
        } else {
            (&[][..], raw)
        };
        let mut walk = Walk::default();
        let head = walk.head(head)?;
        let message = MessageParser::default().parse_headers(&head);
        let message = message.as_ref();
        let top = Head::of(message, Place::TOP);
        let texts = walk.body(&top, body, 0, Place::TOP)?;
        let (mut body, mut format) = shown(texts)?;
        if body.len() > MAX_TEXT {
            return Err(MailError::TooLong);
        }
        let title = message.and_then(Message::subject).unwrap_or_default();
        let mut title = title.split_whitespace().collect::<Vec<_>>().join(" ");
        let kind = message.map_or(Kind::Info, |message| kind(message, &title));
        if body.trim().is_empty() && walk.files.is_empty() {
            (body, format) = (std::mem::take(&mut title), Format::Text);
        }
        if body.trim().is_empty() && walk.files.is_empty() {
            return Err(MailError::Empty);
        }
        Ok(Self {
            recipients: message.map(recipients).unwrap_or_default(),
            hops: message.map(hops).unwrap_or_default(),
            gateways: message.map(gateways).unwrap_or_default(),
            title,
            body,
            format,
            kind,
            files: walk.files,
        })
    }
}

/// The plain text of a mail; HTML if that is all it has.
fn shown(texts: Vec<Text>) -> Result<(String, Format), MailError> {
    let blank = |text: &Text| matches!(text, Text::Plain(text) if text.trim().is_empty());
    let mut texts: Vec<Text> = texts.into_iter().filter(|text| !blank(text)).collect();
    if let [Text::Html(page)] = &mut texts[..] {
        return Ok((std::mem::take(page), Format::Html));
    }
    // Pages stand behind the texts.
    let (mut plain, mut pages) = (Vec::new(), Vec::new());
    for text in texts {
        match text {
            Text::Plain(text) => plain.push(text),
            Text::Html(page) => {
                let text = ackpost_notify::render::html_to_text(&page);
                pages.push(text.trim_end().to_owned());
            }
            Text::TooLong { .. } => return Err(MailError::TooLong),
        }
    }
    plain.append(&mut pages);
    plain.retain(|text| !text.trim().is_empty());
    Ok((plain.join("\n\n"), Format::Text))
}

fn kind(message: &Message<'_>, title: &str) -> Kind {
    let title = title.to_lowercase();
    if BAD.iter().any(|word| title.contains(word)) {
        return Kind::Failure;
    }
    let header = |name: &str| match message.header(name) {
        Some(HeaderValue::Text(text)) => text.trim().to_lowercase(),
        _ => String::new(),
    };
    let urgent = header("Importance") == "high" || header("X-Priority").starts_with(['1', '2']);
    if urgent || title.contains("warning") {
        return Kind::Warning;
    }
    Kind::Info
}

fn hops(message: &Message<'_>) -> usize {
    let headers = message.headers().iter();
    headers
        .filter(|header| matches!(header.name, HeaderName::Received))
        .count()
}

/// Returns the number that the last gateway wrote; a mail that came from none has no such header. A number that cannot be
/// read is the largest: such a mail may be in a loop.
fn gateways(message: &Message<'_>) -> u64 {
    match message.header(HOPS_HEADER) {
        None => 0,
        Some(HeaderValue::Text(text)) => text.trim().parse().unwrap_or(u64::MAX),
        Some(_) => u64::MAX,
    }
}

fn recipients(message: &Message<'_>) -> Vec<String> {
    let lists = [message.to(), message.cc(), message.bcc()];
    let addresses = lists.into_iter().flatten().flat_map(|list| match list {
        Address::List(list) => list.iter().collect::<Vec<_>>(),
        Address::Group(groups) => groups.iter().flat_map(|group| &group.addresses).collect(),
    });
    let addresses = addresses.filter_map(|one| one.address.as_deref().or(one.name.as_deref()));
    addresses.take(MAX_RECIPIENTS).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Mail {
        Mail::read(text.replace('\n', "\r\n").as_bytes()).expect("a mail")
    }

    #[test]
    fn a_mail_of_smartd_is_read() {
        let mail = read(
            "To: root\nSubject: SMART error (CurrentPendingSector) detected on host: nas.example.org\n\
            MIME-Version: 1.0\nContent-Type: text/plain; charset=\"UTF-8\"\n\nThis message was generated by the smartd daemon.\n\n\
            Device: /dev/sda [SAT], 8 Currently unreadable (pending) sectors\n\n",
        );
        assert_eq!(
            mail.title,
            "SMART error (CurrentPendingSector) detected on host: nas.example.org"
        );
        assert_eq!(
            mail.body,
            "This message was generated by the smartd daemon.\n\nDevice: /dev/sda [SAT], 8 Currently unreadable (pending) sectors"
        );
        assert_eq!((mail.kind, mail.format), (Kind::Failure, Format::Text));
        assert_eq!(mail.recipients, ["root"]);
    }

    #[test]
    fn headers_are_decoded_and_the_environment_of_cron_is_not_shown() {
        let mail = read(
            "From: root (Cron Daemon)\nTo: root, \"Jane\" <jane@example.org>\nSubject: =?utf-8?q?Cron_=3Croot=40nas=3E?=\n \
            backup\nContent-Type: text/plain; charset=ISO-8859-1\nContent-Transfer-Encoding: quoted-printable\n\
            X-Cron-Env: <SECRET=hunter2>\nX-Priority: 1\n\nGr=FC=DFe aus K=F6ln\n",
        );
        assert_eq!(
            (mail.title.as_str(), mail.body.as_str()),
            ("Cron <root@nas> backup", "Grüße aus Köln")
        );
        assert_eq!(mail.kind, Kind::Warning);
        assert_eq!(mail.recipients, ["root", "jane@example.org"]);
    }

    #[test]
    fn parts_become_text_and_files() {
        let mail = read(
            "Subject: report\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/alternative; boundary=y\n\n\
            --y\nContent-Type: text/plain\n\nplain\n--y\nContent-Type: text/html\n\n<b>rich</b>\n--y--\n--x\n\
            Content-Type: image/png; name=\"a.png\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment\n\niVBORw==\n--x\n\
            Content-Type: text/plain; name=log.txt\nContent-Disposition: attachment; filename=log.txt\n\nline\n--x--\n",
        );
        assert_eq!((mail.body.as_str(), mail.format), ("plain", Format::Text));
        let files: Vec<_> = mail
            .files
            .iter()
            .map(|file| {
                (
                    file.name.as_deref(),
                    file.media_type.as_deref(),
                    file.bytes.as_ref(),
                )
            })
            .collect();
        assert_eq!(
            files,
            [
                (Some("a.png"), Some("image/png"), &b"\x89PNG"[..]),
                (Some("log.txt"), Some("text/plain"), &b"line"[..])
            ]
        );
        let page = read("Subject: s\nContent-Type: text/html\n\n<p>only <b>rich</b></p>\n");
        assert_eq!(page.format, Format::Html);
        assert!(page.body.contains("<b>rich</b>"), "{}", page.body);
    }

    #[test]
    fn a_subject_alone_is_the_text_and_nothing_is_refused() {
        let mail = read("Subject: backup done\n\n");
        assert_eq!((mail.title.as_str(), mail.body.as_str()), ("", "backup done"));
        assert_eq!(
            Mail::read(b"To: root\r\n\r\n \r\n").expect_err("empty"),
            MailError::Empty
        );
        assert!(Mail::read(b"").is_err());
    }

    #[test]
    fn bombs_are_refused_before_they_are_parsed() {
        let parts = format!(
            "Content-Type: multipart/mixed; boundary=x\n\n{}",
            "--x\n\n".repeat(100_000)
        );
        let headers = format!("Subject: x\n{}\nbody", "a: b\n".repeat(100_000));
        let levels = (0..2_000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n"));
        let nested = levels.collect::<Vec<_>>().concat();
        for bomb in [parts, headers, nested] {
            assert_eq!(
                Mail::read(bomb.as_bytes()).expect_err("refused"),
                MailError::TooComplex
            );
        }
        // A mail in a mail is a file, and nothing looks into it: however deep, encoded or spelled.
        let inner = "Content-Type:\n message/rfc822\n\n".repeat(30_000);
        let coded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &inner);
        for mail in [
            format!("Subject: s\n{inner}"),
            format!("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{coded}"),
            format!("C ontent-Type : (x) message/rfc822\n\n{inner}"),
            format!("Content-Type: multipart/digest; boundary=x\n\n--x\n\n{inner}\n--x--\n"),
        ] {
            let mail = Mail::read(mail.as_bytes()).expect("a file or a text");
            assert!(mail.files.len() <= 1, "{}", mail.files.len());
        }
        // Boundaries inside of lines are none.
        let hidden = format!(
            "Content-Type: multipart/mixed; boundary=x\n\n--x\n\n{}",
            "y--x\n".repeat(100_000)
        );
        assert_eq!(
            Mail::read(hidden.as_bytes())
                .expect("a text")
                .body
                .lines()
                .count(),
            100_000
        );
        // Parameters that take the square of their number to read are cut off by the size of a head.
        let many = (0..200_000)
            .map(|n| format!(" a{n}*1=x;"))
            .collect::<Vec<_>>()
            .concat();
        for head in ["Content-Type: text/plain;", "Content-Disposition: attachment;"] {
            let mail = format!("Subject: s\n{head}{many}\n\nbody\n");
            assert_eq!(
                Mail::read(mail.as_bytes()).expect_err("refused"),
                MailError::TooComplex
            );
            let mail = format!("Subject: s\n{head}{}\n\nbody\n", &many[..100_000]);
            assert!(Mail::read(mail.as_bytes()).is_ok());
        }
        // A table of dashes is a text.
        let table = format!("Subject: t\n\n{}", "----- x\n".repeat(2_000));
        assert!(Mail::read(table.as_bytes()).is_ok());
    }

    /// Characters are decoded of short texts only: each byte may become three.
    #[test]
    fn a_long_text_is_refused_before_its_characters_are_decoded() {
        let long = vec![0xff; MAX_TEXT + 1];
        let of = |head: &str, text: &[u8]| [head.as_bytes(), text].concat();
        let alternative = |first: &[u8], second: &[u8]| {
            let head = "Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\n";
            let between = "\r\n--x\r\nContent-Type: text/html\r\n\r\n";
            [head.as_bytes(), first, between.as_bytes(), second].concat()
        };
        for mail in [
            of("Subject: s\r\n\r\n", &long),
            of("Content-Type: text/html\r\n\r\n", &long),
            of("Content-Transfer-Encoding: quoted-printable\r\n\r\n", &long),
            // It fits as bytes, and not as characters.
            of("Subject: s\r\n\r\n", &long[..MAX_TEXT / 2]),
            alternative(&long, b"short"),
            alternative(b" ", &long),
            // Many parts of the largest size.
            of(
                "Content-Type: multipart/mixed; boundary=x\r\n\r\n",
                &of("--x\r\n\r\n", &of(&"a".repeat(MAX_TEXT - 1), b"\r\n")).repeat(4),
            ),
        ] {
            assert_eq!(Mail::read(&mail).expect_err("refused"), MailError::TooLong);
        }
        let plain = Mail::read(&alternative(b"short", &long)).expect("the plain one is short");
        assert_eq!(plain.body, "short");
        let file = of("Content-Type: application/x\r\n\r\n", &long);
        assert_eq!(
            Mail::read(&file).expect("a file").files[0].bytes.len(),
            long.len()
        );
    }

    #[test]
    fn a_text_without_headers_and_parts_without_an_end_are_shown() {
        assert_eq!(
            read("disk full on db1\nsecond line\n").body,
            "disk full on db1\nsecond line"
        );
        let open = read(
            "Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x\nContent-Type: text/html\n\n<p>two</p>",
        );
        assert_eq!((open.body.as_str(), open.format), ("one\n\ntwo", Format::Text));
        let none = read("Subject: s\nContent-Type: multipart/mixed; boundary=x\n\njust a text\n");
        assert_eq!(none.body, "just a text");
        let page = read(
            "Content-Type: multipart/alternative; boundary=x\n\n--x\nContent-Type: text/plain\n\n \n--x\n\
            Content-Type: text/html\n\n<b>rich</b>\n--x--\n",
        );
        assert_eq!((page.body.as_str(), page.format), ("<b>rich</b>", Format::Html));
        let forwarded = read(
            "Content-Type: multipart/mixed; boundary=x\n\n--x\n\nsee below\n--x\n\
            Content-Type: message/rfc822; name=old.eml\n\nSubject: old\n\nold text\n--x--\n",
        );
        assert_eq!(forwarded.body, "see below");
        assert_eq!(forwarded.files[0].name.as_deref(), Some("old.eml"));
        assert_eq!(forwarded.files[0].bytes.as_ref(), b"Subject: old\r\n\r\nold text");
    }

    #[test]
    fn a_number_of_gateways_that_cannot_be_read_is_the_largest() {
        for (header, expected) in [
            ("", 0),
            ("X-Apprise-Recursion-Count: 1\n", 1),
            ("X-Apprise-Recursion-Count: one\n", u64::MAX),
            ("X-Apprise-Recursion-Count: -1\n", u64::MAX),
            ("X-Apprise-Recursion-Count:\n", u64::MAX),
        ] {
            let mail = read(&format!("{header}Subject: s\n\nbody\n"));
            assert_eq!(mail.gateways, expected, "{header:?}");
        }
    }

    /// A page beside another text becomes text, and no comment or element swallows the rest of it.
    #[test]
    fn a_page_becomes_text_to_its_end() {
        for page in [
            "<!-- x --->before<p>after</p>",
            "<!--> before <p>after</p>",
            "<html><head/><body>before<p>after</p></body></html>",
            "<html><head><title>t</title></head><body>before<p>after</p></body></html>",
            "before<script/><p>after</p>",
            "<!-- a -- b -->before<br>after",
        ] {
            let mail = read(&format!(
                "Content-Type: multipart/mixed; boundary=x\n\n--x\n\nplain\n--x\nContent-Type: text/html\n\n{page}\n--x--\n"
            ));
            for word in ["plain", "before", "after"] {
                assert!(mail.body.contains(word), "{page}: {:?}", mail.body);
            }
        }
    }

    /// Decoded words of a subject or a name add no header and no line.
    #[test]
    fn decoded_words_stay_in_their_header() {
        let mail = read(
            "Subject: =?utf-8?q?a=0D=0ABcc:_x=40y=0D=0A=0D=0Abody?=\nTo: =?utf-8?q?b=0D=0ATo:_evil=40x?= <ops@x>\n\nreal\n",
        );
        assert_eq!(
            (mail.title.as_str(), mail.body.as_str()),
            ("a Bcc: x@y body", "real")
        );
        assert_eq!(mail.recipients, ["ops@x"]);
    }

    proptest::proptest! {
        #[test]
        fn no_mail_panics(text in "[-a-cx:;=\"?/\\r\\n ]{0,300}") {
            let _ = Mail::read(text.as_bytes());
            let _ = Mail::read(format!("Content-Type: multipart/mixed; boundary=x\r\n\r\n{text}").as_bytes());
        }
    }
}
