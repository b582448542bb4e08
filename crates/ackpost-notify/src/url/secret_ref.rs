//! `{env:NAME}` and `{file:PATH}`: secrets by reference (D32).

use std::borrow::Cow;
use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::env::Environment;
use crate::problem::Diagnostic;

/// Largest secret file that is read.
const SECRET_FILE_BYTES: u64 = 64 * 1024;
/// Most references in one URL.
const REFERENCES: usize = 64;
/// Marks the place of a reference while the URL around it is taken apart: two code points of a private plane, so that
/// no delimiter inside a path or a secret can be mistaken for one of the URL's.
const OPEN: char = '\u{10FF00}';
const CLOSE: char = '\u{10FF01}';

/// The values of the references of one URL.
#[derive(Default)]
pub(crate) struct References {
    values: Vec<Zeroizing<String>>,
}

impl References {
    /// Takes the references out of a URL and looks their values up.
    pub(crate) fn extract<'t>(text: &'t str, env: &Environment) -> Result<(Cow<'t, str>, Self), Diagnostic> {
        let mut references = Self::default();
        if !text.contains('{') || next_reference(text).is_none() {
            return Ok((text.into(), references));
        }
        env.refuse_foreign("a reference to {env:…} or {file:…}")?;
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = next_reference(rest) {
            out.push_str(&rest[..at]);
            let body = &rest[at..];
            let Some(end) = body.find('}') else {
                return Err(Diagnostic::error(
                    "a {env:…} or {file:…} reference is not closed",
                    "add the missing `}`",
                ));
            };
            if references.values.len() >= REFERENCES {
                return Err(Diagnostic::error(
                    "too many {env:…} and {file:…} references",
                    "use fewer than 64 in one URL",
                ));
            }
            let value = lookup(&body[1..end], env)?;
            out.push(OPEN);
            out.push_str(&references.values.len().to_string());
            out.push(CLOSE);
            references.values.push(value);
            rest = &body[end + 1..];
        }
        out.push_str(rest);
        Ok((out.into(), references))
    }

    /// True when the URL has none.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Puts the values back into a part that has already been decoded.
    pub(crate) fn expand(&self, text: String) -> String {
        if self.values.is_empty() || !text.contains(OPEN) {
            return text;
        }
        self.expand_with(&text, str::to_owned)
    }

    /// Puts the values back, each changed on its way.
    pub(crate) fn expand_with(&self, text: &str, change: impl Fn(&str) -> String) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(OPEN) {
            out.push_str(&rest[..at]);
            let body = &rest[at + OPEN.len_utf8()..];
            let value = body.find(CLOSE).and_then(|end| {
                let index: usize = body[..end].parse().ok()?;
                Some((self.values.get(index)?, end))
            });
            if let Some((value, end)) = value {
                out.push_str(&Zeroizing::new(change(value)));
                rest = &body[end + CLOSE.len_utf8()..];
            } else {
                out.push(OPEN);
                rest = body;
            }
        }
        out.push_str(rest);
        out
    }
}

fn next_reference(text: &str) -> Option<usize> {
    match (text.find("{env:"), text.find("{file:")) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The value behind `env:NAME` or `file:PATH`.
fn lookup(reference: &str, env: &Environment) -> Result<Zeroizing<String>, Diagnostic> {
    if let Some(name) = reference.strip_prefix("env:") {
        let name = name.trim();
        return env
            .var(name)
            .filter(|value| !value.is_empty())
            .map(Zeroizing::new)
            .ok_or_else(|| {
                Diagnostic::error(
                    format!("the environment variable `{name}` is not set"),
                    "set it, or write the value another way",
                )
            });
    }
    let path = reference.strip_prefix("file:").unwrap_or(reference).trim();
    read_secret_file(path, env)
}

/// Reads a secret from a file: at most 64 KiB of UTF-8, one trailing line end removed; `~/` is the home folder.
pub(crate) fn read_secret_file(path: &str, env: &Environment) -> Result<Zeroizing<String>, Diagnostic> {
    env.refuse_foreign("a secret file")?;
    let full = match (path.strip_prefix("~/"), env.home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => Path::new(path).to_path_buf(),
    };
    let fail = |cause: String| Diagnostic::error(cause, "check the path and that this user may read it");
    let file = std::fs::File::open(&full)
        .map_err(|error| fail(format!("the secret file `{path}` cannot be read: {error}")))?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(SECRET_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(format!("the secret file `{path}` cannot be read: {error}")))?;
    if bytes.len() as u64 > SECRET_FILE_BYTES {
        return Err(fail(format!("the secret file `{path}` is larger than 64 KiB")));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| fail(format!("the secret file `{path}` is not UTF-8 text")))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Diagnostic::error(
            format!("the secret file `{path}` is empty"),
            "write the secret into it",
        ));
    }
    Ok(Zeroizing::new(text.to_owned()))
}
