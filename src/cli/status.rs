//! Exit statuses: part of what is promised, never renumbered.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// The image is reproduced, or the command did what it was asked.
    Done,
    /// The image is not reproduced, or only with waivers that were not allowed.
    NotReproduced,
    /// We could not find out: usage, broken input, network, host.
    Trouble,
    /// There is no verdict, and the report says what would settle it.
    Inconclusive,
}

/// The status of a command that was interrupted: 128 and the number of SIGINT, as shells have it.
pub(crate) const INTERRUPTED: i32 = 130;

impl Status {
    /// Returns the number that the process exits with.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotReproduced => 1,
            Self::Trouble => 2,
            Self::Inconclusive => 3,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        status.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_are_never_renumbered() {
        let codes = [
            Status::Done,
            Status::NotReproduced,
            Status::Trouble,
            Status::Inconclusive,
        ]
        .map(Status::code);
        assert_eq!(codes, [0, 1, 2, 3]);
    }
}
