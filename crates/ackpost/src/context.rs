//! What every command knows about the way it was called.

use clap::{Args, ValueEnum};

use crate::exit::Failure;

/// The name the program was called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// As itself.
    Ackpost,
    /// As `apprise`: the same program with Apprise's help, version line and layout.
    Apprise,
}

impl Name {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ackpost => "ackpost",
            Self::Apprise => "apprise",
        }
    }
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct GlobalArgs {
    /// Say more, on standard error: -v warnings, -vv information, -vvv debugging, -vvvv everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Debugging output, as -vvv
    #[arg(short = 'D', long, global = true)]
    pub(crate) debug: bool,
    /// Results as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Colour on standard error and in help
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        global = true
    )]
    pub(crate) color: Color,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What every command knows about the way it was called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    /// The name the program was called by.
    pub(crate) name: Name,
    /// `-v` … `-vvvv`: 0 to 4.
    pub(crate) verbosity: u8,
    /// `--json`: results go to standard output as JSON.
    pub(crate) json: bool,
}

impl Context {
    pub(crate) fn new(name: Name, global: &GlobalArgs) -> Self {
        let verbosity = if global.debug {
            global.verbose.max(3)
        } else {
            global.verbose.min(4)
        };
        Self {
            name,
            verbosity,
            json: global.json,
        }
    }

    /// A runtime with one thread: enough for a command that sends, and up in microseconds.
    #[expect(clippy::unused_self, reason = "how a command runs is part of its context")]
    pub(crate) fn runtime(self) -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap_or_else(|cause| out_of_resources(&cause))
    }

    /// A runtime with a thread for each core: for commands that serve.
    #[expect(clippy::unused_self, reason = "how a command runs is part of its context")]
    pub(crate) fn server_runtime(self) -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap_or_else(|cause| out_of_resources(&cause))
    }
}

/// Nothing can be done without a thread and an event queue, and nothing was begun.
#[expect(
    clippy::disallowed_methods,
    reason = "no command has begun: there is nothing that a destructor would have to end"
)]
fn out_of_resources(cause: &std::io::Error) -> ! {
    let exit = Failure::new(
        format!("the system gives no thread or no event queue: {cause}"),
        "raise the limits of this process (ulimit -n, ulimit -u), or stop other programs",
    )
    .print();
    std::process::exit(i32::from(exit.code()))
}
