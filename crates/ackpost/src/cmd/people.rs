//! People as words of a command: several, or a file of them.

use std::path::PathBuf;

use clap::Args;

use crate::exit::Failure;

/// The largest file of ids, bytes.
const IDS_FILE_BYTES: u64 = 1 << 20;

/// One or several people.
#[derive(Debug, Args)]
pub(crate) struct PeopleArgs {
    /// People: session ids (05…, 15…, 25…), short ids (15e5…b6fe), display names, or numbers of their messages
    #[arg(value_name = "WHO", required_unless_present = "file")]
    who: Vec<String>,
    #[command(flatten)]
    file: FileArgs,
}

/// A file of people.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// Read more people from a file, one a line; `#` begins a comment
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl PeopleArgs {
    /// Returns all of them, one a line.
    pub(crate) fn text(&self) -> Result<String, Failure> {
        self.file.text(&self.who)
    }
}

impl FileArgs {
    /// Returns these people and those of the file, one a line.
    pub(crate) fn text(&self, who: &[String]) -> Result<String, Failure> {
        let mut text = who.join("\n");
        if let Some(path) = &self.file {
            let cannot = |error: String| {
                Failure::new(
                    format!("cannot read {}: {error}", path.display()),
                    "check the path; the file is text with one id a line, at most 1 MiB",
                )
            };
            let bytes = ackpost_platform::read_limited(path, IDS_FILE_BYTES)
                .map_err(|error| cannot(error.to_string()))?;
            let more = String::from_utf8(bytes).map_err(|error| cannot(error.to_string()))?;
            text.push('\n');
            text.push_str(&more);
        }
        Ok(text)
    }
}
