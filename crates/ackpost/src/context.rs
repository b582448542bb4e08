//! What every command knows about the way it was called.

use crate::cli::GlobalArgs;

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
            .expect("the system gives a thread and an event queue")
    }

    /// A runtime with a thread for each core: for commands that serve.
    #[expect(clippy::unused_self, reason = "how a command runs is part of its context")]
    pub(crate) fn server_runtime(self) -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("the system gives threads and an event queue")
    }
}
