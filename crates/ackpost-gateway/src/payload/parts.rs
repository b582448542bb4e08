//! A look at the parts of a multipart body before it is parsed.
//!
//! The parser reads the headers of a part again with every piece of the body until they are complete, so that headers
//! of many mebibytes would keep it busy for minutes.

use crate::reply::Reply;

/// Longest headers of one part, and the longest text in front of the first part.
const MAX_HEADERS: usize = 8 << 10;
/// Maximum number of parts: fields, files, and the end.
const MAX_PARTS: usize = 512;

/// Returns the content type under which the parser reads the same parts as this look did. Refuses a body whose parts have
/// long headers, or that has very many parts.
pub(super) fn check(content_type: &str, bytes: &[u8]) -> Result<String, Reply> {
    let Some(boundary) = boundary(content_type) else {
        return Err(
            Reply::bad_request("the multipart body has no boundary").remedy("name it in Content-Type")
        );
    };
    let same = Ok(format!("multipart/form-data; boundary=\"{boundary}\""));
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let first = find(window(bytes, 0, MAX_HEADERS + delimiter.len()), &delimiter);
    let Some(mut at) = first else {
        return Err(
            Reply::bad_request("the multipart body does not begin with its boundary")
                .remedy("check its boundary and its parts"),
        );
    };
    let delimiter = [b"\r\n", delimiter.as_slice()].concat();
    at += delimiter.len() - 2;
    for _ in 0..MAX_PARTS {
        if bytes[at..].starts_with(b"--") {
            return same;
        }
        let Some(end) = find(window(bytes, at, MAX_HEADERS), b"\r\n\r\n") else {
            return Err(Reply::bad_request(format!(
                "the headers of a part are not complete within {MAX_HEADERS} bytes"
            ))
            .remedy("check the multipart body and its parts"));
        };
        // A part without content ends where its headers do: their last line end belongs to the next delimiter.
        at += end + 2;
        match find(&bytes[at..], &delimiter) {
            Some(next) => at += next + delimiter.len(),
            // The parser says what is wrong with a body without an end.
            None => return same,
        }
    }
    Err(Reply::bad_request("the multipart body has too many parts")
        .remedy(format!("send {MAX_PARTS} at most")))
}

/// Returns the `boundary` parameter of a content type.
fn boundary(content_type: &str) -> Option<&str> {
    let lower = content_type.to_ascii_lowercase();
    let at = lower.match_indices("boundary=").map(|(at, _)| at).find(|at| {
        let before = lower[..*at].trim_end();
        before.ends_with(';')
    })?;
    let value = &content_type[at + "boundary=".len()..];
    let text = match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => value.split(';').next()?.trim(),
    };
    let is_usual = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte);
    Some(text).filter(|text| (1..=256).contains(&text.len()) && text.bytes().all(is_usual))
}

fn window(bytes: &[u8], from: usize, length: usize) -> &[u8] {
    let rest = bytes.get(from..).unwrap_or_default();
    &rest[..rest.len().min(length)]
}

/// Returns the place of a short text in a long one.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=x";

    fn part(header: &str, content: &str) -> String {
        format!("--x\r\n{header}\r\n\r\n{content}\r\n")
    }

    #[test]
    fn ordinary_bodies_pass() {
        let field = part("Content-Disposition: form-data; name=\"a\"", "text");
        let empty = part("Content-Disposition: form-data; name=\"b\"", "");
        let looks_like = part("Content-Disposition: form-data; name=\"c\"", "a --x in the text");
        for body in [
            format!("{field}{empty}{looks_like}--x--\r\n"),
            format!("preamble\r\n{field}--x--"),
            format!("{field}--x\r\nContent-Disposition: form-data; name=\"d\"\r\n\r\nno end"),
            "--x--".to_owned(),
        ] {
            assert!(check(TYPE, body.as_bytes()).is_ok(), "{body}");
            for kind in [
                "multipart/form-data; charset=utf-8; Boundary=\"x\"",
                "multipart/form-data;boundary=x ; a=b",
            ] {
                assert!(check(kind, body.as_bytes()).is_ok(), "{kind}");
            }
        }
    }

    #[test]
    fn long_headers_and_many_parts_are_refused() {
        let field = part("Content-Disposition: form-data; name=\"a\"", "text");
        let long = "n".repeat(15 << 20);
        for body in [
            format!("--x\r\n{long}"),
            format!("{field}--x\r\n{long}: v\r\n\r\ntext\r\n--x--"),
            format!("{long}{field}--x--"),
            format!("{}--x--", field.repeat(MAX_PARTS + 1)),
        ] {
            let began = std::time::Instant::now();
            let reply = check(TYPE, body.as_bytes()).expect_err("refused");
            assert_eq!(reply.status().as_u16(), 400);
            assert!(began.elapsed() < std::time::Duration::from_secs(2));
        }
        assert!(check("multipart/form-data", b"--x--").is_err());
    }
}
