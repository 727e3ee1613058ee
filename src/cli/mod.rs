//! The command line: one file per command; this one holds what they share.

use std::process::ExitCode;

/// Runs the program and says how it went: 0 done, 1 failed, 2 wrong usage.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
