//! `keyfob completions`: shell completion scripts.

use clap::Args;
use clap_complete::Shell;

use super::Failure;
use super::print::print_bytes;

/// The shell to generate the script for.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keyfob completions bash > ~/.local/share/bash-completion/completions/keyfob
  keyfob completions zsh  > ~/.zfunc/_keyfob              (a directory of $fpath)
  keyfob completions fish > ~/.config/fish/completions/keyfob.fish
The Debian package installs all three.")]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Runs the command.
    pub fn run(&self, mut program: clap::Command) -> Result<(), Failure> {
        let mut script = vec![];
        clap_complete::generate(self.shell, &mut program, "keyfob", &mut script);
        print_bytes(&script)
    }
}
