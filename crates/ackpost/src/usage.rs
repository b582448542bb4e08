//! Command lines that are not accepted.

use crate::context::{Context, Name};
use crate::exit::Exit;
use crate::output;

/// A command line that makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    name: Name,
    pub(crate) text: String,
    header: bool,
}

impl Usage {
    /// `header`: the usage line goes with it.
    pub(crate) fn new(name: Name, text: String, header: bool) -> Self {
        Self { name, text, header }
    }

    /// Prints it to standard error and gives the exit code.
    pub(crate) fn print(&self) -> Exit {
        if self.header {
            let name = self.name.as_str();
            output::note(&format!(
                "Usage: {name} [OPTIONS] URL [URL2 [URL3]]\nTry '{name} --help' for help.\n"
            ));
        }
        output::note(&format!("Error: {}", self.text));
        Exit::Usage
    }
}

/// A value on the command line that is not accepted.
///
/// Scripts written for Apprise find these two lines on standard output, everyone else on standard error.
pub(crate) fn refuse_value(context: Context, text: &str) -> Exit {
    if text.starts_with("Invalid value") {
        return Usage::new(context.name, text.to_owned(), true).print();
    }
    if context.name == Name::Apprise {
        output::line(text);
        output::line("Try 'apprise --help' for more information.");
    } else {
        output::error(text);
        output::note("Try 'ackpost --help' for more information.");
    }
    Exit::Usage
}
