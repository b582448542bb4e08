//! Properties of the call that every command knows.

use ackpost_notify::Services;
use clap::{Args, ValueEnum};

use crate::exit::Failure;

/// The name the program was called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// As `ackpost`.
    Ackpost,
    /// As `apprise`: the same program with Apprise's help, version line and layout.
    Apprise,
}

impl Invocation {
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
    /// Log to standard error: -v warnings, -vv information, -vvv debugging, -vvvv all
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Print debugging output, as -vvv
    #[arg(short = 'D', long, global = true)]
    pub(crate) debug: bool,
    /// Print results as JSON to standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Use colour on standard error and in help
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        global = true
    )]
    pub(crate) color: Color,
    /// Format of log lines on standard error
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        hide_default_value = true,
        global = true
    )]
    pub(crate) log_format: LogFormat,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Time, level, text and fields
    Text,
    /// One JSON object a line
    Json,
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

/// Properties of the call that every command knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    /// The name the program was called by.
    pub(crate) name: Invocation,
    /// `-v` … `-vvvv`: 0 to 4.
    pub(crate) verbosity: u8,
    /// `--json`: results go to standard output as JSON.
    pub(crate) json: bool,
    /// `--log-format`.
    pub(crate) log_format: LogFormat,
    /// The services that URLs may name.
    pub(crate) services: Services,
}

impl Context {
    pub(crate) fn new(name: Invocation, global: &GlobalArgs, services: Services) -> Self {
        let verbosity = if global.debug {
            global.verbose.max(3)
        } else {
            global.verbose.min(4)
        };
        Self {
            name,
            verbosity,
            json: global.json,
            log_format: global.log_format,
            services,
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
        format!("cannot start a thread or an event queue: {cause}"),
        "raise the limits of this process (ulimit -n, ulimit -u), or stop other programs",
    )
    .print();
    std::process::exit(i32::from(exit.code()))
}
