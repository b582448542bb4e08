//! Command lines that are not accepted.

use crate::context::{Context, Invocation};
use crate::exit::Exit;
use crate::output;

/// Last line of an error in the command line, as clap prints it.
const HINT: &str = "For more information, try '--help'.";

/// A command line that is not valid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    name: Invocation,
    pub(crate) text: String,
    header: bool,
}

impl Usage {
    /// `header`: the usage line goes with it.
    pub(crate) fn new(name: Invocation, text: String, header: bool) -> Self {
        Self { name, text, header }
    }

    /// Prints it to standard error and gives the exit code.
    pub(crate) fn print(&self) -> Exit {
        let name = self.name.as_str();
        let usage = format!("Usage: {name} [OPTIONS] URL [URL2 [URL3]]");
        if self.name == Invocation::Ackpost {
            // The form of the errors that clap prints.
            output::error(&self.text);
            let usage = if self.header {
                format!("\n{usage}\n")
            } else {
                String::new()
            };
            output::note(&format!("{usage}\n{HINT}"));
            return Exit::Usage;
        }
        if self.header {
            output::note(&format!("{usage}\nTry '{name} --help' for help.\n"));
        }
        output::note(&format!("Error: {}", self.text));
        Exit::Usage
    }
}

/// A value on the command line that is not accepted, in two forms.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadValue {
    /// The sentence that scripts written for Apprise find.
    apprise: String,
    own: String,
    /// True if Apprise prints its usage before the sentence, on standard error.
    is_invalid: bool,
}

impl BadValue {
    /// A sentence that begins with `The`; `rest` is what follows, without the full stop.
    pub(crate) fn the(rest: &str) -> Self {
        Self {
            apprise: format!("The {rest}."),
            own: format!("the {rest}"),
            is_invalid: false,
        }
    }

    /// The same with a remedy, which Apprise prints in some cases only.
    pub(crate) fn with_remedy(mut self, remedy: &str, in_apprise: bool) -> Self {
        if in_apprise {
            let mut letters = remedy.chars();
            let first = letters.next().map(char::to_uppercase).into_iter().flatten();
            let sentence: String = first.chain(letters).collect();
            self.apprise = format!("{} {sentence}.", self.apprise);
        }
        self.own = format!("{}; {remedy}", self.own);
        self
    }

    /// A value of another type: `wanted` is the name of the right one in Apprise and here.
    pub(crate) fn invalid(flag: &str, text: &str, wanted: [&str; 2]) -> Self {
        let [apprise, own] = wanted;
        Self {
            apprise: format!("Invalid value for '{flag}': '{text}' is not {apprise}."),
            own: format!("invalid value for '{flag}': '{text}' is not {own}"),
            is_invalid: true,
        }
    }

    /// A value that Apprise does not know: both forms are the same.
    pub(crate) fn of_ours(text: String) -> Self {
        Self {
            apprise: text.clone(),
            own: text,
            is_invalid: false,
        }
    }

    /// No configuration was found.
    pub(crate) fn no_configuration() -> Self {
        Self {
            apprise: "No configuration file was found.".to_owned(),
            own: "no configuration file was found".to_owned(),
            is_invalid: false,
        }
    }
}

/// Prints why a value on the command line is not accepted, and gives the exit code.
///
/// Scripts written for Apprise find these two lines on standard output, everyone else on standard error.
pub(crate) fn refuse_value(context: Context, value: BadValue) -> Exit {
    let is_apprise = context.name == Invocation::Apprise;
    let text = if is_apprise { value.apprise } else { value.own };
    if value.is_invalid {
        return Usage::new(context.name, text, true).print();
    }
    if is_apprise {
        output::line(&text);
        output::line("Try 'apprise --help' for more information.");
    } else {
        output::error(&text);
        output::note(&format!("\n{HINT}"));
    }
    Exit::Usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_refused_in_the_words_of_apprise_and_in_ours() {
        let forms = |value: BadValue| [value.apprise, value.own];
        assert_eq!(
            forms(BadValue::the("value is not supported").with_remedy("write one of: a, b", true)),
            [
                "The value is not supported. Write one of: a, b.",
                "the value is not supported; write one of: a, b"
            ]
        );
        // The value itself is shown as it was typed.
        let typed = "a valid float. Write";
        assert_eq!(
            forms(BadValue::invalid("--limit", typed, ["a valid float", "a number"])),
            [
                "Invalid value for '--limit': 'a valid float. Write' is not a valid float.",
                "invalid value for '--limit': 'a valid float. Write' is not a number"
            ]
        );
    }
}
