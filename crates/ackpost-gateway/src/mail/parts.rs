//! The parts of a mail: a walk through the levels of a MIME message, within limits.
//!
//! The parser of the crate `mail-parser` reads one head at a time. Which parts there are, how deep they lie and what is decoded is
//! decided here, so that no spelling of a head leads it to work that was not counted.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::{Message, MessageParser, MimeHeaders as _};

use super::{MailError, MailFile};

/// Maximum number of parts of a mail.
pub(super) const MAX_PARTS: usize = 512;
/// Deepest nesting of multiparts that is looked into.
pub(super) const MAX_NESTED: usize = 32;
/// Largest head of a mail, bytes. The time to read a head grows with the square of its size.
pub(super) const MAX_HEAD: usize = 128 << 10;
/// Largest size of all heads of a mail together, bytes.
pub(super) const MAX_HEADS: usize = 256 << 10;

/// Longest text of one part, bytes before its characters are decoded: no message is longer.
pub(super) const MAX_TEXT: usize = 1 << 20;
/// Longest text of all parts together: the same in two forms.
pub(super) const MAX_TEXTS: usize = 2 * MAX_TEXT;

/// Longest text of one part as it comes: its encoding makes it three times as long at most, and breaks its lines.
const MAX_CODED_TEXT: usize = 4 * MAX_TEXT;

/// A text that a mail shows.
#[derive(Debug)]
pub(super) enum Text {
    Plain(String),
    Html(String),
    /// It is longer than any message. Its characters were not decoded.
    TooLong {
        plain: bool,
    },
}

/// The walk: what was counted and found so far.
#[derive(Debug, Default)]
pub(super) struct Walk {
    parts: usize,
    head_bytes: usize,
    text_bytes: usize,
    /// Attachments, in their order.
    pub(super) files: Vec<MailFile>,
}

/// The multipart around a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Around {
    Nothing,
    Digest,
    Related,
    Other,
}

/// The place of a part in the one around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    around: Around,
    first: bool,
}

impl Place {
    /// The mail itself.
    pub(super) const TOP: Self = Self {
        around: Around::Nothing,
        first: true,
    };
}

/// Encoding of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Plain,
    Base64,
    QuotedPrintable,
}

/// The content that a head describes.
#[derive(Debug)]
pub(super) struct Head {
    kind: String,
    sub: String,
    /// A `Content-Type` is there.
    typed: bool,
    boundary: Option<String>,
    charset: Option<String>,
    encoding: Encoding,
    attachment: bool,
    /// The content type has a name.
    named: bool,
    name: Option<String>,
}

impl Head {
    /// Reads a head that was parsed; none is that of a text.
    pub(super) fn of(message: Option<&Message<'_>>, place: Place) -> Self {
        let content_type = message.and_then(|message| message.content_type());
        let (kind, sub) = match content_type {
            Some(content_type) => (content_type.ctype(), content_type.subtype().unwrap_or_default()),
            None if place.around == Around::Digest => ("message", "rfc822"),
            None => ("text", "plain"),
        };
        let attribute = |name: &str| {
            content_type
                .and_then(|one| one.attribute(name))
                .map(str::to_owned)
        };
        let encoding = message.and_then(|message| message.content_transfer_encoding());
        let encoding = match encoding.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "base64" => Encoding::Base64,
            "quoted-printable" => Encoding::QuotedPrintable,
            _ => Encoding::Plain,
        };
        let disposition = message.and_then(|message| message.content_disposition());
        Self {
            kind: kind.to_ascii_lowercase(),
            sub: sub.to_ascii_lowercase(),
            typed: content_type.is_some(),
            boundary: attribute("boundary").filter(|boundary| !boundary.is_empty()),
            charset: attribute("charset"),
            encoding,
            attachment: disposition.is_some_and(mail_parser::ContentType::is_attachment),
            named: content_type.is_some_and(|one| one.has_attribute("name")),
            name: message
                .and_then(|message| message.attachment_name())
                .map(str::to_owned),
        }
    }

    fn decode<'b>(&self, body: &'b [u8]) -> Cow<'b, [u8]> {
        match self.encoding {
            Encoding::Plain => Cow::Borrowed(body),
            Encoding::Base64 => base64(body),
            Encoding::QuotedPrintable => Cow::Owned(quoted_printable(body)),
        }
    }

    fn text(&self, bytes: &[u8]) -> String {
        let decoder = self
            .charset
            .as_deref()
            .and_then(|name| charset_decoder(name.as_bytes()));
        decoder.map_or_else(
            || String::from_utf8_lossy(bytes).into_owned(),
            |decoder| decoder(bytes),
        )
    }
}

impl Walk {
    /// Returns a head as the parser takes it: with its last line ended, and an empty line behind it.
    pub(super) fn head(&mut self, head: &[u8]) -> Result<Vec<u8>, MailError> {
        self.head_bytes = self.head_bytes.saturating_add(head.len());
        if head.len() > MAX_HEAD || self.head_bytes > MAX_HEADS {
            return Err(MailError::TooComplex);
        }
        Ok([head, b"\r\n\r\n"].concat())
    }

    /// Walks through a content. Returns its texts; its files are kept.
    pub(super) fn body(
        &mut self,
        head: &Head,
        body: &[u8],
        level: usize,
        place: Place,
    ) -> Result<Vec<Text>, MailError> {
        self.parts += 1;
        if self.parts > MAX_PARTS || level > MAX_NESTED {
            return Err(MailError::TooComplex);
        }
        let is_multipart = head.kind == "multipart";
        if is_multipart && let Some(boundary) = &head.boundary {
            let parts = parts(body, boundary.as_bytes())?;
            if !parts.is_empty() {
                return self.multipart(head, &parts, level);
            }
        }
        let shown = head.kind == "text"
            && (place.around == Around::Nothing || matches!(head.sub.as_str(), "plain" | "html"));
        let inline = !head.attachment && (place.first || !(place.around == Around::Related || head.named));
        // A multipart without parts is nothing but a text.
        let is_text = is_multipart || (shown && inline);
        if is_text && body.len() > MAX_CODED_TEXT {
            let plain = head.sub != "html";
            return Ok(vec![Text::TooLong { plain }]);
        }
        let bytes = head.decode(body);
        if is_text {
            return Ok(vec![self.text(head, bytes)]);
        }
        self.files.push(MailFile {
            name: head.name.clone(),
            media_type: (head.typed || place.around == Around::Digest)
                .then(|| format!("{}/{}", head.kind, head.sub)),
            bytes: Bytes::from(bytes.into_owned()),
        });
        Ok(Vec::new())
    }

    /// Decodes the characters of a text. One byte may become three, so long texts are left out first.
    fn text(&mut self, head: &Head, bytes: Cow<'_, [u8]>) -> Text {
        let plain = head.sub != "html";
        self.text_bytes = self.text_bytes.saturating_add(bytes.len());
        if bytes.len() > MAX_TEXT || self.text_bytes > MAX_TEXTS {
            return Text::TooLong { plain };
        }
        let text = head.text(&bytes);
        drop(bytes);
        if !plain {
            return Text::Html(text);
        }
        let mut text = text.replace("\r\n", "\n");
        text.truncate(text.trim_end().len());
        Text::Plain(text)
    }

    fn multipart(&mut self, around: &Head, parts: &[&[u8]], level: usize) -> Result<Vec<Text>, MailError> {
        let mut texts = Vec::with_capacity(parts.len());
        for (number, part) in parts.iter().enumerate() {
            let place = Place {
                around: match around.sub.as_str() {
                    "digest" => Around::Digest,
                    "related" => Around::Related,
                    _ => Around::Other,
                },
                first: number == 0,
            };
            let (head, body) = split(part);
            let head = self.head(head)?;
            let message = MessageParser::default().parse_headers(&head);
            let head = Head::of(message.as_ref(), place);
            texts.push(self.body(&head, body, level + 1, place)?);
        }
        if around.sub != "alternative" {
            return Ok(texts.into_iter().flatten().collect());
        }
        // The plain one of several forms, else the first that shows anything.
        let shows = |plain: bool| {
            move |texts: &Vec<Text>| {
                texts.iter().any(|text| match text {
                    Text::Plain(text) => !text.trim().is_empty(),
                    Text::Html(page) => !plain && !page.trim().is_empty(),
                    Text::TooLong { plain: is_plain } => *is_plain || !plain,
                })
            }
        };
        let chosen = texts.iter().position(shows(true));
        let chosen = chosen.or_else(|| texts.iter().position(shows(false)));
        Ok(chosen.map(|at| texts.swap_remove(at)).unwrap_or_default())
    }
}

/// Splits a mail or a part behind its first empty line into head and body.
pub(super) fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut start = 0;
    while start < bytes.len() {
        let end = line_end(bytes, start);
        if bytes[start..end].iter().all(u8::is_ascii_whitespace) {
            return (&bytes[..start], &bytes[end..]);
        }
        start = end;
    }
    (bytes, &[])
}

/// Returns true if a mail begins with a head, and false if it is a text alone.
pub(super) fn begins_with_head(raw: &[u8]) -> bool {
    let first = &raw[..line_end(raw, 0)];
    let name = first.split(|byte| *byte == b':').next().unwrap_or_default();
    let is_header = name.len() < first.len()
        && !name.is_empty()
        && name.trim_ascii_end().iter().all(u8::is_ascii_graphic);
    is_header || first.starts_with(b"From ") || first.iter().all(u8::is_ascii_whitespace)
}

/// Returns the end of the line that begins at `start`, its line feed included.
fn line_end(bytes: &[u8], start: usize) -> usize {
    memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |at| start + at + 1)
}

/// Returns what stands between the lines of a boundary.
fn parts<'b>(body: &'b [u8], boundary: &[u8]) -> Result<Vec<&'b [u8]>, MailError> {
    let (mut found, mut open, mut at) = (Vec::new(), None, 0);
    while at < body.len() {
        let end = line_end(body, at);
        if let Some(last) = boundary_line(&body[at..end], boundary) {
            found.extend(open.map(|start: usize| without_line_end(&body[start..at])));
            if found.len() > MAX_PARTS {
                return Err(MailError::TooComplex);
            }
            open = (!last).then_some(end);
            if last {
                return Ok(found);
            }
        }
        at = end;
    }
    // The last boundary is missing.
    found.extend(open.map(|start| &body[start..]));
    Ok(found)
}

/// True for the last line of a boundary, false for another one, and nothing for any other line.
fn boundary_line(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (last, rest) = match rest.strip_prefix(b"--") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    rest.iter().all(u8::is_ascii_whitespace).then_some(last)
}

fn without_line_end(part: &[u8]) -> &[u8] {
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    part.strip_suffix(b"\r").unwrap_or(part)
}

/// Decodes base64 and skips what is not part of it. A text that only claims to be encoded stays as it is.
fn base64(body: &[u8]) -> Cow<'_, [u8]> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let others = body
        .iter()
        .filter(|byte| !is_letter(byte) && **byte != b'=' && !byte.is_ascii_whitespace())
        .count();
    if others > body.len() / 32 {
        return Cow::Borrowed(body);
    }
    let settings = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&STANDARD, settings);
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    for run in body.split(|byte| *byte == b'=') {
        let mut letters: Vec<u8> = run.iter().copied().filter(|byte| is_letter(byte)).collect();
        // One letter alone holds no whole byte.
        if letters.len() % 4 == 1 {
            letters.pop();
        }
        let _ = engine.decode_vec(&letters, &mut out);
    }
    Cow::Owned(out)
}

fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        let (text, joined) = text.strip_suffix(b"=").map_or((text, false), |text| (text, true));
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            if let Some(decoded) = hex(text.get(at + 1..at + 3)).filter(|_| *byte == b'=') {
                out.push(decoded);
                at += 3;
            } else {
                out.push(*byte);
                at += 1;
            }
        }
        if !joined && line.ends_with(b"\n") {
            out.extend_from_slice(if line.ends_with(b"\r\n") { b"\r\n" } else { b"\n" });
        }
    }
    out
}

/// The byte that two digits stand for.
fn hex(digits: Option<&[u8]>) -> Option<u8> {
    let [high, low] = digits? else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_decoded_and_damage_is_skipped() {
        for (given, expected) in [
            ("aGVs\r\nbG8=\r\n", "hello"),
            ("aGVsbG8", "hello"),
            ("aGU=bGxv", "hello"),
            ("aGVsbG8x2", "hello1"),
            (
                "no: base64, but a text (of 2 lines)!",
                "no: base64, but a text (of 2 lines)!",
            ),
            ("", ""),
        ] {
            assert_eq!(base64(given.as_bytes()).as_ref(), expected.as_bytes(), "{given}");
        }
        for (given, expected) in [
            ("a=3Db=\r\nc  \r\nd", "a=bc\r\nd"),
            ("=zz = =4", "=zz = =4"),
            ("caf=C3=A9\n", "café\n"),
        ] {
            assert_eq!(quoted_printable(given.as_bytes()), expected.as_bytes(), "{given}");
        }
    }

    #[test]
    fn boundaries_are_whole_lines() {
        let found = |body: &str| -> Vec<String> {
            let parts = parts(body.as_bytes(), b"x").expect("few");
            let text = |part: &&[u8]| String::from_utf8_lossy(part).into_owned();
            parts.iter().map(text).collect()
        };
        assert_eq!(
            found("before\r\n--x\r\none\r\n--x  \r\ntwo\r\n--x--\r\nafter"),
            ["one", "two"]
        );
        assert_eq!(found("--x\none\n--xy\ntwo --x\n"), ["one\n--xy\ntwo --x\n"]);
        assert_eq!(found("--x\n--x\n--x--"), ["", ""]);
        assert!(found("no line of it").is_empty());
        assert!(parts("--x\n".repeat(1_000).as_bytes(), b"x").is_err());
    }
}
