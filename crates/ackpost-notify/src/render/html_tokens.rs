//! HTML cut into tags and texts, as forgiving as the reference's reader: nothing is ever an error.

use super::entities;

/// Name and value of an attribute; none when no `=` is written.
pub(super) type Attribute = (String, Option<String>);

/// One piece of HTML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// `<name …>`; the attributes in order, values decoded.
    Start {
        name: String,
        attributes: Vec<Attribute>,
    },
    /// `</name>`, and also the second half of `<name/>`.
    End { name: String },
    /// Text, decoded.
    Text(String),
}

/// Elements whose content is not HTML.
const RAW: [&str; 2] = ["script", "style"];

/// Cuts HTML into tokens. Comments, declarations and processing instructions are left out.
pub(super) fn tokens(html: &str) -> Vec<Token> {
    let mut reader = Reader {
        html,
        at: 0,
        tokens: Vec::new(),
    };
    reader.run();
    reader.tokens
}

struct Reader<'a> {
    html: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl<'a> Reader<'a> {
    fn run(&mut self) {
        // Position of the last `>`. No tag that begins behind it can be complete.
        let last_close = self.html.rfind('>');
        while self.at < self.html.len() {
            let rest = &self.html[self.at..];
            let Some(open) = rest.find('<') else {
                self.text(rest);
                return;
            };
            self.text(&rest[..open]);
            self.at += open;
            let tag = &self.html[self.at..];
            let hopeless = last_close.is_none_or(|last| last < self.at);
            let used = if hopeless { None } else { self.markup(tag) };
            match used {
                Some(used) => self.at += used,
                None => self.at += self.broken(tag, hopeless),
            }
        }
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.tokens.push(Token::Text(entities::decode(text)));
        }
    }

    /// Markup at a `<`: its length, or nothing when it is not complete or no markup at all.
    fn markup(&mut self, tag: &'a str) -> Option<usize> {
        let bytes = tag.as_bytes();
        match bytes.get(1)? {
            b'/' => self.end_tag(tag),
            b'!' if tag.starts_with("<!--") => comment_end(tag),
            b'!' | b'?' => tag.find('>').map(|at| at + 1),
            first if first.is_ascii_alphabetic() => self.start_tag(tag),
            _ => None,
        }
    }

    fn end_tag(&mut self, tag: &str) -> Option<usize> {
        let close = tag.find('>')?;
        let inner = tag[2..close].trim_start();
        if !inner.starts_with(|c: char| c.is_ascii_alphabetic())
            || tag[2..].starts_with(char::is_whitespace) && !is_plain_end(&tag[2..close])
        {
            return Some(close + 1);
        }
        let name: String = inner
            .chars()
            .take_while(|c| !c.is_whitespace() && *c != '/')
            .collect();
        self.tokens.push(Token::End {
            name: name.to_lowercase(),
        });
        Some(close + 1)
    }

    fn start_tag(&mut self, tag: &'a str) -> Option<usize> {
        let mut scan = Scan { text: tag, at: 1 };
        let name = scan
            .take(|c| !c.is_whitespace() && c != '/' && c != '>' && c != '\0')
            .to_lowercase();
        let mut attributes = Vec::new();
        let mut closed;
        loop {
            scan.take(|c| c.is_whitespace() || c == '/');
            closed = tag[..scan.at].ends_with('/');
            match scan.peek()? {
                '>' => break,
                _ => attributes.push(scan.attribute()?),
            }
        }
        let end = scan.at + 1;
        self.tokens.push(Token::Start {
            name: name.clone(),
            attributes,
        });
        if closed {
            self.tokens.push(Token::End { name });
            return Some(end);
        }
        if RAW.contains(&name.as_str()) {
            return Some(end + self.raw(&tag[end..], &name));
        }
        Some(end)
    }

    /// The raw content of an element, up to its end tag.
    fn raw(&mut self, rest: &str, name: &str) -> usize {
        let lower = rest.to_ascii_lowercase();
        let mut from = 0;
        while let Some(found) = lower[from..].find("</") {
            let at = from + found;
            let after = lower[at + 2..].trim_start();
            if after
                .strip_prefix(name)
                .is_some_and(|tail| tail.trim_start().starts_with('>'))
            {
                if at > 0 {
                    self.tokens.push(Token::Text(rest[..at].to_owned()));
                }
                return at;
            }
            from = at + 2;
        }
        // An element that is never closed is left out.
        rest.len()
    }

    /// Takes broken markup as text: up to the next `>`, else up to the next `<`.
    fn broken(&mut self, tag: &str, hopeless: bool) -> usize {
        let starts_markup =
            tag[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
        let end = if starts_markup {
            let close = if hopeless { None } else { tag[1..].find('>') };
            close
                .map(|at| at + 2)
                .or_else(|| tag[1..].find('<').map(|at| at + 1))
                .unwrap_or(if tag[1..].starts_with("!--") || tag.len() > 1 {
                    tag.len()
                } else {
                    1
                })
        } else {
            1
        };
        self.text(&tag[..end]);
        end
    }
}

fn is_plain_end(inner: &str) -> bool {
    let inner = inner.trim();
    !inner.is_empty()
        && inner
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.:_".contains(c))
}

/// Length of a comment: it ends with `--`, blanks, `>`.
fn comment_end(tag: &str) -> Option<usize> {
    let mut from = 4;
    while let Some(found) = tag.get(from..)?.find("--") {
        let at = from + found;
        let after = tag[at + 2..].trim_start();
        if after.starts_with('>') {
            return Some(tag.len() - after.len() + 1);
        }
        from = at + 1;
    }
    None
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// `name`, `name=value`, `name="value"`, `name='value'`. `None` when a quote is never closed.
    fn attribute(&mut self) -> Option<Attribute> {
        let start = self.at;
        self.at += self.peek()?.len_utf8();
        self.take(|c| !c.is_whitespace() && !matches!(c, '/' | '>' | '='));
        let name = self.text[start..self.at].to_lowercase();
        let before_blanks = self.at;
        self.take(char::is_whitespace);
        if self.peek() != Some('=') {
            self.at = before_blanks;
            return Some((name, None));
        }
        self.take(|c| c == '=');
        self.take(char::is_whitespace);
        let value = match self.peek()? {
            quote @ ('"' | '\'') => {
                let rest = &self.text[self.at + 1..];
                let end = rest.find(quote)?;
                self.at += end + 2;
                &rest[..end]
            }
            _ => self.take(|c| !c.is_whitespace() && c != '>'),
        };
        Some((name, Some(entities::decode(value))))
    }
}
