//! `keyfob man`: the manual pages, made from the same texts as `--help`. Hidden: packages call it.

use std::path::PathBuf;

use clap::Args;

use super::Failure;

/// Where to.
#[derive(Debug, Args)]
pub struct Man {
    /// The directory, which must exist.
    directory: PathBuf,
}

impl Man {
    /// Writes a page for the program and one for each command.
    pub fn run(&self) -> Result<(), Failure> {
        let failed = |cause| {
            Failure::refused(format!("writing manual pages to {}: {cause}", self.directory.display()))
        };
        clap_mangen::generate_to(super::command(), &self.directory).map_err(failed)
    }
}
