//! From a source to entries: reading, choosing the parser, following includes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ackpost_notify::url::percent;
use ackpost_notify::{ConnectionOptions, Context, Diagnostic};
use futures_util::future::BoxFuture;

use crate::entry::Entry;

use super::parsed::{Include, Parsed, Syntax};
use super::search::expand_home;
#[cfg(unix)]
use super::secrets::holds_secret_of;
use super::{FILE_BYTES, TEXT_BYTES, fetch, text, yaml};

/// Most files of one load, includes counted each time.
const FILES: usize = 256;
/// Most entries of one load.
const ENTRIES: usize = 100_000;

/// Location of a configuration.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Its grammar; `None` goes by the name (`*.yml` and `*.yaml` are YAML, all others TEXT).
        syntax: Option<Syntax>,
    },
    /// An `http(s)://` address, fetched with GET (D27; `?method=post` for servers that need it).
    Http {
        /// The address as written.
        url: String,
    },
    /// A text in memory; without a grammar its content decides.
    Text {
        /// The text.
        text: String,
        /// Grammar of the text.
        syntax: Option<Syntax>,
    },
    /// Something that cannot be read at all.
    Unusable {
        /// The location as written, without secrets.
        location: String,
    },
}

impl Source {
    /// Reads the value of `--config`: a path, `file://…` (with `?format=text|yaml`), `http(s)://…`.
    pub fn from_location(location: &str) -> Self {
        let location = location.trim();
        let lower = location.to_ascii_lowercase();
        if lower.starts_with("http://") || lower.starts_with("https://") {
            return Self::Http {
                url: location.to_owned(),
            };
        }
        if lower.starts_with("file://") {
            let rest = &location["file://".len()..];
            let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
            let syntax = query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .filter(|(key, _)| key.eq_ignore_ascii_case("format"))
                .find_map(|(_, value)| Syntax::word(&percent::decode(value)));
            return Self::File {
                path: PathBuf::from(percent::decode(path)),
                syntax,
            };
        }
        if let Some((schema, _)) = location.split_once("://") {
            return Self::Unusable {
                location: format!("{schema}://…"),
            };
        }
        Self::File {
            path: PathBuf::from(location),
            syntax: None,
        }
    }
}

/// Content of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Its services, in order, includes after the file that includes them.
    pub entries: Vec<Entry>,
    /// Problems of the configuration.
    pub problems: Vec<Diagnostic>,
}

/// Result of loading a configuration.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConfigReport {
    /// Number of services that the configuration gave.
    pub services: usize,
    /// Problems of the configuration: place, cause and remedy. No problem means that it is clean.
    pub problems: Vec<Diagnostic>,
}

impl ConfigReport {
    /// True when no problems.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Loads configurations. `asset:` sections change the context for the rest of the run.
#[derive(Debug)]
pub struct Loader<'a> {
    pub(super) context: &'a mut Context,
    depth: u32,
    connections: &'a ConnectionOptions,
    files: usize,
    /// Files being read, from the outermost in, so that a file that includes itself is noticed.
    open: Vec<PathBuf>,
    loops: BTreeSet<PathBuf>,
}

/// Kind of source that a configuration was read from. Only files include files.
enum ReadFrom {
    File(PathBuf),
    Http,
    Memory,
}

impl<'a> Loader<'a> {
    /// A loader that follows includes `depth` levels deep.
    pub fn new(context: &'a mut Context, depth: u32, connections: &'a ConnectionOptions) -> Self {
        Self {
            context,
            depth: depth.min(64),
            connections,
            files: 0,
            open: Vec::new(),
            loops: BTreeSet::new(),
        }
    }

    /// Loads a source and what it includes.
    pub async fn load(&mut self, source: Source) -> Loaded {
        let mut loaded = Loaded::default();
        self.follow(source, self.depth, &mut loaded).await;
        loaded
    }

    fn follow<'b>(&'b mut self, source: Source, depth: u32, loaded: &'b mut Loaded) -> BoxFuture<'b, ()> {
        Box::pin(async move {
            self.files += 1;
            if self.files > FILES || loaded.entries.len() > ENTRIES {
                loaded.problems.push(Diagnostic::error(
                    "the configuration includes too many files",
                    "look for files that include each other",
                ));
                return;
            }
            let (text, syntax, name, from) = match self.read(source).await {
                Ok(read) => read,
                Err(problem) => {
                    loaded.problems.push(problem);
                    return;
                }
            };
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            let parsed = match syntax {
                Syntax::Text => text::parse(&lines(text), &name, self.context),
                Syntax::Yaml => yaml::parse(text, &name, self.context),
            };
            self.warn_if_readable_by_others(&from, &name, text, &parsed, loaded);
            loaded.entries.extend(parsed.entries);
            loaded.problems.extend(parsed.problems);
            if let ReadFrom::File(path) = &from {
                self.open.push(path.clone());
            }
            for include in parsed.includes {
                self.include(include, &from, &name, depth, loaded).await;
            }
            if let ReadFrom::File(_) = &from {
                self.open.pop();
            }
        })
    }

    async fn include(
        &mut self,
        include: Include,
        from: &ReadFrom,
        name: &str,
        depth: u32,
        loaded: &mut Loaded,
    ) {
        let at = |problem: Diagnostic| {
            problem
                .key("include")
                .at(Some(name), include.line, include.column)
        };
        if let Err(problem) = self.context.env.refuse_foreign("an include") {
            loaded.problems.push(at(problem));
            return;
        }
        if depth == 0 {
            // A file that leads back to itself is loaded already, and depth 0 asks for no includes.
            let problem = if self.depth == 0 || self.is_open(&include, from) {
                Diagnostic::warning
            } else {
                Diagnostic::error
            };
            loaded.problems.push(at(problem(
                "an include is not followed, the allowed depth is used up",
                "raise the depth with --recursion-depth",
            )));
            return;
        }
        let mut source = Source::from_location(&include.location);
        if let Source::File { path, .. } = &mut source {
            let ReadFrom::File(parent) = from else {
                loaded.problems.push(at(Diagnostic::error(
                    "only a configuration file may include a file",
                    "write an http(s):// address here",
                )));
                return;
            };
            *path = self.included_path(&include.location, parent, path);
            let real = std::fs::canonicalize(&*path).unwrap_or_else(|_| path.clone());
            if self.reads(&real) && self.loops.insert(real) {
                loaded.problems.push(at(Diagnostic::warning(
                    "the file includes itself, its services are listed once per level",
                    "remove the include that leads back",
                )));
            }
        }
        let before = loaded.problems.len();
        self.follow(source, depth - 1, loaded).await;
        for problem in &mut loaded.problems[before..] {
            if problem.file.is_none() {
                *problem = at(problem.clone());
            }
        }
    }

    /// The path of an include: beside the including file, or for a `file://` address from the working folder.
    fn included_path(&self, location: &str, parent: &Path, path: &Path) -> PathBuf {
        let written = expand_home(&path.to_string_lossy(), &self.context.env);
        if location.contains("://") {
            written
        } else {
            beside(parent, &written)
        }
    }

    /// True while a file is being read, by its canonical path.
    fn reads(&self, real: &Path) -> bool {
        let open = |open: &PathBuf| std::fs::canonicalize(open).is_ok_and(|open| open == real);
        self.open.iter().any(open)
    }

    /// True when an include leads back to a file that is being read.
    fn is_open(&self, include: &Include, from: &ReadFrom) -> bool {
        let (ReadFrom::File(parent), Source::File { path, .. }) =
            (from, Source::from_location(&include.location))
        else {
            return false;
        };
        std::fs::canonicalize(self.included_path(&include.location, parent, &path))
            .is_ok_and(|real| self.reads(&real))
    }

    async fn read(&mut self, source: Source) -> Result<(String, Syntax, String, ReadFrom), Diagnostic> {
        match source {
            Source::File { path, syntax } => {
                let path = expand_home(&path.to_string_lossy(), &self.context.env);
                let name = path.display().to_string();
                let text = read_file(&path).map_err(|problem| problem.at(Some(&name), None, None))?;
                let syntax = syntax.unwrap_or_else(|| by_name(&name));
                Ok((text, syntax, name, ReadFrom::File(path)))
            }
            Source::Http { url } => {
                let fetched = fetch::fetch(&url, self.connections, &self.context.asset.app_id).await?;
                let syntax = fetched.syntax.unwrap_or_else(|| by_content(&fetched.text));
                Ok((fetched.text, syntax, fetched.name, ReadFrom::Http))
            }
            Source::Text { text, syntax } => {
                if text.len() > TEXT_BYTES {
                    return Err(Diagnostic::error(
                        "the configuration is larger than 16 MiB",
                        "split it",
                    ));
                }
                let syntax = syntax.unwrap_or_else(|| by_content(&text));
                Ok((text, syntax, "(text)".to_owned(), ReadFrom::Memory))
            }
            Source::Unusable { location } => Err(Diagnostic::error(
                format!("cannot read a configuration from {location}"),
                "write a path, file://… or http(s)://…",
            )),
        }
    }

    /// A file that holds secrets and may be read by others is worth a warning (D32).
    fn warn_if_readable_by_others(
        &self,
        from: &ReadFrom,
        name: &str,
        text: &str,
        parsed: &Parsed,
        loaded: &mut Loaded,
    ) {
        #[cfg(unix)]
        if let ReadFrom::File(path) = from
            && self.context.check_permissions
            && parsed.entries.iter().any(|entry| may_stand_in(entry, text))
        {
            use std::os::unix::fs::PermissionsExt as _;
            let open = std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o044 != 0);
            if open {
                loaded.problems.push(
                    Diagnostic::warning(
                        "the file holds secrets and other users may read it",
                        "run chmod 600 on it, or move the secrets to {file:…} or {env:…}",
                    )
                    .at(Some(name), None, None),
                );
            }
        }
        #[cfg(not(unix))]
        let _ = (from, name, text, parsed, loaded);
    }
}

/// Returns true if a secret of the entry may be written in the text itself. In doubt it returns true. It returns false
/// only for a file that names secrets instead of writing them, and in which none of their values is found.
#[cfg(unix)]
fn may_stand_in(entry: &Entry, text: &str) -> bool {
    // A join link has the key of the server, and its account is stored elsewhere.
    const ELSEWHERE: [&str; 5] = ["{env:", "{file:", "password_file", "seed_file", "public_key="];
    if entry.service().is_none() || !ELSEWHERE.iter().any(|word| text.contains(word)) {
        return true;
    }
    holds_secret_of(entry, text)
}

fn read_file(path: &Path) -> Result<String, Diagnostic> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| {
        Diagnostic::error(
            format!("the file cannot be read: {error}"),
            "check the path and its permissions",
        )
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > FILE_BYTES {
        return Err(Diagnostic::error(
            "the file is larger than 128 KiB",
            "split it into several and include them",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let line = u32::try_from(good.matches('\n').count() + 1).ok();
        Diagnostic::error("the file is not UTF-8 text", "save it as UTF-8").at(None, line, None)
    })
}

/// A text with its line ends as `\n`.
fn lines(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        text.replace("\r\n", "\n").replace('\r', "\n").into()
    } else {
        text.into()
    }
}

fn by_name(name: &str) -> Syntax {
    let extension = name
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase());
    if matches!(extension.as_deref(), Some("yml" | "yaml")) {
        Syntax::Yaml
    } else {
        Syntax::Text
    }
}

/// Guesses the grammar of a text in memory: the first telling line decides.
fn by_content(text: &str) -> Syntax {
    const KEYS: [&str; 9] = [
        "version", "include", "group", "groups", "urls", "tag", "tags", "asset", "template",
    ];
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
    {
        if line.starts_with("---") || line.starts_with("- ") {
            return Syntax::Yaml;
        }
        if let Some((key, rest)) = line.split_once(':')
            && KEYS.contains(&key.trim().to_ascii_lowercase().as_str())
            && (rest.is_empty() || rest.starts_with([' ', '\t']))
        {
            return Syntax::Yaml;
        }
        if line.contains("://") || line.contains('=') {
            return Syntax::Text;
        }
    }
    Syntax::Text
}

/// A path as an including file means it.
fn beside(parent: &Path, path: &Path) -> PathBuf {
    if path.is_absolute() {
        path.to_path_buf()
    } else {
        parent.parent().unwrap_or(Path::new("")).join(path)
    }
}
