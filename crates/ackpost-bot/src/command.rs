//! Commands: names, roles, arguments, cooldowns.

use std::fmt::Write as _;
use std::future::Future;
use std::hash::Hash;
use std::ops::{Bound, RangeBounds};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cooldown::Cooldowns;
use crate::line;
use crate::role::Role;

/// A handler at work.
pub type HandlerFuture<O> = Pin<Box<dyn Future<Output = O> + Send>>;

/// A handler: an async function of the context `C` with the outcome `O`.
pub type Handler<C, O> = Arc<dyn Fn(C) -> HandlerFuture<O> + Send + Sync>;

/// Turns an async function of the context into a handler.
pub fn handler<C, O, F, Fut>(run: F) -> Handler<C, O>
where
    F: Fn(C) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = O> + Send + 'static,
{
    Arc::new(move |ctx| Box::pin(run(ctx)))
}

/// A command of a bot. Its handler gets a context `C` and ends with an outcome `O`.
#[must_use]
pub struct Command<C, O> {
    name: String,
    aliases: Vec<String>,
    help: String,
    usage: String,
    role: Role,
    hidden: bool,
    args: (usize, usize),
    cooldown: Option<Duration>,
    handler: Handler<C, O>,
}

impl<C, O> Command<C, O> {
    /// Makes a command that everybody may use. `name` is matched without regard to case.
    pub fn new<F, Fut>(name: impl Into<String>, run: F) -> Self
    where
        F: Fn(C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = O> + Send + 'static,
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

    /// Adds another name.
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.aliases.push(name.into());
        self
    }

    /// Sets the line in the list of commands.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = text.into();
        self
    }

    /// Sets what follows the name, e.g. `USER [REASON…]`.
    pub fn usage(mut self, text: impl Into<String>) -> Self {
        self.usage = text.into();
        self
    }

    /// Sets how many arguments it takes; with another number it answers with its usage.
    pub fn args(mut self, count: impl RangeBounds<usize>) -> Self {
        let low = match count.start_bound() {
            Bound::Included(&n) => n,
            Bound::Excluded(&n) => n.saturating_add(1),
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

    /// Sets the lowest role that may use it.
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Lets operators of the bot alone use it.
    pub fn operators_only(self) -> Self {
        self.role(Role::Operator)
    }

    /// Sets the least time between two uses by one person. Moderators and higher roles need not wait.
    pub fn cooldown(mut self, wait: Duration) -> Self {
        self.cooldown = Some(wait);
        self
    }

    /// Leaves it out of the list of commands.
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    fn answers_to(&self, name: &str) -> bool {
        let same = |own: &str| own.to_lowercase() == name.to_lowercase();
        same(&self.name) || self.aliases.iter().any(|alias| same(alias))
    }

    /// Reason why the command does not run for a person with this role and this number of arguments.
    fn refusal(&self, role: Role, given: usize, prefix: &str) -> Option<String> {
        if role < self.role {
            return Some(self.role.refusal().to_owned());
        }
        let (low, high) = self.args;
        (given < low || given > high).then(|| {
            format!("Usage: {prefix}{} {}", self.name, self.usage)
                .trim()
                .to_owned()
        })
    }
}

/// Meaning of a line that a person wrote.
pub enum Found<C, O> {
    /// It has no command.
    Nothing,
    /// An answer without a handler: the list of commands, or why the command does not run.
    Say(String),
    /// A command runs.
    Run {
        /// Its handler.
        handler: Handler<C, O>,
        /// The text behind its name, as it was written.
        rest: String,
        /// The arguments in it.
        args: Vec<String>,
    },
}

/// The commands of a bot.
pub struct Commands<C, O> {
    prefix: String,
    all: Vec<Command<C, O>>,
}

impl<C, O> Default for Commands<C, O> {
    fn default() -> Self {
        Self {
            prefix: "!".to_owned(),
            all: Vec::new(),
        }
    }
}

impl<C, O> Commands<C, O> {
    /// Adds a command.
    pub fn push(&mut self, command: Command<C, O>) {
        self.all.push(command);
    }

    /// Sets what commands begin with. Default: `!`.
    pub fn set_prefix(&mut self, prefix: impl Into<String>) {
        self.prefix = prefix.into();
    }

    /// Returns the text behind the prefix, if `body` begins with it.
    pub fn line<'a>(&self, body: &'a str) -> Option<&'a str> {
        body.strip_prefix(&self.prefix)
    }

    /// Finds the command of a line (without the prefix), and stores the use of a command with a cooldown. `person`
    /// identifies the author.
    pub fn look<P: Eq + Hash>(
        &self,
        line: &str,
        role: Role,
        person: P,
        cooldowns: &mut Cooldowns<P>,
        now: Instant,
    ) -> Found<C, O> {
        let Some((name, rest)) = line::split(line) else {
            return Found::Nothing;
        };
        let found = self
            .all
            .iter()
            .enumerate()
            .find(|(_, command)| command.answers_to(name));
        let Some((index, command)) = found else {
            let asks_for_help = name.eq_ignore_ascii_case("help") && !self.all.is_empty();
            return if asks_for_help {
                Found::Say(self.help(role))
            } else {
                Found::Nothing
            };
        };
        let args = line::arguments(rest);
        if let Some(refusal) = command.refusal(role, args.len(), &self.prefix) {
            return Found::Say(refusal);
        }
        if role < Role::Moderator {
            let wait_of = |index: usize| self.all[index].cooldown;
            if let Some(wait) = cooldowns.try_use(index, person, wait_of, now) {
                return Found::Say(wait);
            }
        }
        Found::Run {
            handler: command.handler.clone(),
            rest: rest.to_owned(),
            args,
        }
    }

    /// The list of commands that somebody with this role may use.
    fn help(&self, role: Role) -> String {
        let prefix = &self.prefix;
        let mut text = String::from("Commands:");
        for command in &self.all {
            if command.hidden || command.role > role {
                continue;
            }
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Plain = Commands<(), ()>;

    fn commands() -> Plain {
        let mut commands = Plain::default();
        let nothing = |()| async {};
        commands.push(
            Command::new("Echo", nothing)
                .alias("say")
                .help("says it again")
                .usage("TEXT…")
                .args(1..),
        );
        commands.push(Command::new("ban", nothing).role(Role::Moderator).args(1..=2));
        commands.push(Command::new("stop", nothing).operators_only());
        commands.push(
            Command::new("slow", nothing)
                .hidden()
                .cooldown(Duration::from_secs(5)),
        );
        commands
    }

    fn look(line: &str, role: Role) -> String {
        match commands().look(line, role, "me", &mut Cooldowns::default(), Instant::now()) {
            Found::Nothing => "nothing".to_owned(),
            Found::Say(text) => text,
            Found::Run { rest, args, .. } => format!("runs with {rest:?}, {args:?}"),
        }
    }

    #[test]
    fn a_command_runs_for_who_may_use_it_with_the_right_arguments() {
        assert_eq!(
            look("ECHO a  'b c'", Role::Everyone),
            "runs with \"a  'b c'\", [\"a\", \"b c\"]"
        );
        assert_eq!(look("say x", Role::Everyone), "runs with \"x\", [\"x\"]");
        assert_eq!(look("echo", Role::Everyone), "Usage: !Echo TEXT…");
        assert_eq!(look("ban x", Role::Everyone), "Only moderators may do that.");
        assert_eq!(look("ban x y", Role::Admin), "runs with \"x y\", [\"x\", \"y\"]");
        assert_eq!(look("ban x y z", Role::Admin), "Usage: !ban");
        assert_eq!(
            look("stop", Role::Admin),
            "Only operators of the bot may do that."
        );
        assert_eq!(look("stop", Role::Operator), "runs with \"\", []");
        assert_eq!(look("other", Role::Operator), "nothing");
        assert_eq!(look("  ", Role::Operator), "nothing");
    }

    #[test]
    fn help_lists_what_the_asker_may_use() {
        assert_eq!(
            look("help", Role::Everyone),
            "Commands:\n!Echo TEXT… – says it again\n!help – shows this list"
        );
        assert_eq!(
            look("Help", Role::Operator),
            "Commands:\n!Echo TEXT… – says it again\n!ban\n!stop\n!help – shows this list"
        );
        let none = Plain::default();
        let found = none.look(
            "help",
            Role::Everyone,
            1,
            &mut Cooldowns::default(),
            Instant::now(),
        );
        assert!(matches!(found, Found::Nothing), "a bot without commands");
    }

    #[test]
    fn moderators_need_not_wait() {
        let (commands, mut cooldowns, now) = (commands(), Cooldowns::default(), Instant::now());
        let mut runs = |role| {
            matches!(
                commands.look("slow", role, 7, &mut cooldowns, now),
                Found::Run { .. }
            )
        };
        assert_eq!(
            [
                runs(Role::Moderator),
                runs(Role::Everyone),
                runs(Role::Everyone),
                runs(Role::Operator)
            ],
            [true, true, false, true]
        );
    }

    proptest! {
        #[test]
        fn no_line_breaks_anything_or_gets_more_than_its_role(line in ".{0,200}") {
            let mut cooldowns = Cooldowns::default();
            for role in [Role::Everyone, Role::Moderator, Role::Admin] {
                if let Found::Run { rest, .. } = commands().look(&line, role, 0, &mut cooldowns, Instant::now()) {
                    prop_assert!(line.contains(&rest));
                    prop_assert!(!line.trim_start().to_lowercase().starts_with("stop"));
                }
            }
        }
    }
}
