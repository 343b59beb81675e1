//! The executable; all code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyfob::cli::run()
}
