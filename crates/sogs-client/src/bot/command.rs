//! Commands: how they are named, who may use them, what they need.

use std::fmt::Write as _;
use std::future::Future;
use std::ops::{Bound, RangeBounds};
use std::time::Duration;

use super::{Context, Handler, Outcome, handler};

/// Who may use a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Everybody.
    Everyone,
    /// Moderators and admins of the room.
    Moderator,
    /// Admins of the room.
    Admin,
}

/// A command of a bot.
pub struct Command {
    name: String,
    aliases: Vec<String>,
    help: String,
    usage: String,
    role: Role,
    hidden: bool,
    args: (usize, usize),
    pub(super) cooldown: Option<Duration>,
    pub(super) handler: Handler,
}

impl Command {
    /// A command that everybody may use. `name` is matched without regard to case.
    pub fn new<F, Fut>(name: impl Into<String>, run: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            help: String::new(),
            usage: String::new(),
            role: Role::Everyone,
            hidden: false,
            args: (0, usize::MAX),
            cooldown: None,
            handler: handler(run),
        }
    }

    /// Another name.
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.aliases.push(name.into());
        self
    }

    /// One line for the list of commands.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = text.into();
        self
    }

    /// What follows the name, e.g. `USER [REASON…]`.
    pub fn usage(mut self, text: impl Into<String>) -> Self {
        self.usage = text.into();
        self
    }

    /// How many arguments it takes; with another number it answers with its usage.
    pub fn args(mut self, count: impl RangeBounds<usize>) -> Self {
        let low = match count.start_bound() {
            Bound::Included(&n) => n,
            Bound::Excluded(&n) => n + 1,
            Bound::Unbounded => 0,
        };
        let high = match count.end_bound() {
            Bound::Included(&n) => n,
            Bound::Excluded(&n) => n.saturating_sub(1),
            Bound::Unbounded => usize::MAX,
        };
        self.args = (low, high);
        self
    }

    /// Who may use it.
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Least time between two uses by one person. Moderators need not wait.
    pub fn cooldown(mut self, wait: Duration) -> Self {
        self.cooldown = Some(wait);
        self
    }

    /// Leaves it out of the list of commands.
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    pub(super) fn answers_to(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }

    /// Why the command does not run for this caller and these arguments.
    pub(super) fn refusal(&self, ctx: &Context, prefix: &str) -> Option<String> {
        if ctx.role < self.role {
            return Some(match self.role {
                Role::Admin => "Only admins may do that.".to_owned(),
                _ => "Only moderators may do that.".to_owned(),
            });
        }
        let given = ctx.args().len();
        let (low, high) = self.args;
        (given < low || given > high).then(|| {
            format!("Usage: {prefix}{} {}", self.name, self.usage)
                .trim()
                .to_owned()
        })
    }
}

/// The list of commands that somebody with `role` may use.
pub(super) fn help(commands: &[Command], prefix: &str, role: Role) -> String {
    let mut text = String::from("Commands:");
    for command in commands
        .iter()
        .filter(|command| !command.hidden && command.role <= role)
    {
        let _ = write!(text, "\n{prefix}{}", command.name);
        if !command.usage.is_empty() {
            let _ = write!(text, " {}", command.usage);
        }
        if !command.help.is_empty() {
            let _ = write!(text, " – {}", command.help);
        }
    }
    let _ = write!(text, "\n{prefix}help – shows this list");
    text
}

/// Name and rest of a command line; `None` if there is no name.
pub(super) fn split(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let end = line.find(char::is_whitespace).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    (!name.is_empty()).then(|| (name, rest.trim()))
}

/// Arguments are separated by white space; quotes keep them together.
pub(super) fn arguments(line: &str) -> Vec<String> {
    let mut args = Vec::new();
    let mut current: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == closing(open) => quote = None,
            (None, '"' | '\'' | '\u{201c}') if current.is_none() => {
                quote = Some(c);
                current = Some(String::new());
            }
            (None, c) if c.is_whitespace() => args.extend(current.take()),
            (_, c) => current.get_or_insert_default().push(c),
        }
    }
    args.extend(current);
    args
}

fn closing(open: char) -> char {
    if open == '\u{201c}' { '\u{201d}' } else { open }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_into_arguments() {
        assert_eq!(split("  ban  05ab  spam spam "), Some(("ban", "05ab  spam spam")));
        assert_eq!(split("   "), None);
        assert_eq!(
            arguments(r#"a "b c" it's 'd e' "" x"y"#),
            ["a", "b c", "it's", "d e", "", "x\"y"]
        );
        assert_eq!(arguments("“smart quotes” stay"), ["smart quotes", "stay"]);
        assert_eq!(arguments("\"never closed"), ["never closed"]);
        assert!(arguments("").is_empty());
    }
}
