//! The `farmgate` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    farmgate::cli::main()
}
