//! Search for an installed Apprise: the Python interpreters that could have it, in the order in which they are tried.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ackpost_notify::Diagnostic;

/// The variable that names an Apprise or a Python interpreter, or is `off`.
const NAMED: &str = "ACKPOST_APPRISE";
/// Set for the processes that this crate starts.
pub(crate) const DELEGATED: &str = "ACKPOST_DELEGATED";
/// Longest first line of a script.
const HEAD_BYTES: u64 = 1024;

/// A Python interpreter that may have Apprise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its path.
    pub python: PathBuf,
}

/// Looks a variable up.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Returns the interpreters that may have Apprise.
///
/// # Errors
/// Delegation is switched off, `ACKPOST_APPRISE` names nothing usable, or this process was itself started as an Apprise.
pub(crate) fn candidates(lookup: Lookup<'_>) -> Result<Vec<Candidate>, Diagnostic> {
    if lookup(DELEGATED).is_some() {
        return Err(Diagnostic::error(
            "the Apprise that was found is Ackpost itself",
            "set ACKPOST_APPRISE to the path of Apprise or of its Python interpreter",
        ));
    }
    match lookup(NAMED).filter(|value| !value.trim().is_empty()) {
        Some(word) if word.trim() == "off" => Err(Diagnostic::error(
            "Apprise is switched off by ACKPOST_APPRISE=off",
            "unset ACKPOST_APPRISE, or leave such entries out with --foreign skip",
        )),
        Some(path) => named(Path::new(path.trim()), lookup).map(|found| vec![found]),
        None => Ok(searched(lookup)),
    }
}

/// The interpreter that `ACKPOST_APPRISE` names, by itself or in the first line of a script.
fn named(path: &Path, lookup: Lookup<'_>) -> Result<Candidate, Diagnostic> {
    let unusable = |cause: &str| {
        Diagnostic::error(
            format!("ACKPOST_APPRISE names {}, {cause}", path.display()),
            "set it to the path of Apprise or of its Python interpreter, or to off",
        )
    };
    if !path.is_file() {
        return Err(unusable("which is not a file"));
    }
    if is_this_program(path) {
        return Err(unusable("which is Ackpost itself"));
    }
    if is_python(path.file_name()) {
        return Ok(Candidate {
            python: path.to_path_buf(),
        });
    }
    interpreter(path, lookup)
        .map(|python| Candidate { python })
        .ok_or_else(|| unusable("which is not a Python program"))
}

/// The interpreters of every `apprise` on `PATH` and in the folder of this user's programs, then `python3`.
fn searched(lookup: Lookup<'_>) -> Vec<Candidate> {
    let path = lookup("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .collect();
    let home = lookup("HOME").filter(|home| !home.is_empty());
    folders.extend(home.map(|home| Path::new(&home).join(".local/bin")));
    let mut all: Vec<Candidate> = Vec::new();
    let mut add = |python: PathBuf| {
        if !all.iter().any(|known| known.python == python) {
            all.push(Candidate { python });
        }
    };
    for folder in &folders {
        let script = folder.join("apprise");
        if script.is_file() && !is_this_program(&script) {
            interpreter(&script, lookup).map(&mut add);
        }
    }
    if let Some(python) = folders
        .iter()
        .map(|folder| folder.join("python3"))
        .find(|path| path.is_file())
    {
        add(python);
    }
    all
}

/// True if a path leads to the running program.
fn is_this_program(path: &Path) -> bool {
    let this = std::env::current_exe().and_then(std::fs::metadata);
    match (this, std::fs::metadata(path)) {
        (Ok(this), Ok(that)) => same_file(&this, &that),
        _ => false,
    }
}

#[cfg(unix)]
fn same_file(this: &std::fs::Metadata, that: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (this.dev(), this.ino()) == (that.dev(), that.ino())
}

#[cfg(not(unix))]
fn same_file(_: &std::fs::Metadata, _: &std::fs::Metadata) -> bool {
    false
}

fn is_python(name: Option<&OsStr>) -> bool {
    name.is_some_and(|name| name.to_string_lossy().starts_with("python"))
}

/// The Python interpreter in the first line of a script: `#!/path/python3`, `#!/usr/bin/env python3`, or the form with
/// `/bin/sh` that is written for long paths.
fn interpreter(script: &Path, lookup: Lookup<'_>) -> Option<PathBuf> {
    let mut head = Vec::new();
    File::open(script)
        .ok()?
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .ok()?;
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let mut words = lines.next()?.strip_prefix("#!")?.split_whitespace();
    let program = Path::new(words.next()?);
    if is_python(program.file_name()) {
        return program.is_file().then(|| program.to_path_buf());
    }
    if program.ends_with("env") {
        let name = words.next().filter(|name| is_python(Some(OsStr::new(name))))?;
        let path = lookup("PATH")?;
        return std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|path| path.is_file());
    }
    // '''exec' /long/path/python "$0" "$@"
    let python = lines.next()?.strip_prefix("'''exec' ")?;
    let python = python.strip_suffix(" \"$0\" \"$@\"")?.trim_matches('"');
    let python = Path::new(python);
    (is_python(python.file_name()) && python.is_file()).then(|| python.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    #[test]
    fn the_interpreter_of_an_apprise_on_the_path_comes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let bin = folder.path().join("bin");
        std::fs::create_dir_all(folder.path().join(".local/bin")).expect("a folder");
        std::fs::create_dir(&bin).expect("a folder");
        let own = script(folder.path(), "python3.99", "");
        let python = script(&bin, "python3", "");
        script(&bin, "apprise", &format!("#!{}\nimport sys\n", own.display()));
        let long = script(folder.path(), "python-long", "");
        let text = format!("#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n", long.display());
        script(&folder.path().join(".local/bin"), "apprise", &text);
        let (path, home) = (bin.display().to_string(), folder.path().display().to_string());
        let lookup = |name: &str| match name {
            "PATH" => Some(path.clone()),
            "HOME" => Some(home.clone()),
            _ => None,
        };
        let found: Vec<PathBuf> = candidates(&lookup)
            .expect("candidates")
            .into_iter()
            .map(|one| one.python)
            .collect();
        assert_eq!(found, [own, long, python]);
    }

    #[test]
    fn this_program_is_not_taken_for_apprise() {
        let folder = tempfile::tempdir().expect("a folder");
        let this = std::env::current_exe().expect("a program");
        let link = folder.path().join("apprise");
        #[cfg(unix)]
        std::os::unix::fs::symlink(this, &link).expect("a link");
        let path = folder.path().display().to_string();
        let searched = candidates(&|name| (name == "PATH").then(|| path.clone())).expect("none");
        assert_eq!(searched, []);
        let named = candidates(&|name| (name == NAMED).then(|| link.display().to_string()));
        assert!(named.is_err_and(|problem| problem.cause.ends_with("which is Ackpost itself")));
        let delegated = candidates(&|name| (name == DELEGATED).then(|| "1".to_owned()));
        assert!(delegated.is_err_and(|problem| problem.cause.contains("Ackpost itself")));
        let off = candidates(&|name| (name == NAMED).then(|| "off".to_owned()));
        assert!(off.is_err_and(|problem| problem.cause.contains("switched off")));
    }
}
