//! Exit codes, and errors that end a command.

use std::process::ExitCode;

/// Exit code of a command. The numbers are Apprise's and part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked for is done: 0.
    Success,
    /// Nothing was delivered, or the command failed: 1.
    Failure,
    /// The command line makes no sense: 2.
    Usage,
    /// Services are loaded, but none fits the tags: 3.
    NoMatch,
    /// Some were delivered, some not: 4.
    Partial,
    /// A time limit ended everything: 5.
    TimeLimit,
    /// A code of `sysexits.h`, for programs that call `sendmail`.
    Mail(u8),
}

impl Exit {
    /// The number the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NoMatch => 3,
            Self::Partial => 4,
            Self::TimeLimit => 5,
            Self::Mail(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<ackpost_notify::Status> for Exit {
    fn from(status: ackpost_notify::Status) -> Self {
        match status {
            ackpost_notify::Status::Success => Self::Success,
            ackpost_notify::Status::Failure => Self::Failure,
            ackpost_notify::Status::NoMatch => Self::NoMatch,
            ackpost_notify::Status::Partial => Self::Partial,
            ackpost_notify::Status::Timeout => Self::TimeLimit,
        }
    }
}

/// Result of every command.
pub(crate) type Done = Result<Exit, Failure>;

/// Reason why a command failed: the cause and the remedy.
#[derive(Debug)]
pub(crate) struct Failure {
    cause: String,
    remedy: String,
    exit: Exit,
}

impl Failure {
    /// Ends the command with exit code 1. Both texts are lower-case fragments without a full stop.
    pub(crate) fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            remedy: remedy.into(),
            exit: Exit::Failure,
        }
    }

    /// The command line makes no sense: exit code 2.
    pub(crate) fn usage(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::new(cause, remedy)
        }
    }

    /// The cause.
    pub(crate) fn cause(&self) -> &str {
        &self.cause
    }

    /// Remedy, as an imperative.
    pub(crate) fn remedy(&self) -> &str {
        &self.remedy
    }

    /// Returns the exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}
