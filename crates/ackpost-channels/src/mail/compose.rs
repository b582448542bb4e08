//! A message as bytes: headers, text and files. The same piece always gives the same bytes.

use std::time::{Duration, SystemTime};

use ackpost_notify::{Diagnostic, File, Format, HOPS_HEADER};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lettre::Address;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Body, Mailbox, Message, MultiPart, SinglePart};

use super::Mail;
use super::address::Person;
use crate::piece::Piece;

/// Media type of a file whose own cannot be read.
const BINARY: &str = "application/octet-stream";

/// Builds the mail to one recipient.
pub(super) fn compose(
    mail: &Mail,
    program: &str,
    to: &Person,
    piece: &Piece,
    files: &[File],
) -> Result<Vec<u8>, Diagnostic> {
    let domain = mail.from.address.rsplit('@').next().unwrap_or("localhost");
    let from = Person {
        name: mail
            .from
            .name
            .clone()
            .or_else(|| mail.program_name.then(|| program.to_owned())),
        ..mail.from.clone()
    };
    let mut builder = Message::builder()
        .from(mailbox(&from)?)
        .to(mailbox(to)?)
        .subject(one_line(&piece.title))
        .date(SystemTime::UNIX_EPOCH + Duration::from_millis(piece.at))
        .message_id(Some(format!("<{}@{domain}>", safe(&piece.id))));
    for person in copies(&mail.cc, &[to], &mail.bcc) {
        builder = builder.cc(mailbox(person)?);
    }
    for person in copies(&mail.reply, &[to], &[]) {
        builder = builder.reply_to(mailbox(person)?);
    }
    let headers = [
        ("Auto-Submitted".to_owned(), "auto-generated".to_owned()),
        ("X-Application".to_owned(), program.to_owned()),
    ];
    let own = |name: &str| {
        mail.headers
            .iter()
            .any(|(written, _)| written.eq_ignore_ascii_case(name))
    };
    let headers = headers.into_iter().filter(|(name, _)| !own(name));
    let hops = (piece.hops > 0).then(|| (HOPS_HEADER.to_owned(), piece.hops.to_string()));
    let written = mail
        .headers
        .iter()
        .filter(|(name, _)| hops.is_none() || !name.eq_ignore_ascii_case(HOPS_HEADER));
    for (name, value) in headers.chain(written.cloned()).chain(hops.clone()) {
        let name = HeaderName::new_from_ascii(name)
            .map_err(|_| Diagnostic::error("a header cannot be written", "check its name in the URL"))?;
        builder = builder.raw_header(HeaderValue::new(name, one_line(&value)));
    }
    let text = text(piece);
    let built = if files.is_empty() {
        match text {
            Part::One(part) => builder.singlepart(part),
            Part::Many(parts) => builder.multipart(parts),
        }
    } else {
        let mixed = MultiPart::mixed().boundary(boundary(piece, "files"));
        let mut mixed = match text {
            Part::One(part) => mixed.singlepart(part),
            Part::Many(parts) => mixed.multipart(parts),
        };
        for file in files {
            mixed = mixed.singlepart(attachment(file));
        }
        builder.multipart(mixed)
    };
    let message = built.map_err(|error| {
        Diagnostic::error(
            format!("the mail cannot be built: {error}"),
            "check the addresses in the URL",
        )
    })?;
    Ok(message.formatted())
}

/// Returns the people of a list who are in neither of the others.
pub(super) fn copies<'a>(list: &'a [Person], without: &[&Person], nor: &[Person]) -> Vec<&'a Person> {
    let among = |person: &Person| {
        let mut others = without.iter().copied().chain(nor);
        others.any(|other| other.address == person.address)
    };
    list.iter().filter(|person| !among(person)).collect()
}

fn mailbox(person: &Person) -> Result<Mailbox, Diagnostic> {
    let address: Address = person.address.parse().map_err(|_| {
        Diagnostic::error(
            "an address cannot be written into a mail",
            "check the addresses in the URL",
        )
    })?;
    Ok(Mailbox::new(person.name.clone(), address))
}

/// The text of a mail.
enum Part {
    One(SinglePart),
    Many(MultiPart),
}

fn text(piece: &Piece) -> Part {
    if piece.format() != Format::Html {
        return Part::One(SinglePart::plain(piece.body.clone()));
    }
    let plain = ackpost_notify::render::html_to_text(&piece.body);
    let parts = MultiPart::alternative().boundary(boundary(piece, "text"));
    Part::Many(
        parts
            .singlepart(SinglePart::plain(plain))
            .singlepart(SinglePart::html(piece.body.clone())),
    )
}

fn attachment(file: &File) -> SinglePart {
    let content_type = ContentType::parse(&one_line(&file.media_type))
        .or_else(|_| ContentType::parse(BINARY))
        .unwrap_or(ContentType::TEXT_PLAIN);
    // Encoded here: the library takes bytes that are UTF-8 for a text, and changes their line ends.
    let encoded = BASE64.encode(&file.bytes);
    let mut lines = Vec::with_capacity(encoded.len() + encoded.len() / 38 + 2);
    for line in encoded.as_bytes().chunks(76) {
        lines.extend_from_slice(line);
        lines.extend_from_slice(b"\r\n");
    }
    let body = Body::dangerous_pre_encoded(lines, ContentTransferEncoding::Base64);
    Attachment::new(one_line(&file.name)).body(body, content_type)
}

/// A text that no part holds: the id of the message is random.
fn boundary(piece: &Piece, part: &str) -> String {
    format!("ackpost-{part}-{}", safe(&piece.id))
}

fn safe(id: &str) -> String {
    id.chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(48)
        .collect()
}

/// A text without line ends and control characters, with one blank between its words.
fn one_line(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Writes a mail as DATA takes it: every line ends with CRLF, and a dot at the beginning of a line is doubled. No line end
/// of another kind is left, which some servers would take for one.
pub(super) fn as_data(mail: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(mail.len() + mail.len() / 32 + 2);
    let mut rest = mail;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let (line, behind) = rest.split_at(end.unwrap_or(rest.len()));
        if line.first() == Some(&b'.') {
            data.push(b'.');
        }
        data.extend_from_slice(line);
        data.extend_from_slice(b"\r\n");
        rest = match behind {
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
            [] => behind,
        };
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_mail_ends_the_mail() {
        let smuggled = b"a\n.\nb\r.\rc\r\n.\r\nMAIL FROM:<x@y.org>\r\n..d";
        assert_eq!(
            String::from_utf8(as_data(smuggled)).expect("text"),
            "a\r\n..\r\nb\r\n..\r\nc\r\n..\r\nMAIL FROM:<x@y.org>\r\n...d\r\n"
        );
        assert!(as_data(b"").is_empty());
    }

    #[test]
    fn a_header_is_one_line() {
        assert_eq!(one_line("disk\r\nBcc: x@y.org\t full"), "disk Bcc: x@y.org full");
    }
}
