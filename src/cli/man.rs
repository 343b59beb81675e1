//! `keyfob man`: manual pages from the texts of `--help`. Hidden: only package builds need it.

use std::path::PathBuf;

use clap::Args;

use super::Failure;

/// Where to write the pages.
#[derive(Debug, Args)]
pub struct Man {
    /// An existing directory.
    directory: PathBuf,
}

impl Man {
    /// Writes a page for the program and one for each command.
    pub fn run(&self, program: clap::Command) -> Result<(), Failure> {
        let failed = |cause| {
            Failure::refused(format!("writing manual pages to {}: {cause}", self.directory.display()))
        };
        clap_mangen::generate_to(program, &self.directory).map_err(failed)
    }
}
