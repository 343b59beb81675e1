//! What a command prints and how it fails.

use std::fmt::Display;

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Text.
    Human,
    /// `--json`.
    Json,
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Rejected or failed: one line with the cause and what to do. Exit code 1.
    Refused(String),
    /// The same, because the connection to the server was lost.
    Disconnected(String),
    /// The command of `keyfob dev` ended with this exit code, which is ours, too.
    Ended(u8),
    /// Standard output was closed. The program ends without a message. Exit code 0.
    OutputClosed,
}

impl Failure {
    pub fn refused(cause: impl Display) -> Self {
        Self::Refused(cause.to_string())
    }

    /// The failure of a command whose secret could not be printed, also if standard output was closed; it
    /// says what to do.
    pub fn of_secret(self, what_to_do: &str) -> Self {
        match self {
            Self::Refused(cause) | Self::Disconnected(cause) => {
                Self::Refused(format!("{cause}; {what_to_do}"))
            }
            Self::Ended(code) => Self::Ended(code),
            Self::OutputClosed => Self::Refused(format!("standard output was closed; {what_to_do}")),
        }
    }
}
